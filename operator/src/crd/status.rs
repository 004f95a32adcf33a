//! What the operator reports of a cluster. Everything here was observed or done; nothing is a wish.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The observed state of a cluster.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KotobaClusterStatus {
    /// The metadata.generation that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// When the database last answered for itself. Old: what is said of members may be out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_observed_time: Option<Time>,

    /// The database's own id, written once when it is initialized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cluster_id: Option<String>,

    /// Pods that exist.
    #[serde(default)]
    pub replicas: i32,

    /// Pods that serve clients.
    #[serde(default)]
    pub ready_replicas: i32,

    /// Label selector of the pods, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// Pod of the member that leads the meta group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,

    /// Image of the pods while spec.image is empty: the operator's own default when it first saw the cluster. It is kept, so
    /// that an operator with another default restarts no pod, and so that spec.image can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub default_image: Option<String>,

    /// One entry per slot (pod name).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["slot".into()]))]
    pub members: Vec<MemberSummary>,

    /// The partitions in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionSummary>,

    /// Members that the operator takes out of the database: noted before the first step of it, so that after any
    /// crash a drain of the operator, which an edit may take back, is told from one that a person asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub leaving: Vec<i64>,

    /// What is being done now, and what it waits for. Absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,

    /// How far the founding of the database is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,

    /// Answers to "is it fine?", one per question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 30))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One slot: a pod, its disk, and the member on that disk.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberSummary {
    /// The pod's name.
    pub slot: String,

    /// The database's id of the member; never used twice. Absent before the member has joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<i64>,

    /// Uid of the pod that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,

    /// The id on the disk; another one in the same slot is another member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<String>,

    /// Zone of the Kubernetes node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,

    /// Where the member is in its life: Pending (no process, no member), Unassigned (empty disk, not taken in),
    /// Joining, Active, Draining, Removed (its disk is of no use any more), Lost (empty disk where a member with data
    /// was), Foreign (disk of another cluster), Unknown (the database did not answer).
    pub state: MemberState,

    /// Whether the rest of the database hears from it: Alive, Suspected, Failed, Unknown.
    pub health: Health,

    /// Since when the operator has seen this member in this state here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("description" = "Since when the operator has seen this member in this state here."))]
    pub since: Option<Time>,

    /// Why Kubernetes did not give this pod other CPU and memory where it runs; it is made anew instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize_refused: Option<String>,

    /// Partition copies on it.
    #[serde(default)]
    pub replicas: i32,

    /// Partitions it leads.
    #[serde(default)]
    pub leaders: i32,
}

/// Where a member is in its life.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum MemberState {
    /// The pod has not answered and nothing is known of a member in this slot.
    Pending,
    /// The process runs on an empty disk and has not been taken in.
    Unassigned,
    Joining,
    Active,
    Draining,
    /// The slot has the disk of a member that was removed.
    Removed,
    /// The slot has an empty disk, yet the database knows a member with data there.
    Lost,
    /// The disk holds a member of another cluster.
    Foreign,
    /// The database did not answer.
    Unknown,
}

/// Whether the rest of the database hears from a member.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Health {
    Alive,
    Suspected,
    Failed,
    Unknown,
}

/// The partitions in numbers.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionSummary {
    /// Partitions the graph is divided into.
    pub total: i32,
    /// With fewer copies than the replication factor.
    pub under_replicated: i32,
    /// Without a leader: their part of the graph cannot be read or written.
    pub no_leader: i32,
    /// Moves that are open.
    pub moving: i32,
    /// Partitions that one more loss would stop.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub quorum_critical: Vec<i32>,
}

/// What is being done now.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What kind of change it is.
    #[serde(rename = "type")]
    pub type_: OperationType,

    /// The step it is at.
    pub phase: String,

    /// The pod that the step is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,

    /// What is left to do, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub plan: Vec<String>,

    /// Editing the spec back takes it back.
    #[serde(default)]
    pub cancellable: bool,

    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<BlockedBy>,

    /// When it began.
    #[schemars(extend("description" = "When it began."))]
    pub started_at: Time,

    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// When `progress.done` last grew. When it has not for ten minutes, and nobody has to act first, the condition
    /// Progressing has the reason Stalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("description" = "When progress.done last grew. When it has not for ten minutes, and nobody has to act first, the condition Progressing has the reason Stalled."))]
    pub progressed_at: Option<Time>,

    /// Partition moves that run.
    #[serde(default)]
    pub moves_open: i32,

    /// Partition moves that the database has finished since it last started a rebalance.
    #[serde(default)]
    pub moves_finished: i64,
}

/// How far an operation is: pods, members, partition copies or volumes, whatever it is made of.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Never sinks while the operation lasts.
    pub done: i32,
    /// Grows when an edit, or a setback, gives the operation more to do.
    pub total: i32,
}

#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum OperationType {
    Bootstrap,
    ScaleOut,
    Rebalance,
    ScaleIn,
    /// Another member takes the place of one whose disk is lost.
    Replace,
    /// Pods are made anew from the present template.
    Roll,
    ResizeVolumes,
}

/// What an operation waits for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockedBy {
    /// The rule that holds it back.
    pub predicate: String,
    /// What to do, where a person has to.
    pub message: String,
}

/// How far the founding of the database is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// Started: the founding was asked for. Done: the database answered with its id.
    pub state: BootstrapState,

    /// Uid of the pod that was asked to found the database.
    pub seed_pod_uid: String,

    /// The id it was asked to found.
    pub cluster_id: String,
}

#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum BootstrapState {
    /// The founding was asked for; written before the call.
    Started,
    /// The database answered with its id.
    Done,
}
