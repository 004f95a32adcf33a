//! A replica of this member, opened for one query: it reads there as long as it goes on, without asking as it asks other members.
//! Why what a leader gives is the present, and what of a replica that follows: `coordinator/unchanged.rs`.

use kotoba_graph::read::{Answer, Read};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition as state;
use kotoba_state::store::{Read as View, StoreError};

use super::PartitionLeader;
use super::evaluate;

/// One view of a replica.
pub struct Opened {
    view: Box<dyn View + Send>,
    pub role: Role,
}

/// What an opened replica shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// All that was acknowledged before it was opened.
    Leads,
    /// At least what the log has up to here.
    Follows { applied: u64 },
}

/// What a read found.
pub struct Found {
    pub answer: Answer,
    /// When the newest of all that was looked at was committed, deletions included.
    pub since: Timestamp,
    /// An undecided transaction is in the way, so the answer is none.
    pub is_blocked: bool,
}

impl PartitionLeader {
    /// Opens this replica to read at an issued timestamp, or the present; none where something would have to be waited for.
    pub fn open(&self, at: Timestamp) -> Option<Opened> {
        let leadership = self.group.leadership();
        let role = match leadership.leading {
            // In this order: a commit that was in flight is in the view, as it is behind the latches.
            true => {
                let is_free = self.latches.are_free(leadership.term).unwrap_or(false);
                (is_free && self.group.is_covered_by_lease()).then_some(Role::Leads)?
            }
            false => Role::Follows {
                applied: self.group.applied_index(),
            },
        };
        let view = self.group.view().ok()?;
        if role == Role::Leads {
            self.note_seen(at);
        }
        let keeps_all = state::version_floor(view.as_ref()).ok()? <= at;
        keeps_all.then_some(Opened { view, role })
    }

    /// The index up to which all is applied that was acknowledged before this call, or has a timestamp that was issued before; none
    /// where this replica does not lead. Nothing is said while a commit is under way, on whatever keys: the reader does not know
    /// yet which it will read.
    pub async fn read_index(&self, at_least: Timestamp) -> Option<u64> {
        let term = self.leading_term().ok()?;
        if !self.latches.are_free(term).ok()? {
            return None;
        }
        self.group.lease_barrier().await.ok()?;
        self.note_seen(at_least);
        Some(self.group.applied_index())
    }
}

impl Opened {
    /// Answers one read at a snapshot.
    pub fn read(&self, snapshot: Timestamp, read: &Read, max_bytes: usize) -> Result<Found, StoreError> {
        evaluate::one(self.view.as_ref(), snapshot, read, max_bytes)
    }
}
