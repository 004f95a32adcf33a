//! Reads the Kubernetes objects of one cluster, uncached: a decision that rests on a stale cache is how operators
//! remove the wrong thing.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet as KubeStatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod as KubePod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::{Claim, NotedDisk, Observed, Pod, Slot, StatefulSet};
use crate::crd::KotobaClusterStatus;
use crate::names::{ClusterName, DATA_VOLUME, DISK_ANNOTATION, MEMBER_ANNOTATION};

/// Kubernetes nodes whose zone is read at the same time.
const NODES_AT_ONCE: usize = 8;
/// More pods than a cluster may have members, so one page always holds them all.
const LIST_LIMIT: u32 = 500;

/// Which read failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {kind} {name}")]
    Get {
        kind: String,
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("list the {kind} objects of cluster {name}")]
    List {
        kind: String,
        name: String,
        #[source]
        source: kube::Error,
    },
}

/// Reads everything but what only the database knows.
pub async fn read_kubernetes(
    client: &Client,
    name: &ClusterName,
    uid: &str,
    zone_key: &str,
    recorded: KotobaClusterStatus,
) -> Result<Observed, Error> {
    let (stateful_set, taken_names, pods, claims) = futures::try_join!(
        get::<KubeStatefulSet>(client, &name.namespace, &name.name),
        taken_names(client, name, uid),
        list::<KubePod>(client, name),
        list::<PersistentVolumeClaim>(client, name),
    )?;
    let zones = zones(client, &pods, zone_key).await?;
    Ok(Observed {
        recorded,
        stateful_set: stateful_set.as_ref().map(of_stateful_set),
        slots: slots(name, &pods, &claims, &zones),
        taken_names,
        ..Observed::default()
    })
}

/// Objects that have a name which this cluster needs, and are not its own.
async fn taken_names(client: &Client, name: &ClusterName, uid: &str) -> Result<Vec<String>, Error> {
    let (own, peers) = (name.name.as_str(), name.peer_service());
    let taken = futures::try_join!(
        taken::<ServiceAccount>(client, &name.namespace, own, uid),
        taken::<ConfigMap>(client, &name.namespace, own, uid),
        taken::<Service>(client, &name.namespace, own, uid),
        taken::<Service>(client, &name.namespace, &peers, uid),
        taken::<NetworkPolicy>(client, &name.namespace, own, uid),
        taken::<PodDisruptionBudget>(client, &name.namespace, own, uid),
        taken::<KubeStatefulSet>(client, &name.namespace, own, uid),
    )?;
    let (a, b, c, d, e, f, g) = taken;
    Ok([a, b, c, d, e, f, g].into_iter().flatten().collect())
}

async fn taken<K>(client: &Client, namespace: &str, name: &str, uid: &str) -> Result<Option<String>, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api
        .get_metadata_opt(name)
        .await
        .map_err(|source| get_error::<K>(name, source))?;
    let foreign = found.filter(|object| !object.owner_references().iter().any(|owner| owner.uid == uid));
    Ok(foreign.map(|_| format!("{} {name}", K::kind(&()))))
}

async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(|source| get_error::<K>(name, source))
}

async fn list<K>(client: &Client, name: &ClusterName) -> Result<Vec<K>, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &name.namespace);
    let wanted = ListParams::default().labels(&name.selector_text()).limit(LIST_LIMIT);
    let found = api.list(&wanted).await.map_err(|source| Error::List {
        kind: K::kind(&()).into_owned(),
        name: name.name.clone(),
        source,
    })?;
    Ok(found.items)
}

fn get_error<K: Resource<DynamicType = ()>>(name: &str, source: kube::Error) -> Error {
    Error::Get {
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        source,
    }
}

/// The zone of every Kubernetes node that runs one of the pods; empty where it has no such label.
async fn zones(client: &Client, pods: &[KubePod], zone_key: &str) -> Result<BTreeMap<String, String>, Error> {
    let of_pod = |pod: &KubePod| pod.spec.as_ref()?.node_name.clone();
    let hosts: BTreeSet<String> = pods.iter().filter_map(of_pod).collect();
    let api: &Api<Node> = &Api::all(client.clone());
    let read = futures::stream::iter(hosts).map(|host| async move {
        let found = api
            .get_metadata_opt(&host)
            .await
            .map_err(|source| get_error::<Node>(&host, source))?;
        let zone = found.map(|node| node.labels().get(zone_key).cloned().unwrap_or_default());
        Ok::<_, Error>(zone.map(|zone| (host, zone)))
    });
    let found: Vec<Option<(String, String)>> = read.buffer_unordered(NODES_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

fn of_stateful_set(set: &KubeStatefulSet) -> StatefulSet {
    let spec = set.spec.as_ref();
    let status = set.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation) >= set.metadata.generation;
    let template = spec
        .and_then(|spec| spec.volume_claim_templates.as_ref())
        .and_then(|claims| {
            let mut claims = claims.iter();
            claims.find(|claim| claim.metadata.name.as_deref() == Some(DATA_VOLUME))
        });
    StatefulSet {
        replicas: spec
            .and_then(|spec| spec.replicas)
            .and_then(|replicas| u32::try_from(replicas).ok())
            .unwrap_or(0),
        claim_size: template.and_then(size),
        update_revision: status
            .filter(|_| seen)
            .and_then(|status| status.update_revision.clone()),
    }
}

fn slots(
    name: &ClusterName,
    pods: &[KubePod],
    claims: &[PersistentVolumeClaim],
    zones: &BTreeMap<String, String>,
) -> BTreeMap<u32, Slot> {
    let mut slots: BTreeMap<u32, Slot> = BTreeMap::new();
    for pod in pods {
        if let Some(slot) = name.slot_of(&pod.name_any()) {
            slots.entry(slot).or_default().pod = Some(of_pod(pod, zones));
        }
    }
    for claim in claims {
        let claimed = claim.name_any();
        let of_slot = |pod: &str| name.slot_of(pod);
        let slot = claimed
            .strip_prefix(DATA_VOLUME)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(of_slot);
        if let Some(slot) = slot {
            slots.entry(slot).or_default().claim = Some(of_claim(claim));
        }
    }
    slots
}

fn of_pod(pod: &KubePod, zones: &BTreeMap<String, String>) -> Pod {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let deleting = pod.metadata.deletion_timestamp.is_some();
    Pod {
        uid: pod.uid().unwrap_or_default(),
        ip: status
            .and_then(|status| status.pod_ip.clone())
            .filter(|ip| !ip.is_empty()),
        ready: ready && !deleting,
        deleting,
        revision: pod.labels().get("controller-revision-hash").cloned(),
        zone: spec.and_then(|spec| zones.get(spec.node_name.as_ref()?).cloned()),
        trouble: trouble(pod),
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

fn of_claim(claim: &PersistentVolumeClaim) -> Claim {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    Claim {
        uid: claim.uid().unwrap_or_default(),
        version: claim.resource_version().unwrap_or_default(),
        bound: phase == Some("Bound"),
        deleting: claim.metadata.deletion_timestamp.is_some(),
        size: size(claim).unwrap_or_default(),
        disk: noted_disk(claim),
    }
}

fn noted_disk(claim: &PersistentVolumeClaim) -> Option<NotedDisk> {
    let annotations = claim.annotations();
    Some(NotedDisk {
        disk_id: annotations.get(DISK_ANNOTATION)?.clone(),
        member_id: annotations.get(MEMBER_ANNOTATION).and_then(|id| id.parse().ok()),
    })
}

fn size(claim: &PersistentVolumeClaim) -> Option<String> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some(requests.get("storage")?.0.clone())
}
