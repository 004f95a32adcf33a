//! Namespaces that admit only pods of the `restricted` Pod Security level.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::wait::{Seen, until};

/// Pods end within their grace period; the rest is quick.
const GONE_LIMIT: Duration = Duration::from_secs(180);
const FIELD_MANAGER: &str = "kotoba-kind-test";

/// Makes the namespace, or puts the labels on the one that is there.
pub async fn make_restricted(client: &Client, name: &str) -> Result<()> {
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    });
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    });
    Api::<Namespace>::all(client.clone())
        .patch(
            name,
            &PatchParams::apply(FIELD_MANAGER).force(),
            &Patch::Apply(namespace),
        )
        .await
        .map(drop)
        .with_context(|| format!("making the namespace {name}"))
}

/// Deletes it with all that is in it, and waits till it is gone.
pub async fn remove(client: &Client, name: &str) -> Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    if api.get_opt(name).await?.is_none() {
        return Ok(());
    }
    api.delete(name, &DeleteParams::default())
        .await
        .with_context(|| format!("deleting the namespace {name}"))?;
    let what = format!("end of the namespace {name}");
    until(&what, GONE_LIMIT, || async {
        Ok(match api.get_opt(name).await? {
            None => Seen::Done(()),
            Some(left) => Seen::Waiting(format!("{} is still there", left.name_any())),
        })
    })
    .await
}
