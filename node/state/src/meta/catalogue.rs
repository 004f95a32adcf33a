//! The catalogue as a value: what every member knows of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::diverged::Diverged;
use super::rows;
use crate::ids::{GroupId, MemberId, PartitionId, ReplicaId, Timestamp};
use crate::placement::{self, Candidate, Placement, Replacement};
use crate::store::{Read, StoreError};

/// Fixed at the founding, but for what later commands may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Invariant: never changes once set.
    pub cluster_id: String,
    pub replication_factor: u32,
    pub partition_count: u32,
    pub max_parallel_moves: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemberState {
    /// Has an id; catches up with the meta group.
    Joining,
    Active,
    /// Its replicas are moved off; holds none for new placements.
    Draining,
    /// Its id and its disk are never taken back.
    Removed,
}

/// Whether the meta leader hears from a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Health {
    Alive,
    Suspected,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: MemberId,
    /// Binds the id to a disk: a process with another one is another member.
    pub disk_id: String,
    pub peer_address: String,
    pub client_address: String,
    pub zone: String,
    pub name: String,
    pub version: String,
    pub state: MemberState,
    pub health: Health,
    /// Since when it has this health, in milliseconds since the epoch.
    pub health_since_ms: u64,
    /// Its replica of the meta group.
    pub meta_replica: ReplicaId,
    pub meta_voter: bool,
    /// Invariant: present while its state is Draining, and only then.
    pub drain: Option<Drain>,
    /// Failed for so long that its replicas are placed elsewhere. Heard from again, it is placed again by a rebalance.
    pub gone: bool,
}

impl Member {
    /// Counts on being there for a while: gets replicas and leaders.
    pub fn is_well(&self) -> bool {
        self.state == MemberState::Active && self.health == Health::Alive
    }

    /// Moves to it are kept, though they may have to wait.
    pub fn may_be_target(&self) -> bool {
        self.state == MemberState::Active && !self.gone && self.health != Health::Failed
    }

    /// Its replicas have to go elsewhere.
    pub fn is_departing(&self) -> bool {
        self.gone || self.state == MemberState::Draining
    }
}

/// A drain that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Of this drain alone: a removal that was decided for an earlier one is refused.
    pub number: u64,
    /// Remove the member once nothing is left on it.
    pub then_remove: bool,
    /// What a cancellation puts back.
    pub before: MemberState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReplicaRole {
    Learner,
    Voter,
    /// The committed membership excludes it; its member deletes it.
    Retiring,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    pub member: MemberId,
    pub role: ReplicaRole,
}

/// Whether a partition's group has its first membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Founding {
    /// This replica gives it.
    By(ReplicaId),
    Founded,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    pub id: PartitionId,
    pub replicas: BTreeMap<ReplicaId, Replica>,
    pub founding: Founding,
}

/// What a move is for: departures are planned without being asked, and dropped when the member stays after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MoveReason {
    /// The member that goes has failed for good.
    Replace,
    /// The member that goes is drained.
    Drain,
    Balance,
}

/// How far a move is. Its end is the removal of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MoveStep {
    /// Nothing has happened yet; it may be dropped.
    Planned,
    /// The new replica exists: it learns, is promoted in one joint change with the old one's removal.
    Learning,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub id: u64,
    pub partition: PartitionId,
    pub from: Option<MemberId>,
    pub to: Option<MemberId>,
    /// The new replica, from the step Learning on.
    pub replica: Option<ReplicaId>,
    pub step: MoveStep,
    pub reason: MoveReason,
}

/// The newest rebalance job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebalance {
    pub job: u64,
    pub started_at_ms: u64,
    pub moves_planned: u32,
    pub moves_finished: u32,
}

/// The next of everything that is given once. Each only grows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub next_member: MemberId,
    pub next_replica: ReplicaId,
    pub next_move: u64,
    pub next_job: u64,
    pub next_drain: u64,
    pub next_sequence: u64,
    pub next_incarnation: u64,
    pub next_timestamp: Timestamp,
    pub moves_finished: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            next_member: MemberId(1),
            next_replica: ReplicaId(1),
            next_move: 1,
            next_job: 1,
            next_drain: 1,
            next_sequence: 1,
            next_incarnation: 1,
            next_timestamp: Timestamp(1),
            moves_finished: 0,
        }
    }
}

/// Who was seen to lead a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    pub member: MemberId,
    pub term: u64,
}

