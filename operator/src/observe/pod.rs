//! A pod as Kubernetes tells of it, turned into ours.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod as KubePod, PodCondition};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::{Host, HostState, Pod, ResizeState};
use crate::names::{CONTAINER, OPERATOR, RECIPE_ANNOTATION};
use crate::recipe::{Compute, Recipe};

pub(super) fn of_pod(pod: &KubePod, hosts: &BTreeMap<String, Host>) -> Pod {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let ready_condition = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True");
    let ready = ready_condition.is_some();
    let mut containers = status
        .into_iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let host = spec.and_then(|spec| hosts.get(spec.node_name.as_ref()?).cloned());
    let deleting = pod.metadata.deletion_timestamp.is_some();
    Pod {
        uid: pod.uid().unwrap_or_default(),
        ip: status
            .and_then(|status| status.pod_ip.clone())
            .filter(|ip| !ip.is_empty()),
        ready: ready && !deleting,
        deleting,
        recipe: recipe(pod.annotations()),
        compute: compute(pod),
        resized: was_resized(pod),
        resize: resize_state(conditions),
        created: pod.creation_timestamp().map(|time| time.0),
        running: containers.any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some())),
        ready_since: ready_condition.and_then(|condition| Some(condition.last_transition_time.as_ref()?.0)),
        zone: host
            .as_ref()
            .filter(|host| host.state != HostState::Gone)
            .map(|host| host.zone.clone()),
        host,
        trouble: trouble(pod),
    }
}

/// What an object says that pods are made from.
pub(super) fn recipe(annotations: &BTreeMap<String, String>) -> Option<Recipe> {
    Recipe::from_text(annotations.get(RECIPE_ANNOTATION)?)
}

fn compute(pod: &KubePod) -> Compute {
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let container = containers.find(|container| container.name == CONTAINER);
    let resources = container
        .and_then(|container| container.resources.clone())
        .unwrap_or_default();
    let texts = |amounts: Option<BTreeMap<String, Quantity>>| {
        let amounts = amounts.unwrap_or_default().into_iter();
        amounts.map(|(name, amount)| (name, amount.0)).collect()
    };
    Compute {
        requests: texts(resources.requests),
        limits: texts(resources.limits),
    }
}

/// By who has written what: nothing else tells a change by the operator from one by an admission plugin.
fn was_resized(pod: &KubePod) -> bool {
    let mut writers = pod.managed_fields().iter();
    writers.any(|fields| fields.subresource.as_deref() == Some("resize") && fields.manager.as_deref() == Some(OPERATOR))
}

fn resize_state(conditions: &[PodCondition]) -> Option<ResizeState> {
    let told = |type_: &str| {
        let mut conditions = conditions.iter();
        conditions.find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    let text = |condition: &PodCondition| {
        let reason = condition.reason.as_deref().unwrap_or("InProgress");
        let message = condition.message.as_deref().unwrap_or_default();
        format!("{reason} {message}").trim_end().to_owned()
    };
    match told("PodResizePending") {
        Some(condition) if condition.reason.as_deref() == Some("Infeasible") => {
            Some(ResizeState::Infeasible(text(condition)))
        }
        Some(condition) => Some(ResizeState::Pending(text(condition))),
        None => told("PodResizeInProgress").map(|condition| ResizeState::Pending(text(condition))),
    }
}

/// Why a pod does not run: not scheduled, or its container cannot start.
fn trouble(pod: &KubePod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.clone().unwrap_or_else(|| "Waiting".to_owned());
        Some(
            waiting
                .message
                .as_ref()
                .map_or(reason.clone(), |message| format!("{reason}: {message}")),
        )
    });
    let unscheduled = || {
        let mut conditions = status.conditions.iter().flatten();
        let blocked = conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
        blocked.and_then(|condition| condition.message.clone())
    };
    waiting.or_else(unscheduled)
}
