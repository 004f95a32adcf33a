//! The present from a replica that follows: it answers from what it has applied, and its leader says how far that must be. The
//! two need not wait for each other. Why it is the present: `coordinator/unchanged.rs`.

use kotoba_graph::read::Read;
use kotoba_state::ids::Timestamp;

use super::small::Size;
use super::{PartitionLeader, evaluate, failure, latch_failure};
use crate::transaction::message::{Failure, Reply};

impl PartitionLeader {
    /// The index up to which all is applied that was acknowledged before this call, or has a timestamp that was issued before.
    /// Nothing is said while a commit is under way, on whatever keys: the reader does not know yet which it will read.
    pub(super) async fn read_index(&self, at_least: Timestamp) -> Result<Reply, Failure> {
        let term = self.leading_term()?;
        if !self.latches.are_free(term).map_err(latch_failure)? {
            return Ok(Reply::Undecided);
        }
        self.group.lease_barrier().await.map_err(failure)?;
        self.note_seen(at_least);
        Ok(Reply::ReadIndex(self.group.applied_index()))
    }

    /// The newest versions that this replica has.
    pub(super) async fn read_applied(
        &self,
        at_least: Timestamp,
        reads: Vec<Read>,
        max_bytes: usize,
    ) -> Result<Reply, Failure> {
        let index = self.group.applied_index();
        let view = self.group.view().map_err(failure)?;
        let size = Size::of(&reads);
        let look = move || evaluate::newest(view.as_ref(), at_least, &reads, max_bytes);
        Ok(match self.look_at(size, look).await? {
            Some(newest) => Reply::Applied { index, newest },
            None => Reply::Undecided,
        })
    }
}
