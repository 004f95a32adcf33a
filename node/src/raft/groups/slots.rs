//! One slot per group: free, claimed by whoever starts or retires its replica, or running.
//!
//! A claim stands for a lock that may be held across awaits: it frees itself when it is dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kotoba_state::ids::{GroupId, ReplicaId};
use tokio::sync::watch;

use crate::raft::group::Group;
use crate::raft::lock::lock;

enum Slot {
    Claimed,
    Running(Group),
}

/// The slots of all groups; clones share them.
#[derive(Clone, Default)]
pub struct Slots {
    slots: Arc<Mutex<BTreeMap<GroupId, Slot>>>,
    /// Changes whenever a claim ends.
    freed: Arc<watch::Sender<()>>,
}

/// What a claim finds.
pub enum Claim {
    Running(Group),
    Claimed(Claimed),
}

/// A slot that is nobody else's; free again when dropped.
pub struct Claimed {
    slots: Slots,
    group: GroupId,
    taken: Option<Group>,
}

impl Slots {
    /// Claims a free slot, or gives the replica that runs in it. Waits for other claims to end.
    pub async fn claim(&self, group: GroupId) -> Claim {
        self.claim_unless(group, |_| true).await
    }

    /// As [`Slots::claim`], but takes the replica out where it is this one.
    pub async fn take(&self, group: GroupId, replica: ReplicaId) -> Claim {
        self.claim_unless(group, |running| running.replica() != replica).await
    }

    async fn claim_unless(&self, group: GroupId, stays: impl Fn(&Group) -> bool) -> Claim {
        let mut freed = self.freed.subscribe();
        loop {
            freed.mark_unchanged();
            if let Some(claim) = self.try_claim(group, &stays) {
                return claim;
            }
            freed.changed().await.expect("the sender is in these slots");
        }
    }

    fn try_claim(&self, group: GroupId, stays: impl Fn(&Group) -> bool) -> Option<Claim> {
        let mut slots = lock(&self.slots);
        let taken = match slots.get(&group) {
            Some(Slot::Claimed) => return None,
            Some(Slot::Running(running)) if stays(running) => return Some(Claim::Running(running.clone())),
            Some(Slot::Running(running)) => Some(running.clone()),
            None => None,
        };
        slots.insert(group, Slot::Claimed);
        Some(Claim::Claimed(Claimed {
            slots: self.clone(),
            group,
            taken,
        }))
    }

    pub fn get(&self, group: GroupId) -> Option<Group> {
        match lock(&self.slots).get(&group) {
            Some(Slot::Running(running)) => Some(running.clone()),
            Some(Slot::Claimed) | None => None,
        }
    }

    pub fn all(&self) -> Vec<Group> {
        let slots = lock(&self.slots);
        let running = slots.values().filter_map(|slot| match slot {
            Slot::Running(running) => Some(running.clone()),
            Slot::Claimed => None,
        });
        running.collect()
    }

    /// Takes out all that run.
    pub fn close(&self) -> Vec<Group> {
        let running = self.all();
        lock(&self.slots).retain(|_, slot| matches!(slot, Slot::Claimed));
        running
    }
}

impl Claimed {
    /// The replica that ran here before.
    pub fn taken(&self) -> Option<&Group> {
        self.taken.as_ref()
    }

    /// Puts a running replica into the slot.
    pub fn fill(self, running: Group) {
        lock(&self.slots.slots).insert(self.group, Slot::Running(running));
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        {
            let mut slots = lock(&self.slots.slots);
            if matches!(slots.get(&self.group), Some(Slot::Claimed)) {
                slots.remove(&self.group);
            }
        }
        self.slots.freed.send_replace(());
    }
}
