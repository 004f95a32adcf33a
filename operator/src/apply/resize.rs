//! CPU and memory of a running pod, through the subresource that Kubernetes has for it. Nothing else of a pod is ever changed.

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{Done, Error, StepOutcome};
use crate::names::{CONTAINER, ClusterName, OPERATOR};
use crate::plan::ResizeStep;

/// Asks for it. That Kubernetes refuses, by a rule or because it may not, is an answer: the pod is made anew instead.
pub(super) async fn resize_pod(client: &Client, name: &ClusterName, step: &ResizeStep) -> Result<StepOutcome, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &name.namespace);
    let (pod, slot) = (name.pod(step.slot), step.slot);
    let patch = json!({
        "metadata": { "uid": step.uid },
        "spec": { "containers": [{ "name": CONTAINER, "resources": step.compute }] },
    });
    let params = PatchParams {
        field_manager: Some(OPERATOR.to_owned()),
        ..PatchParams::default()
    };
    let patched = api
        .patch_subresource("resize", &pod, &params, &Patch::Strategic(patch))
        .await;
    match patched {
        Ok(_) => Ok(StepOutcome::Done(Done::PodResized { slot })),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(Error::Object {
            kind: "Pod".to_owned(),
            name: pod,
            source: kube::Error::Api(status),
        }),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404 | 405 | 422) => {
            let why = status.message.clone();
            Ok(StepOutcome::Done(Done::ResizeRefused { slot, why }))
        }
        Err(error) => Ok(StepOutcome::Failed(format!("could not resize Pod {pod}: {error}"))),
    }
}
