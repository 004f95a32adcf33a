//! The custom resource `KotobaCluster`: what a person writes (spec) and what they read back (status).
//!
//! Field docs are the user's manual: they become the CRD's descriptions. Rules that need no cluster state
//! are CEL rules on the types, so that the API server refuses a bad edit at once and no webhook is needed.

mod conditions;
mod config;
mod spec;
mod status;

pub use conditions::{ConditionStatus, ConditionType, set_conditions, truth_of};
pub use config::{Config, LogFormat, Number};
pub use spec::{
    KotobaCluster, KotobaClusterSpec, PullPolicy, Reclaim, ReclaimPolicy, Replacement, ReplacementMode, Resources,
    Storage, Topology, Update, WhenUnsatisfiable,
};
pub use status::{
    BlockedBy, Bootstrap, BootstrapState, Health, KotobaClusterStatus, MemberState, MemberSummary, Operation,
    OperationType, PartitionSummary, Progress,
};
