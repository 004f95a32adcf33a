//! The wanted state of a cluster, with its defaults and the rules the API server enforces.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, KotobaClusterStatus};

/// A KotobaDB cluster: a distributed property-graph database of `replicas` members.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "kotoba.dev",
    version = "v1alpha1",
    kind = "KotobaCluster",
    namespaced,
    status = "KotobaClusterStatus",
    shortname = "kc",
    category = "kotoba",
    derive = "PartialEq",
    doc = "A KotobaDB cluster: a distributed property-graph database.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#
    ),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader"),
    printcolumn(name = "Operation", type_ = "string", json_path = ".status.operation.type"),
    printcolumn(
        name = "Balanced",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Balanced")].status"#,
        priority = 1
    ),
    printcolumn(
        name = "Quorum",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="QuorumAtRisk")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 40")
        .message("the name must have at most 40 characters: names of pods and volumes are made from it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name must start with a letter and have only lower-case letters, digits and '-': services are named after it"),
    validation = Rule::new("self.spec.replicas == oldSelf.spec.replicas || (has(self.status) && has(self.status.clusterId))")
        .message("replicas cannot change before the cluster is initialized; wait for the condition Initialized"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.clusterId) || (has(self.status) && has(self.status.clusterId) && self.status.clusterId == oldSelf.status.clusterId)")
        .message("status.clusterId is written once and never changes")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.replicationFactor) || self.replicationFactor <= self.replicas")
        .message("replicationFactor cannot be above replicas: each copy needs a member of its own"),
    validation = Rule::new("has(self.replicationFactor) == has(oldSelf.replicationFactor) && (!has(self.replicationFactor) || self.replicationFactor == oldSelf.replicationFactor)")
        .message("replicationFactor is fixed when the cluster is made"),
    validation = Rule::new("has(self.partitions) == has(oldSelf.partitions) && (!has(self.partitions) || self.partitions == oldSelf.partitions)")
        .message("partitions is fixed when the cluster is made")
)]
pub struct KotobaClusterSpec {
    /// Number of members (database processes, each with a disk of its own). Default 3. Raising it adds
    /// members and moves partitions to them; lowering it moves everything off the members with the highest
    /// numbers and removes them, one by one. Until a member is removed it is kept by raising the number again.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: i32,

    /// Container image of the database. Default: the image that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub image: Option<String>,

    /// When the kubelet pulls the image: Always, IfNotPresent or Never. Default IfNotPresent.
    #[serde(default)]
    pub image_pull_policy: PullPolicy,

    /// Copies kept of each partition, each on another member. Default 3, or the number of first members
    /// where that is fewer. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 7))]
    pub replication_factor: Option<i32>,

    /// Partitions the graph is divided into. Default 16, or 64 for a cluster that starts with nine members
    /// or more. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub partitions: Option<i32>,

    /// The disk of each member.
    #[serde(default)]
    pub storage: Storage,

    /// CPU and memory of each member. A change is given to running pods where Kubernetes can do that (version 1.33 or
    /// newer), else the pods are made anew, one at a time.
    #[serde(default)]
    pub resources: Resources,

    /// Settings of the database. A change makes the pods anew, one at a time.
    #[serde(default)]
    pub config: Config,

    /// How members are spread over zones.
    #[serde(default)]
    pub topology: Topology,

    /// How pods are made anew when image, resources or settings change.
    #[serde(default)]
    pub update: Update,

    /// What happens when the disk of a member is lost.
    #[serde(default)]
    pub replacement: Replacement,

    /// Stops all pods and keeps their disks; false starts them again. Default false.
    #[serde(default)]
    pub suspend: bool,
}

/// How pods are made anew: one at a time, each when all others serve and every partition has all its copies.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// Seconds for which a pod must have been ready before the next is stopped. Default 10.
    #[serde(default = "default_min_ready_seconds")]
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i32,

    /// Stops and changes no more pods; those that are made anew for another reason get the new template. Default false.
    #[serde(default)]
    pub paused: bool,
}

impl Default for Update {
    fn default() -> Self {
        Update {
            min_ready_seconds: default_min_ready_seconds(),
            paused: false,
        }
    }
}

/// What happens when a pod comes back with an empty disk where a member with data was.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replacement {
    /// Manual: a person names the lost member in the annotation kotoba.dev/replace-member, or drains it. Automatic:
    /// after some time another member takes its place. Default Manual.
    #[serde(default)]
    pub mode: ReplacementMode,

    /// Seconds that Automatic waits for the disk to come back. Default 1800.
    #[serde(default = "default_replacement_seconds")]
    #[schemars(range(min = 60, max = 604800))]
    pub after_seconds: i32,
}

