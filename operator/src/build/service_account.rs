//! The identity of the pods. It has no rights and no token: the database never talks to Kubernetes.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::validate::ValidatedCluster;

pub(super) fn build(cluster: &ValidatedCluster) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(cluster, &cluster.name.name),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
