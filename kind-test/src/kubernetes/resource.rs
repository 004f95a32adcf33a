//! The resource KotobaCluster, read and written as any client would: by its public fields, not by the operator's types.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::wait::{Seen, until};

const FIELD_MANAGER: &str = "kotoba-kind-test";

/// A handle on one KotobaCluster.
#[derive(Clone, Debug)]
pub struct Resource {
    api: Api<DynamicObject>,
    pub name: String,
}

/// One state of a KotobaCluster.
#[derive(Clone, Debug)]
pub struct State(DynamicObject);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    pub reason: String,
    pub message: String,
    pub observed_generation: i64,
}

impl Resource {
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        let kind = GroupVersionKind::gvk("kotoba.dev", "v1alpha1", "KotobaCluster");
        let resource = ApiResource::from_gvk(&kind);
        Resource {
            api: Api::namespaced_with(client.clone(), namespace, &resource),
            name: name.to_owned(),
        }
    }

    /// Makes it, or changes it into this.
    pub async fn apply(&self, manifest: &Value) -> Result<()> {
        let how = PatchParams::apply(FIELD_MANAGER).force();
        self.api
            .patch(&self.name, &how, &Patch::Apply(manifest))
            .await
            .map(drop)
            .with_context(|| format!("applying the KotobaCluster {}", self.name))
    }

    pub async fn state(&self) -> Result<State> {
        let object = self.api.get(&self.name).await;
        object
            .map(State)
            .with_context(|| format!("reading the KotobaCluster {}", self.name))
    }

    /// Sets the number of members as `kubectl scale` does.
    pub async fn scale(&self, replicas: u32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.api
            .patch_scale(&self.name, &PatchParams::default(), &patch)
            .await
            .map(drop)
            .with_context(|| format!("scaling {} to {replicas}", self.name))
    }

    /// Changes what the patch names, as `kubectl patch --type merge` does; null takes a field away.
    pub async fn edit(&self, patch: &Value) -> Result<()> {
        self.api
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop)
            .with_context(|| format!("editing {} by {patch}", self.name))
    }

    /// Asks what would become of it, and changes nothing.
    pub async fn try_edit(&self, patch: &Value) -> Result<Value> {
        let edited = self.api.patch(&self.name, &asking(), &Patch::Merge(patch)).await;
        edited
            .map(|object| object.data)
            .with_context(|| format!("editing {} by {patch}", self.name))
    }

    /// The same of the status, which nobody but the operator should write.
    pub async fn try_edit_status(&self, patch: &Value) -> Result<Value> {
        let edited = self.api.patch_status(&self.name, &asking(), &Patch::Merge(patch)).await;
        edited
            .map(|object| object.data)
            .with_context(|| format!("editing the status of {} by {patch}", self.name))
    }

    /// Asks what would become of a manifest with this spec, and makes nothing.
    pub async fn try_apply(&self, spec: Value) -> Result<Value> {
        let manifest = json!({
            "apiVersion": "kotoba.dev/v1alpha1", "kind": "KotobaCluster",
            "metadata": {"name": self.name}, "spec": spec,
        });
        let how = PatchParams::apply(FIELD_MANAGER).dry_run();
        let applied = self.api.patch(&self.name, &how, &Patch::Apply(&manifest)).await;
        applied
            .map(|object| object.data)
            .with_context(|| format!("applying {manifest}"))
    }

    /// Sets an annotation, or takes it away.
    pub async fn annotate(&self, key: &str, value: Option<&str>) -> Result<()> {
        self.edit(&json!({"metadata": {"annotations": {key: value}}})).await
    }

    /// Deletes it and waits till the object is gone.
    pub async fn delete(&self, limit: Duration) -> Result<()> {
        self.api
            .delete(&self.name, &DeleteParams::foreground())
            .await
            .with_context(|| format!("deleting the KotobaCluster {}", self.name))?;
        until("end of the KotobaCluster", limit, || async {
            Ok(match self.api.get_opt(&self.name).await? {
                None => Seen::Done(()),
                Some(left) => Seen::Waiting(format!("finalizers {:?} are left", left.finalizers())),
            })
        })
        .await
    }

    /// Waits till the condition has this status for the newest generation.
    pub async fn wait_for(&self, condition: &str, status: &str, limit: Duration) -> Result<State> {
        let what = format!("{condition}={status} of {}", self.name);
        self.wait_until(&what, limit, |state| state.missing(condition, status))
            .await
    }

    /// Waits till the condition has this status and reason for the newest generation; gives its message.
    pub async fn wait_for_reason(
        &self,
        (condition, status, reason): (&str, &str, &str),
        limit: Duration,
    ) -> Result<String> {
        let what = format!("{condition}={status}/{reason} of {}", self.name);
        let missing = |state: &State| {
            let other = || state.condition(condition).filter(|one| one.reason != reason);
            state
                .missing(condition, status)
                .or_else(|| other().map(|one| one.to_string()))
        };
        let state = self.wait_until(&what, limit, missing).await?;
        Ok(state.condition(condition).map_or_else(String::new, |one| one.message))
    }

    /// Waits till nothing is missing.
    pub async fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        missing: impl Fn(&State) -> Option<String>,
    ) -> Result<State> {
        until(what, limit, || async {
            let state = self.state().await?;
            Ok(match missing(&state) {
                None => Seen::Done(state),
                Some(reason) => Seen::Waiting(reason),
            })
        })
        .await
    }
}

