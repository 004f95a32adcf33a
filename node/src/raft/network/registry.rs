//! The replicas that messages from peers may be for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kotoba_state::ids::{GroupId, ReplicaId};
use tokio::time::Instant;

use crate::raft::lock::lock;
use crate::raft::log::ReplicaLogHandle;
use crate::raft::state::ReplicaState;
use crate::raft::types::{Raft, ReplicaKey};

/// What the receiving side needs of a replica that runs here.
#[derive(Clone)]
pub struct LocalReplica {
    pub key: ReplicaKey,
    pub raft: Raft,
    pub state: Arc<ReplicaState>,
    pub log: ReplicaLogHandle,
    /// It votes from then on. Before its start it may have answered a leader, whose lease is not over yet; nothing on the disk
    /// says so. None where it has never voted.
    pub votes_from: Option<Instant>,
}

impl LocalReplica {
    /// Refuses a vote that could break such a promise. A leader that hands over has given up its lease.
    pub fn check_promise(&self, is_handed_over: bool) -> Result<(), String> {
        match self.votes_from {
            Some(from) if Instant::now() < from && !is_handed_over => Err(
                "this replica has just started, and does not vote before a lease that it may have given is over"
                    .to_owned(),
            ),
            Some(_) | None => Ok(()),
        }
    }
}

/// Replicas that run here.
#[derive(Default)]
pub struct Registry(Mutex<BTreeMap<ReplicaKey, LocalReplica>>);

impl Registry {
    pub fn insert(&self, replica: LocalReplica) {
        lock(&self.0).insert(replica.key, replica);
    }

    pub fn remove(&self, key: ReplicaKey) {
        lock(&self.0).remove(&key);
    }

    pub fn all(&self) -> Vec<LocalReplica> {
        lock(&self.0).values().cloned().collect()
    }

    /// The replica of a group that runs here.
    pub fn of_group(&self, group: u64) -> Result<LocalReplica, String> {
        let replicas = lock(&self.0);
        let found = replicas.values().find(|replica| replica.key.group.number() == group);
        found
            .cloned()
            .ok_or_else(|| format!("no replica of group {group} runs here"))
    }

    /// Exactly the replica that is meant, or why not: never another one of the same group.
    pub fn find(&self, group: u64, replica: u64) -> Result<LocalReplica, String> {
        let known = GroupId::from_number(group).ok_or_else(|| format!("no group has the number {group}"))?;
        let key = ReplicaKey {
            group: known,
            replica: ReplicaId(replica),
        };
        let found = lock(&self.0).get(&key).cloned();
        found.ok_or_else(|| format!("{key} does not run here"))
    }
}
