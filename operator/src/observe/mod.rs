//! Everything one reconcile knows, read once at its start. Plan, validate, build and status see the world only through this.
//!
//! The types here are plain data; the reading is in `read` (Kubernetes) and `ask` (the database).

mod ask;
mod pod;
mod read;

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::crd::{Health, KotobaClusterStatus, MemberState};
use crate::recipe::{Compute, Recipe};
pub use ask::{ask_database, target};
pub use read::{Error, read_kubernetes};

/// What is there now.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What the operator wrote last: the latch, the bootstrap record, the members known then.
    pub recorded: KotobaClusterStatus,
    pub stateful_set: Option<StatefulSet>,
    /// By ordinal: every slot that has a pod or a claim.
    pub slots: BTreeMap<u32, Slot>,
    /// Objects that bear a name this cluster needs and belong to something else, as `Kind name`.
    pub taken_names: Vec<String>,
    pub database: Database,
    /// Kubernetes can give a running pod other CPU and memory. Only asked for where a pod could use it.
    pub resizes_pods: bool,
    /// When all this was read.
    pub now: Timestamp,
}

impl Observed {
    pub fn process(&self, slot: u32) -> &Process {
        self.slots.get(&slot).map_or(&Process::NoPod, |slot| &slot.process)
    }

    pub fn pod(&self, slot: u32) -> Option<&Pod> {
        self.slots.get(&slot)?.pod.as_ref()
    }

    /// The processes that answered, by slot.
    pub fn identities(&self) -> impl Iterator<Item = (u32, &Identity)> {
        self.slots
            .iter()
            .filter_map(|(slot, seen)| Some((*slot, seen.process.identity()?)))
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatefulSet {
    pub uid: String,
    pub replicas: u32,
    /// Image that its pods are made with.
    pub image: Option<String>,
    /// Size that its claim template asks for; the template cannot be changed.
    pub claim_size: Option<String>,
    /// Its controller has seen the last change: a pod made now would be made from its template.
    pub seen: bool,
    /// What its template says that pods are made from.
    pub recipe: Option<Recipe>,
}

impl StatefulSet {
    /// What a pod made now would be made from; none while that is not sure.
    pub fn present_recipe(&self) -> Option<&Recipe> {
        self.recipe.as_ref().filter(|_| self.seen)
    }
}

/// One ordinal of the StatefulSet.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub pod: Option<Pod>,
    pub claim: Option<Claim>,
    pub process: Process,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    pub uid: String,
    pub ip: Option<String>,
    /// Passes its readiness probe.
    pub ready: bool,
    pub deleting: bool,
    /// What it was made from; none where nobody can tell.
    pub recipe: Option<Recipe>,
    /// CPU and memory that it shall have now.
    pub compute: Compute,
    /// The operator has changed them since it was made.
    pub resized: bool,
    /// What Kubernetes says of that change while it is not done.
    pub resize: Option<ResizeState>,
    /// None: the pod has no Kubernetes node yet. Empty: its node has no zone label.
    pub zone: Option<String>,
    /// Its container runs; what it does there is another question.
    pub running: bool,
    pub ready_since: Option<Timestamp>,
    pub created: Option<Timestamp>,
    /// The Kubernetes node that it was given.
    pub host: Option<Host>,
    /// Why it does not run, in Kubernetes' words.
    pub trouble: Option<String>,
}

/// A change of CPU and memory that is not done, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResizeState {
    /// It is being done, or put off until there is room.
    Pending(String),
    /// Its Kubernetes node can never do it.
    Infeasible(String),
}