fn asking() -> PatchParams {
    PatchParams {
        dry_run: true,
        ..PatchParams::default()
    }
}

impl State {
    pub fn generation(&self) -> i64 {
        self.0.metadata.generation.unwrap_or_default()
    }

    pub fn cluster_id(&self) -> Option<String> {
        let id = self.0.data["status"]["clusterId"].as_str()?;
        (!id.is_empty()).then(|| id.to_owned())
    }

    pub fn spec(&self) -> &Value {
        &self.0.data["spec"]
    }

    pub fn status(&self) -> &Value {
        &self.0.data["status"]
    }

    /// What the status says of the member in the slot.
    pub fn member(&self, slot: &str) -> Option<&Value> {
        let members = self.status()["members"].as_array()?;
        members.iter().find(|member| member["slot"] == slot)
    }

    /// The rule that holds the operation back, and its message.
    pub fn blocked_by(&self) -> Option<(String, String)> {
        let blocked = &self.status()["operation"]["blockedBy"];
        let text = |key: &str| blocked[key].as_str().map(str::to_owned);
        Some((text("predicate")?, text("message")?))
    }

    pub fn conditions(&self) -> Vec<Condition> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = self.0.data["status"]["conditions"].as_array();
        list.into_iter()
            .flatten()
            .map(|one| Condition {
                kind: text(&one["type"]),
                status: text(&one["status"]),
                reason: text(&one["reason"]),
                message: text(&one["message"]),
                observed_generation: one["observedGeneration"].as_i64().unwrap_or_default(),
            })
            .collect()
    }

    pub fn condition(&self, kind: &str) -> Option<Condition> {
        self.conditions().into_iter().find(|one| one.kind == kind)
    }

    /// Why the condition does not have this status for the newest generation; `None` if it has.
    pub fn missing(&self, kind: &str, status: &str) -> Option<String> {
        let Some(condition) = self.condition(kind) else {
            return Some(format!("there is no condition {kind}"));
        };
        if condition.observed_generation != self.generation() {
            return Some(format!(
                "{kind} is of generation {}, the resource of {}",
                condition.observed_generation,
                self.generation()
            ));
        }
        (condition.status != status).then(|| condition.to_string())
    }

    pub fn to_yaml(&self) -> String {
        serde_yaml_ng::to_string(&self.0).unwrap_or_else(|error| error.to_string())
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Condition {
            kind,
            status,
            reason,
            message,
            ..
        } = self;
        write!(out, "{kind}={status}/{reason}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(generation: i64, observed: i64, status: &str) -> State {
        let object = json!({
            "apiVersion": "kotoba.dev/v1alpha1", "kind": "KotobaCluster",
            "metadata": {"name": "g", "generation": generation},
            "spec": {"replicas": 3},
            "status": {"clusterId": "", "conditions": [{
                "type": "Ready", "status": status, "reason": "R", "message": "m", "observedGeneration": observed,
            }]},
        });
        State(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_condition_of_an_older_generation_proves_nothing() {
        assert_eq!(state(2, 2, "True").missing("Ready", "True"), None);
        assert!(
            state(3, 2, "True")
                .missing("Ready", "True")
                .unwrap()
                .contains("generation 2")
        );
    }

    #[test]
    fn a_condition_that_is_false_gives_its_message() {
        let missing = state(1, 1, "False").missing("Ready", "True");
        assert_eq!(missing.unwrap(), "Ready=False/R: m");
        assert!(state(1, 1, "True").missing("Balanced", "True").is_some());
    }

    #[test]
    fn an_empty_cluster_id_is_none() {
        assert_eq!(state(1, 1, "True").cluster_id(), None);
    }
}
