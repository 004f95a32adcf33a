//! Pods and volume claims: who is there, deleting, and waiting for the successor.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::wait::{Seen, until};

/// SIGKILL one second after SIGTERM: the shortest that does not drop the pod object before its processes are dead.
pub const ABRUPT_SECONDS: u32 = 1;
/// By this a person says that a disk may go.
const DELETION_ALLOWED: &str = "kotoba.dev/deletion-allowed";

/// The pods of one selector.
#[derive(Clone, Debug)]
pub struct Pods {
    api: Api<Pod>,
    selector: String,
}

impl Pods {
    pub fn new(client: &Client, namespace: &str, selector: &str) -> Self {
        Pods {
            api: Api::namespaced(client.clone(), namespace),
            selector: selector.to_owned(),
        }
    }

    pub fn api(&self) -> Api<Pod> {
        self.api.clone()
    }

    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// By name.
    pub async fn list(&self) -> Result<BTreeMap<String, Pod>> {
        let chosen = ListParams::default().labels(&self.selector);
        let pods = self.api.list(&chosen).await.context("listing pods")?;
        Ok(pods.into_iter().map(|pod| (pod.name_any(), pod)).collect())
    }

    /// Deletes the pod, with its own grace period or an abrupt one; gives the uid of what was deleted.
    pub async fn delete(&self, name: &str, grace_seconds: Option<u32>) -> Result<String> {
        let pod = self.api.get(name).await.context("reading a pod")?;
        let how = DeleteParams {
            grace_period_seconds: grace_seconds,
            ..DeleteParams::default()
        };
        let deleted = self.api.delete(name, &how).await;
        deleted.with_context(|| format!("deleting the pod {name}"))?;
        Ok(uid(&pod))
    }

    /// Waits till each name is a Ready pod with another uid than the old one.
    pub async fn wait_for_successors(&self, old: &BTreeMap<String, String>, limit: Duration) -> Result<()> {
        until("new pods to be Ready", limit, || async {
            let pods = self.list().await?;
            Ok(crate::wait::when_none(
                old.iter().find_map(|(name, uid)| not_succeeded(&pods, name, uid)),
            ))
        })
        .await
    }

    pub async fn wait_for_none(&self, limit: Duration) -> Result<()> {
        until("end of the pods", limit, || async {
            let left = self.list().await?;
            Ok(if left.is_empty() {
                Seen::Done(())
            } else {
                Seen::Waiting(format!("{:?} are left", left.keys()))
            })
        })
        .await
    }
}

fn not_succeeded(pods: &BTreeMap<String, Pod>, name: &str, old_uid: &str) -> Option<String> {
    let Some(pod) = pods.get(name) else {
        return Some(format!("{name} is not there"));
    };
    if uid(pod) == old_uid {
        return Some(format!("{name} is still the old pod"));
    }
    (!is_ready(pod)).then(|| format!("{name} is {}", state_text(pod)))
}

pub fn uid(pod: &Pod) -> String {
    pod.uid().unwrap_or_default()
}

pub fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Phase and why a container waits, as a person would want to read it.
pub fn state_text(pod: &Pod) -> String {
    let Some(status) = &pod.status else {
        return "without status".into();
    };
    let phase = status.phase.clone().unwrap_or_default();
    let containers = status.container_statuses.iter().flatten();
    let reasons: Vec<String> = containers
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone())
        .collect();
    match (reasons.is_empty(), is_ready(pod)) {
        (true, true) => format!("{phase}, Ready"),
        (true, false) => format!("{phase}, not Ready"),
        (false, _) => format!("{phase} ({})", reasons.join(", ")),
    }
}

/// Restarts of all containers, by pod.
pub fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    containers
        .into_iter()
        .flatten()
        .map(|container| container.restart_count)
        .sum()
}

/// Names and uids of the claims of a namespace.
pub async fn volume_claims(client: &Client, namespace: &str) -> Result<BTreeMap<String, String>> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let claims = api.list(&ListParams::default()).await;
    let claims = claims.context("listing volume claims")?;
    Ok(claims
        .into_iter()
        .map(|claim| (claim.name_any(), claim.uid().unwrap_or_default()))
        .collect())
}

/// Releases the claim, as the chart's guard demands it, and deletes it. It stays while a pod uses it.
pub async fn delete_volume_claim(client: &Client, namespace: &str, claim: &str) -> Result<()> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    release_volume_claim(&api, claim).await?;
    api.delete(claim, &DeleteParams::default())
        .await
        .map(drop)
        .with_context(|| format!("deleting volume claim {claim}"))
}

async fn release_volume_claim(api: &Api<PersistentVolumeClaim>, claim: &str) -> Result<()> {
    let release = Patch::Merge(json!({ "metadata": { "annotations": { DELETION_ALLOWED: "true" } } }));
    api.patch(claim, &PatchParams::default(), &release)
        .await
        .map(drop)
        .with_context(|| format!("releasing volume claim {claim}"))
}

/// Deletes the claims of a namespace: the test is over and its data with it. Where the chart guards them, they are released first.
pub async fn delete_volume_claims(client: &Client, namespace: &str) -> Result<()> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    for claim in volume_claims(client, namespace).await?.into_keys() {
        release_volume_claim(&api, &claim).await?;
    }
    api.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .map(drop)
        .context("deleting volume claims")
}

/// The pods that ask for more than the restricted Pod Security level allows cannot exist in such a namespace, so
/// that the operator's pods are there is the proof; this names the one that is not Ready.
pub async fn all_ready(pods: &Pods, at_least: usize, limit: Duration) -> Result<()> {
    if at_least == 0 {
        bail!("waiting for no pod proves nothing");
    }
    until("pods to be Ready", limit, || async {
        let pods = pods.list().await?;
        if pods.len() < at_least {
            return Ok(Seen::Waiting(format!("{} of {at_least} are there", pods.len())));
        }
        let late = pods.iter().find(|(_, pod)| !is_ready(pod));
        Ok(crate::wait::when_none(
            late.map(|(name, pod)| format!("{name} is {}", state_text(pod))),
        ))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "g-0", "uid": uid},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_old_pod_that_is_still_ready_is_no_successor() {
        let pods = |pod| BTreeMap::from([("g-0".to_owned(), pod)]);
        assert!(not_succeeded(&pods(pod("a", "True")), "g-0", "a").is_some());
        assert!(not_succeeded(&pods(pod("b", "False")), "g-0", "a").is_some());
        assert_eq!(not_succeeded(&pods(pod("b", "True")), "g-0", "a"), None);
        assert!(not_succeeded(&BTreeMap::new(), "g-0", "a").is_some());
    }
}
