//! Snapshots: a pinned view at the sender, sorted blocks on the way, a state file not yet in use at the receiver.

mod block;
mod fetch;
mod load;
mod pace;
mod receive;
mod send;
#[cfg(test)]
mod tests;

pub use fetch::{FetchError, fetch};
pub use load::{LoadedFile, Loader};
pub use pace::Pace;
pub use receive::receive;
pub use send::{meta_of, send, serve};

use super::state::StateView;

/// What openraft hands around as a snapshot.
pub enum SnapshotData {
    /// To be sent, or to be copied.
    View(StateView),
    /// Received whole, verified and durable; installing it is a rename.
    Loaded(LoadedFile),
}
