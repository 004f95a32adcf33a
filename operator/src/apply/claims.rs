//! What is written on claims: which disk is behind them, and how large it shall be.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::Error;
use crate::names::{ClusterName, DISK_ANNOTATION, MEMBER_ANNOTATION};
use crate::plan::{ClaimGrowth, ClaimMark};

/// Notes the disk on each claim, if that is still the claim that was seen.
pub async fn mark_claims(client: &Client, name: &ClusterName, marks: &[ClaimMark]) -> Result<(), Error> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &name.namespace);
    for mark in marks {
        let claim = name.claim(mark.slot);
        let patch = json!({ "metadata": {
            "uid": mark.uid,
            "resourceVersion": mark.version,
            "annotations": {
                DISK_ANNOTATION: mark.disk.disk_id,
                MEMBER_ANNOTATION: mark.disk.member_id.map(|id| id.to_string()),
            },
        }});
        let patched = api.patch(&claim, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map_err(|source| Error::Object {
            kind: "PersistentVolumeClaim".to_owned(),
            name: claim,
            source,
        })?;
    }
    Ok(())
}

/// What an API server says to a person; the whole answer is for programs.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// Asks for larger disks, of every claim that can be asked; gives what Kubernetes said to those it refused.
///
/// A storage class that cannot enlarge its volumes must not keep the rest of the cluster from being looked after.
pub async fn grow_claims(client: &Client, name: &ClusterName, growth: &[ClaimGrowth]) -> Vec<String> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &name.namespace);
    let mut refusals = Vec::new();
    for wanted in growth {
        let claim = name.claim(wanted.slot);
        let patch = json!({
            "metadata": { "uid": wanted.uid },
            "spec": { "resources": { "requests": { "storage": wanted.size } } },
        });
        let patched = api.patch(&claim, &PatchParams::default(), &Patch::Merge(patch)).await;
        if let Err(error) = patched {
            refusals.push(format!("{claim} is not enlarged: {}", told(&error)));
        }
    }
    refusals
}
