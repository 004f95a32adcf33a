//! The end of a member whose disk fails under the log.

/// The log cannot be written. Nothing that was acknowledged is lost, but nothing can be acknowledged any more, and what the
/// disk really holds is known only after a restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the raft log failed: {0}")]
pub struct Fatal(pub String);

/// Called at most once, from the log's thread. In production it ends the process at once, without any clean-up.
pub type FatalHook = Box<dyn FnOnce(Fatal) + Send + 'static>;
