//! The Kubernetes objects of a cluster, one per file: pure functions of the cluster, what was observed, and the plan.

mod client_service;
mod config_map;
mod disruption_budget;
mod network_policy;
mod peer_service;
mod pod;
mod service_account;
mod stateful_set;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::observe::Observed;
use crate::plan::Plan;
use crate::validate::ValidatedCluster;

/// Everything that a cluster consists of. None of these is deleted: what is here is all that ever is.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    pub service_account: ServiceAccount,
    pub config_map: ConfigMap,
    pub peer_service: Service,
    pub client_service: Service,
    pub network_policy: NetworkPolicy,
    pub disruption_budget: PodDisruptionBudget,
    pub stateful_set: StatefulSet,
}

/// Builds all objects. `operator_namespace` is whence the operator may call the members' peer port.
pub fn build(
    cluster: &ValidatedCluster,
    observed: &Observed,
    plan: &Plan,
    operator_namespace: Option<&str>,
) -> Objects {
    Objects {
        service_account: service_account::build(cluster),
        config_map: config_map::build(cluster),
        peer_service: peer_service::build(cluster),
        client_service: client_service::build(cluster),
        network_policy: network_policy::build(cluster, operator_namespace),
        disruption_budget: disruption_budget::build(cluster, plan.min_available),
        stateful_set: stateful_set::build(cluster, observed, plan.replicas),
    }
}

/// Name, labels and owner, so that everything but the disks goes when the resource goes.
fn metadata(cluster: &ValidatedCluster, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(cluster.name.namespace.clone()),
        labels: Some(cluster.name.labels()),
        owner_references: Some(vec![cluster.owner.clone()]),
        ..ObjectMeta::default()
    }
}

fn selector(cluster: &ValidatedCluster) -> LabelSelector {
    LabelSelector {
        match_labels: Some(cluster.name.selector()),
        ..LabelSelector::default()
    }
}
