//! Kubernetes nodes that are lost, or seem to be, and what a person can do about it.

use super::View;
use crate::observe::{Host, HostState};

/// A pod on a Kubernetes node that is not there, and what a person can do: nobody else may say that the machine is off,
/// and until somebody does, its pod may still run and write.
pub(super) fn lost(view: &View<'_>) -> Option<String> {
    (0..view.plan.slots).find_map(|slot| {
        let (pod, claim) = (view.cluster.name.pod(slot), view.cluster.name.claim(slot));
        let seen = view.observed.slots.get(&slot)?;
        let host = seen.pod.as_ref().and_then(|pod| pod.host.as_ref());
        if let Some(told) = host.and_then(|host| trouble_of(host, &pod, &claim)) {
            return Some(told);
        }
        let lost = seen.claim.as_ref()?.lost_host.as_ref().filter(|_| host.is_none())?;
        Some(format!(
            "pod {pod} has no Kubernetes node, and its volume {claim} was on {lost}, which does not exist any more: bring \
             that back, or, if the disk is lost, delete the claim {claim}, and its pod gets an empty disk"
        ))
    })
}

fn trouble_of(host: &Host, pod: &str, claim: &str) -> Option<String> {
    let what = match host.state {
        HostState::Ready => return None,
        HostState::NotReady => "says that it is not ready",
        HostState::Unreachable => "does not report to Kubernetes any more",
        HostState::Gone => "does not exist any more",
        HostState::OutOfService => {
            return Some(format!(
                "pod {pod} is on the Kubernetes node {}, which somebody has marked out of service: Kubernetes takes the pod \
                 and its volume off it, and the pod is made anew elsewhere. If its disk was in that machine, delete the claim \
                 {claim}; when the machine is back, take the taint node.kubernetes.io/out-of-service away",
                host.name
            ));
        }
    };
    Some(format!(
        "pod {pod} is on the Kubernetes node {0}, which {what}. It is not moved while it may still run there: if the machine \
         is off for good, delete the Node {0}, or taint it node.kubernetes.io/out-of-service=nodeshutdown:NoExecute; if its \
         disk is lost with it, delete the claim {claim} too",
        host.name
    ))
}