/// Everything the meta group holds, but for the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// None before the founding.
    pub settings: Option<Settings>,
    pub members: BTreeMap<MemberId, Member>,
    pub partitions: BTreeMap<PartitionId, Partition>,
    pub moves: BTreeMap<u64, Move>,
    /// Invariant: only learners and voters that are placed.
    pub diverged: BTreeMap<ReplicaId, Diverged>,
    pub rebalance: Option<Rebalance>,
    pub counters: Counters,
    /// For events alone: requests go to whom the groups themselves name.
    pub leaders: BTreeMap<GroupId, Leader>,
}

impl Catalogue {
    /// Reads the whole catalogue of one view.
    pub fn load(view: &dyn Read) -> Result<Self, StoreError> {
        rows::load(view)
    }

    /// Members that may hold replicas.
    pub fn candidates(&self) -> Vec<Candidate> {
        let active = self
            .members
            .values()
            .filter(|member| member.state == MemberState::Active && !member.gone);
        active
            .map(|member| Candidate {
                id: member.id,
                zone: member.zone.clone(),
            })
            .collect()
    }

    /// All members with their zones, also those that get nothing new.
    pub(super) fn zones(&self) -> Vec<Candidate> {
        let candidate = |member: &Member| Candidate {
            id: member.id,
            zone: member.zone.clone(),
        };
        self.members.values().map(candidate).collect()
    }

    /// Where the replicas are, or will be when the moves under way have ended.
    pub fn placement(&self) -> Placement {
        let mut placement: BTreeMap<PartitionId, BTreeSet<MemberId>> = BTreeMap::new();
        for partition in self.partitions.values() {
            let leaving = self.leaving(partition.id);
            let staying = partition
                .replicas
                .values()
                .filter(|replica| replica.role != ReplicaRole::Retiring && !leaving.contains(&replica.member));
            placement.insert(partition.id, staying.map(|replica| replica.member).collect());
        }
        Placement(placement)
    }

    /// Where placement wants the replicas, given the members of now.
    pub fn wanted_placement(&self) -> Option<Placement> {
        let settings = self.settings.as_ref()?;
        Some(placement::place(
            &self.candidates(),
            &self.placement(),
            settings.replication_factor as usize,
            settings.partition_count,
        ))
    }

    /// What a rebalance would change beyond the moves under way.
    pub fn replacements(&self) -> Vec<Replacement> {
        let wanted = self.wanted_placement();
        wanted.map_or_else(Vec::new, |wanted| {
            placement::rebalance(&self.zones(), &self.placement(), &wanted)
        })
    }

    /// No move is open, and placement would change nothing.
    pub fn is_balanced(&self) -> bool {
        self.settings.is_some() && self.moves.is_empty() && self.replacements().is_empty()
    }

    /// The move of a partition that is beyond Planned.
    pub fn move_under_way(&self, partition: PartitionId) -> Option<&Move> {
        self.moves
            .values()
            .find(|other| other.partition == partition && other.step == MoveStep::Learning)
    }

    /// The replica of a partition on a member, unless it is retiring.
    pub fn replica_on(&self, partition: PartitionId, member: MemberId) -> Option<ReplicaId> {
        let replicas = &self.partitions.get(&partition)?.replicas;
        let here = |replica: &Replica| replica.member == member && replica.role != ReplicaRole::Retiring;
        replicas.iter().find(|(_, replica)| here(replica)).map(|(id, _)| *id)
    }

    pub fn member_of_disk(&self, disk_id: &str) -> Option<&Member> {
        self.members.values().find(|member| member.disk_id == disk_id)
    }

    /// Its replicas have to go elsewhere.
    pub fn is_departing(&self, member: MemberId) -> bool {
        self.members.get(&member).is_some_and(Member::is_departing)
    }

    /// Learners and voters on a member; those that retire are nobody's copy any more.
    pub fn replicas_on(&self, member: MemberId) -> usize {
        let partitions = self.partitions.keys();
        partitions
            .filter(|partition| self.replica_on(**partition, member).is_some())
            .count()
    }

    /// Replicas that a member has yet to delete.
    pub fn retiring_on(&self, member: MemberId) -> usize {
        let replicas = self.partitions.values().flat_map(|row| row.replicas.values());
        let retiring = |replica: &&Replica| replica.member == member && replica.role == ReplicaRole::Retiring;
        replicas.filter(retiring).count()
    }

    /// Nothing is left on a member but what a process that may be dead would have to delete.
    pub fn is_empty_of(&self, member: MemberId) -> bool {
        let lives = self
            .members
            .get(&member)
            .is_some_and(|row| row.health != Health::Failed);
        self.replicas_on(member) == 0 && (!lives || self.retiring_on(member) == 0)
    }

    fn leaving(&self, partition: PartitionId) -> BTreeSet<MemberId> {
        let under_way = self.move_under_way(partition);
        under_way.and_then(|open| open.from).into_iter().collect()
    }
}