/// A Kubernetes node, as far as a pod on it is concerned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    pub name: String,
    /// Its zone label; empty where it has none.
    pub zone: String,
    pub state: HostState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostState {
    #[default]
    Ready,
    /// Its kubelet says that it is not ready.
    NotReady,
    /// Its kubelet does not report any more: it may be off, or only cut off, and its pods may still run.
    Unreachable,
    /// A person has said that it is off (the taint node.kubernetes.io/out-of-service).
    OutOfService,
    /// There is no such node any more.
    Gone,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    pub uid: String,
    /// Its resource version.
    pub version: String,
    pub bound: bool,
    pub deleting: bool,
    /// Asked for.
    pub size: String,
    /// What the volume has.
    pub capacity: Option<String>,
    /// What Kubernetes says of an enlargement that is not done.
    pub resizing: Option<String>,
    /// The Kubernetes node that its volume is for, if that node is gone.
    pub lost_host: Option<String>,
    /// What is noted on it of the disk behind it.
    pub disk: Option<NotedDisk>,
    /// Its volume was made for it in the life of this cluster, and empty; or there is none yet.
    pub began_empty: bool,
}

/// What a claim says of its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedDisk {
    pub disk_id: String,
    /// None: empty when it was noted.
    pub member_id: Option<u64>,
}

/// What the process in a pod says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Process {
    #[default]
    NoPod,
    /// It did not answer; the reason in words.
    Silent(String),
    Answered(Identity),
}

impl Process {
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Process::Answered(identity) => Some(identity),
            Process::NoPod | Process::Silent(_) => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    pub disk_id: String,
    /// None: an empty disk.
    pub membership: Option<Membership>,
    pub ready: bool,
    pub version: String,
}

impl Identity {
    /// Holds a member of this cluster.
    pub fn belongs_to(&self, cluster_id: &str) -> bool {
        self.membership
            .as_ref()
            .is_some_and(|membership| membership.cluster_id == cluster_id)
    }

    /// Holds a member of another cluster.
    pub fn is_foreign_to(&self, cluster_id: &str) -> bool {
        self.membership.is_some() && !self.belongs_to(cluster_id)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Membership {
    pub cluster_id: String,
    pub member_id: u64,
}

/// What the database says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Database {
    /// Nobody could be asked, because no process has joined.
    #[default]
    NotAsked,
    /// Members were asked and none answered; the reason in words.
    Silent(String),
    Answered(Catalogue),
}

impl Database {
    /// The catalogue, whether or not it is sure to be current.
    pub fn catalogue(&self) -> Option<&Catalogue> {
        match self {
            Database::Answered(catalogue) => Some(catalogue),
            Database::NotAsked | Database::Silent(_) => None,
        }
    }
}

/// The database's own view, from one member.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    /// The slot that answered; steps go there.
    pub answered_by: u32,
    pub cluster_id: String,
    /// Answered by the meta leader behind a read barrier. Else it is a local copy, and no step may rest on it.
    pub linearizable: bool,
    pub leader_member_id: Option<u64>,
    /// Members that are not removed.
    pub members: Vec<Member>,
    /// Members that were; their ids and disks are never used again.
    pub removed: Vec<RemovedMember>,
    pub replication_factor: u32,
    pub partitions: u32,
    pub under_replicated: u32,
    pub leaderless: u32,
    pub quorum_critical: Vec<u32>,
    pub rebalance: Rebalance,
}

impl Catalogue {
    pub fn member(&self, member_id: u64) -> Option<&Member> {
        self.members.iter().find(|member| member.id == member_id)
    }

    pub fn was_removed(&self, member_id: u64) -> bool {
        self.removed.iter().any(|member| member.id == member_id)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedMember {
    pub id: u64,
    pub disk_id: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub id: u64,
    pub name: String,
    pub disk_id: String,
    pub state: MemberState,
    pub health: Health,
    pub zone: String,
    pub replicas: u32,
    pub leaders: u32,
    /// It drains and nothing is left on it, proved by the leader.
    pub drained: bool,
    /// Why its way out is not at its end; empty if it is not on it.
    pub waiting_for: String,
    /// Takes no more data.
    pub disk_full: bool,
    /// What its replicas take on its disk, and what more they may take; 0 where that is not known.
    pub data_bytes: u64,
    pub room_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rebalance {
    pub balanced: bool,
    pub moves_open: u32,
    pub moves_planned: u32,
    pub moves_finished: u64,
    /// Why a move waits; empty if none does.
    pub waiting_for: String,
}