impl Default for Replacement {
    fn default() -> Self {
        Replacement {
            mode: ReplacementMode::default(),
            after_seconds: default_replacement_seconds(),
        }
    }
}

/// Who decides that a lost disk does not come back.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum ReplacementMode {
    #[default]
    Manual,
    Automatic,
}

/// When the kubelet pulls an image.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

impl PullPolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        }
    }
}

/// The disk of each member.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("isQuantity(self.size) && quantity(self.size).isGreaterThan(quantity('0'))")
        .message("storage.size must be a quantity above zero, for example 20Gi"),
    validation = Rule::new("!isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("storage.size cannot shrink: a disk cannot be made smaller; make another cluster with smaller disks and load the data there"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storage.storageClassName is fixed when the cluster is made")
)]
pub struct Storage {
    /// Size of the disk, as a Kubernetes quantity. Default 10Gi.
    #[serde(default = "default_storage_size")]
    #[schemars(length(min = 1, max = 32))]
    pub size: String,

    /// Storage class of the disk. Default: the default class of the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// What becomes of disks that are no longer used.
    #[serde(default)]
    pub reclaim: Reclaim,
}

impl Default for Storage {
    fn default() -> Self {
        Storage {
            size: default_storage_size(),
            storage_class_name: None,
            reclaim: Reclaim::default(),
        }
    }
}

/// What becomes of disks that are no longer used.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reclaim {
    /// The disk of a member that was removed: Retain or Delete. Default Retain. Such a disk is of no use to the
    /// database any more; a retained one must be deleted by hand before its slot can be used again.
    #[serde(default)]
    pub on_scale_in: ReclaimPolicy,

    /// The disks of all members when the cluster is deleted: Retain or Delete. Default Retain.
    #[serde(default)]
    pub on_cluster_delete: ReclaimPolicy,
}

/// Whether a disk is kept.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum ReclaimPolicy {
    #[default]
    Retain,
    Delete,
}

impl ReclaimPolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            ReclaimPolicy::Retain => "Retain",
            ReclaimPolicy::Delete => "Delete",
        }
    }
}

/// CPU and memory of each member, in Kubernetes quantities.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler keeps free for a member; what is neither named here nor limited has its default, cpu 100m and memory
    /// 256Mi.
    #[serde(default = "default_requests")]
    #[schemars(extend("maxProperties" = 10, "additionalProperties" = {"x-kubernetes-int-or-string": true}))]
    pub requests: BTreeMap<String, IntOrString>,

    /// What a member may use at most. Default: no limit.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 10, "additionalProperties" = {"x-kubernetes-int-or-string": true}))]
    pub limits: BTreeMap<String, IntOrString>,
}

impl Default for Resources {
    fn default() -> Self {
        Resources {
            requests: default_requests(),
            limits: BTreeMap::new(),
        }
    }
}

/// How members are spread over zones.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// Label of the Kubernetes nodes that names their zone. Default topology.kubernetes.io/zone.
    #[serde(default = "default_zone_key")]
    #[schemars(length(min = 1, max = 317))]
    pub zone_key: String,

    /// What happens to a pod that cannot be placed evenly: ScheduleAnyway or DoNotSchedule. Default
    /// ScheduleAnyway, because DoNotSchedule places no pod at all where nodes have no zone label.
    #[serde(default)]
    pub when_unsatisfiable: WhenUnsatisfiable,
}

impl Default for Topology {
    fn default() -> Self {
        Topology {
            zone_key: default_zone_key(),
            when_unsatisfiable: WhenUnsatisfiable::default(),
        }
    }
}

/// What happens to a pod that cannot be placed evenly.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum WhenUnsatisfiable {
    DoNotSchedule,
    #[default]
    ScheduleAnyway,
}

impl WhenUnsatisfiable {
    pub fn as_str(self) -> &'static str {
        match self {
            WhenUnsatisfiable::DoNotSchedule => "DoNotSchedule",
            WhenUnsatisfiable::ScheduleAnyway => "ScheduleAnyway",
        }
    }
}

fn default_replicas() -> i32 {
    3
}

fn default_min_ready_seconds() -> i32 {
    10
}

fn default_replacement_seconds() -> i32 {
    1800
}

fn default_storage_size() -> String {
    "10Gi".to_owned()
}

fn default_zone_key() -> String {
    "topology.kubernetes.io/zone".to_owned()
}

fn default_requests() -> BTreeMap<String, IntOrString> {
    [("cpu", "100m"), ("memory", "256Mi")]
        .map(|(name, value)| (name.to_owned(), IntOrString::String(value.to_owned())))
        .into()
}
