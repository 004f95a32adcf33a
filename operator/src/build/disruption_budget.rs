//! How many members must stay up when pods are evicted, for example while Kubernetes nodes are drained.
//!
//! The number is absolute: `maxUnavailable` is counted against the StatefulSet's replicas, which run ahead of the
//! members while the cluster grows. Pods that are not ready may always be evicted: they protect nothing. A single
//! member may be evicted too: a budget that no drain can meet keeps Kubernetes nodes from being drained at all.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{metadata, selector};
use crate::validate::ValidatedCluster;

pub(super) fn build(cluster: &ValidatedCluster, min_available: u32) -> PodDisruptionBudget {
    let min_available = i32::try_from(min_available).expect("the spec allows at most 100 members");
    PodDisruptionBudget {
        metadata: metadata(cluster, &cluster.name.name),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(min_available)),
            selector: Some(selector(cluster)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
