//! Up to where replicas know their logs to be committed, on its way to the disk. Nobody waits for it: what a crash loses of it is
//! found again by Raft. So it goes with what is written next, and wakes nobody.

use std::collections::BTreeMap;

use crate::raft::types::{LogId, ReplicaKey};

/// What is not written yet, the last of each replica.
#[derive(Default)]
pub struct Committed {
    noted: BTreeMap<ReplicaKey, Noted>,
}

struct Noted {
    position: Option<LogId>,
    /// Changes that were queued before, the entries up to the position among them.
    behind: u64,
}

impl Committed {
    pub fn note(&mut self, key: ReplicaKey, position: Option<LogId>, behind: u64) {
        self.noted.insert(key, Noted { position, behind });
    }

    /// Takes what may be written with the first so many changes of the queue: no position comes before its entries.
    pub fn take(&mut self, changes: u64) -> BTreeMap<ReplicaKey, Option<LogId>> {
        let mut taken = BTreeMap::new();
        self.noted.retain(|key, noted| {
            let waits = noted.behind > changes;
            if !waits {
                taken.insert(*key, noted.position);
            }
            waits
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use kotoba_state::ids::{GroupId, PartitionId, ReplicaId};

    use super::*;
    use crate::raft::types::LeaderId;

    fn key(partition: u32) -> ReplicaKey {
        ReplicaKey {
            group: GroupId::Partition(PartitionId(partition)),
            replica: ReplicaId(1),
        }
    }

    fn at(index: u64) -> Option<LogId> {
        let node_id = ReplicaId(1);
        Some(LogId::new(LeaderId { term: 1, node_id }, index))
    }

    #[test]
    fn a_position_waits_for_the_entries_before_it_and_the_last_counts() {
        let mut committed = Committed::default();
        committed.note(key(1), at(3), 10);
        committed.note(key(2), at(5), 12);
        assert_eq!(committed.take(9), BTreeMap::new());
        assert_eq!(committed.take(11), BTreeMap::from([(key(1), at(3))]));
        committed.note(key(2), at(6), 14);
        assert_eq!(committed.take(13), BTreeMap::new());
        assert_eq!(committed.take(14), BTreeMap::from([(key(2), at(6))]));
        assert_eq!(committed.take(u64::MAX), BTreeMap::new());
    }
}
