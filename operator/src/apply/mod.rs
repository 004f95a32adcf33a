//! Makes it so: the objects by server-side apply, then the one step through the admin API, then the status.
//!
//! Nothing is decided here. Every write can be repeated, and a pass may end after any of them.

mod claims;
mod deletions;
mod objects;
mod outcome;
mod status;
mod step;

pub use claims::mark_claims;
pub use objects::apply_objects;
pub use outcome::{Applied, Done, StepOutcome};
pub use status::write_status;
pub use step::perform;

/// Which write failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("apply {kind} {name}")]
    Object {
        kind: String,
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("write the status of cluster {name}")]
    Status {
        name: String,
        #[source]
        source: kube::Error,
    },
}

impl Error {
    /// Somebody else wrote first; looking again is all that is needed.
    pub fn is_conflict(&self) -> bool {
        match self {
            Error::Object { source, .. } | Error::Status { source, .. } => {
                matches!(source, kube::Error::Api(status) if status.is_conflict())
            }
        }
    }
}
