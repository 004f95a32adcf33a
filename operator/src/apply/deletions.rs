//! The few deletions there are. Each names the very object that was seen: another one of the same name is kept.
//!
//! Nothing is ever deleted by force: a pod that Kubernetes cannot stop may still run, and write.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, Preconditions, PropagationPolicy};

use super::{Done, Error, StepOutcome};
use crate::names::ClusterName;
use crate::plan::{ClaimStep, PodStep, SetStep};

pub(super) async fn delete_claim(client: &Client, name: &ClusterName, step: &ClaimStep) -> Result<StepOutcome, Error> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &name.namespace);
    let claim = name.claim(step.slot);
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: Some(step.uid.clone()),
        resource_version: Some(step.version.clone()),
    });
    let deleted = api.delete(&claim, &params).await.map(drop);
    outcome(
        "PersistentVolumeClaim",
        claim,
        deleted,
        Done::ClaimDeleted { slot: step.slot },
    )
}

pub(super) async fn delete_pod(client: &Client, name: &ClusterName, step: &PodStep) -> Result<StepOutcome, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &name.namespace);
    let pod = name.pod(step.slot);
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: Some(step.uid.clone()),
        resource_version: None,
    });
    let deleted = api.delete(&pod, &params).await.map(drop);
    outcome("Pod", pod, deleted, Done::PodDeleted { slot: step.slot })
}

/// The pods stay as they are; the next pass makes a StatefulSet that takes them over.
pub(super) async fn orphan_set(client: &Client, name: &ClusterName, step: &SetStep) -> Result<StepOutcome, Error> {
    let api: Api<StatefulSet> = Api::namespaced(client.clone(), &name.namespace);
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        preconditions: Some(Preconditions {
            uid: Some(step.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let deleted = api.delete(&name.name, &params).await.map(drop);
    outcome("StatefulSet", name.name.clone(), deleted, Done::StatefulSetDeleted)
}

/// Gone already is done; changed since it was seen is looked at again; any other refusal is told in the status.
fn outcome(kind: &str, name: String, deleted: Result<(), kube::Error>, done: Done) -> Result<StepOutcome, Error> {
    match deleted {
        Ok(()) => Ok(StepOutcome::Done(done)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(StepOutcome::Done(done)),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(Error::Object {
            kind: kind.to_owned(),
            name,
            source: kube::Error::Api(status),
        }),
        Err(error) => Ok(StepOutcome::Failed(format!("could not delete {kind} {name}: {error}"))),
    }
}
