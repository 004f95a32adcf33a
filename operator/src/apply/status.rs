//! Writes the status, on the condition that nobody wrote the resource since it was read.

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;

use super::Error;
use crate::crd::{KotobaCluster, KotobaClusterStatus};
use crate::names::ClusterName;

/// Apart from the manager of the objects: a status field that is left out must go, and only that.
const STATUS_MANAGER: &str = "kotoba-operator-status";

/// Writes a status and gives the new resource version.
///
/// Fails with a conflict if the resource has another version than `version` by now: another operator, or an edit
/// of the spec that this status does not speak of.
pub async fn write_status(
    client: &Client,
    name: &ClusterName,
    version: &str,
    status: &KotobaClusterStatus,
) -> Result<String, Error> {
    let api: Api<KotobaCluster> = Api::namespaced(client.clone(), &name.namespace);
    let patch = json!({
        "apiVersion": KotobaCluster::api_version(&()),
        "kind": KotobaCluster::kind(&()),
        "metadata": { "name": name.name, "resourceVersion": version },
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let written = api.patch_status(&name.name, &params, &Patch::Apply(patch)).await;
    let written = written.map_err(|source| Error::Status {
        name: name.name.clone(),
        source,
    })?;
    Ok(written.resource_version().unwrap_or_default())
}
