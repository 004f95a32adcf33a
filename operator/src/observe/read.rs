//! Reads the Kubernetes objects of one cluster, uncached: a decision that rests on a stale cache is how operators
//! remove the wrong thing.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet as KubeStatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod as KubePod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::pod::{of_pod, recipe};
use super::{Claim, Host, HostState, NotedDisk, Observed, Slot, StatefulSet};
use crate::crd::KotobaClusterStatus;
use crate::names::{ClusterName, DATA_VOLUME, DISK_ANNOTATION, MEMBER_ANNOTATION};
use crate::validate::ValidatedCluster;

/// On a claim: the Kubernetes node that its volume was made for, where volumes belong to one.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a claim: who makes its volume, where it is made for the claim. Not on one that was given a volume that was there before.
const PROVISIONER: [&str; 2] = [
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
];
/// Kubernetes nodes that are read at the same time.
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
    #[error("ask what this Kubernetes can do")]
    Discover {
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
    cluster: &ValidatedCluster,
    recorded: KotobaClusterStatus,
) -> Result<Observed, Error> {
    let name = &cluster.name;
    let (stateful_set, taken_names, pods, claims) = futures::try_join!(
        get::<KubeStatefulSet>(client, &name.namespace, &name.name),
        taken_names(client, name, &cluster.uid),
        list::<KubePod>(client, name),
        list::<PersistentVolumeClaim>(client, name),
    )?;
    let hosts = hosts(client, &pods, &claims, &cluster.topology.zone_key).await?;
    let stateful_set = stateful_set.as_ref().map(of_stateful_set);
    let slots = slots(cluster, &pods, &claims, &hosts);
    Ok(Observed {
        resizes_pods: could_resize(stateful_set.as_ref(), &slots) && resizes_pods(client).await?,
        recorded,
        stateful_set,
        slots,
        now: Timestamp::now(),
        taken_names,
        ..Observed::default()
    })
}

/// Some pod has other CPU and memory than it would be made with now.
fn could_resize(set: Option<&StatefulSet>, slots: &BTreeMap<u32, Slot>) -> bool {
    let Some(wanted) = set.and_then(StatefulSet::present_recipe) else {
        return false;
    };
    let mut pods = slots.values().filter_map(|slot| slot.pod.as_ref());
    pods.any(|pod| !pod.compute.holds(&wanted.compute))
}

/// Whether this Kubernetes has the subresource: from 1.33 on, unless somebody has switched it off.
async fn resizes_pods(client: &Client) -> Result<bool, Error> {
    let known = client.list_core_api_resources("v1").await;
    let known = known.map_err(|source| Error::Discover { source })?;
    Ok(known.resources.iter().any(|resource| resource.name == "pods/resize"))
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

/// Every Kubernetes node that runs one of the pods, or has one of the volumes.
async fn hosts(
    client: &Client,
    pods: &[KubePod],
    claims: &[PersistentVolumeClaim],
    zone_key: &str,
) -> Result<BTreeMap<String, Host>, Error> {
    let of_pod = |pod: &KubePod| pod.spec.as_ref()?.node_name.clone();
    let of_claim = |claim: &PersistentVolumeClaim| claim.annotations().get(SELECTED_NODE).cloned();
    let names: BTreeSet<String> = pods
        .iter()
        .filter_map(of_pod)
        .chain(claims.iter().filter_map(of_claim))
        .collect();
    let api: &Api<Node> = &Api::all(client.clone());
    let read = futures::stream::iter(names).map(|name| async move {
        let found = api
            .get_opt(&name)
            .await
            .map_err(|source| get_error::<Node>(&name, source))?;
        let host = of_node(&name, found.as_ref(), zone_key);
        Ok::<_, Error>((name, host))
    });
    read.buffer_unordered(NODES_AT_ONCE).try_collect().await
}

fn of_node(name: &str, node: Option<&Node>, zone_key: &str) -> Host {
    let conditions = node
        .and_then(|node| node.status.as_ref()?.conditions.as_deref())
        .unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    Host {
        name: name.to_owned(),
        zone: node
            .and_then(|node| node.labels().get(zone_key).cloned())
            .unwrap_or_default(),
        state: node.map_or(HostState::Gone, |node| {
            state_of_node(node, ready.map(|condition| condition.status.as_str()))
        }),
    }
}

/// What a person said of it first, then what the node controller did, then its own word.
fn state_of_node(node: &Node, ready: Option<&str>) -> HostState {
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    let has = |key: &str| taints.iter().any(|taint| taint.key == key);
    match ready {
        _ if has("node.kubernetes.io/out-of-service") => HostState::OutOfService,
        _ if has("node.kubernetes.io/unreachable") => HostState::Unreachable,
        Some("Unknown") => HostState::Unreachable,
        None | Some("True") => HostState::Ready,
        Some(_) => HostState::NotReady,
    }
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
    let containers = spec.and_then(|spec| Some(spec.template.spec.as_ref()?.containers.as_slice()));
    StatefulSet {
        uid: set.uid().unwrap_or_default(),
        image: containers.and_then(|containers| containers.first()?.image.clone()),
        replicas: spec
            .and_then(|spec| spec.replicas)
            .and_then(|replicas| u32::try_from(replicas).ok())
            .unwrap_or(0),
        claim_size: template.and_then(size),
        seen: seen && status.is_some_and(|status| status.update_revision.is_some()),
        recipe: spec.and_then(|spec| recipe(spec.template.metadata.as_ref()?.annotations.as_ref()?)),
    }
}

fn slots(
    cluster: &ValidatedCluster,
    pods: &[KubePod],
    claims: &[PersistentVolumeClaim],
    hosts: &BTreeMap<String, Host>,
) -> BTreeMap<u32, Slot> {
    let name = &cluster.name;
    let mut slots: BTreeMap<u32, Slot> = BTreeMap::new();
    for pod in pods {
        if let Some(slot) = name.slot_of(&pod.name_any()) {
            slots.entry(slot).or_default().pod = Some(of_pod(pod, hosts));
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
            slots.entry(slot).or_default().claim = Some(of_claim(claim, cluster, hosts));
        }
    }
    slots
}

fn of_claim(claim: &PersistentVolumeClaim, cluster: &ValidatedCluster, hosts: &BTreeMap<String, Host>) -> Claim {
    let status = claim.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let selected = claim.annotations().get(SELECTED_NODE).and_then(|name| hosts.get(name));
    Claim {
        uid: claim.uid().unwrap_or_default(),
        version: claim.resource_version().unwrap_or_default(),
        bound: phase == Some("Bound"),
        deleting: claim.metadata.deletion_timestamp.is_some(),
        size: size(claim).unwrap_or_default(),
        capacity: status.and_then(|status| Some(status.capacity.as_ref()?.get("storage")?.0.clone())),
        resizing: resizing(claim),
        lost_host: selected
            .filter(|host| host.state == HostState::Gone)
            .map(|host| host.name.clone()),
        disk: noted_disk(claim),
        began_empty: began_empty(claim, cluster.created),
    }
}

/// Made since there is this cluster, from nothing, with a volume that was made for it, or none yet.
fn began_empty(claim: &PersistentVolumeClaim, cluster: Option<Timestamp>) -> bool {
    let is_younger = claim.creation_timestamp().map(|time| time.0) >= cluster && cluster.is_some();
    let spec = claim.spec.as_ref();
    let is_copy = spec.is_some_and(|spec| spec.data_source.is_some() || spec.data_source_ref.is_some());
    let has_volume = spec.is_some_and(|spec| spec.volume_name.is_some());
    let is_provisioned = PROVISIONER.iter().any(|key| claim.annotations().contains_key(*key));
    is_younger && !is_copy && (is_provisioned || !has_volume)
}

/// The enlargement that is under way, or has failed, in Kubernetes' words.
fn resizing(claim: &PersistentVolumeClaim) -> Option<String> {
    let conditions = claim.status.as_ref()?.conditions.as_ref()?;
    let told = [
        "Resizing",
        "FileSystemResizePending",
        "ControllerResizeError",
        "NodeResizeError",
    ];
    let condition = conditions
        .iter()
        .find(|condition| told.contains(&condition.type_.as_str()) && condition.status == "True")?;
    let message = condition.message.clone().unwrap_or_default();
    Some(format!("{} {message}", condition.type_).trim_end().to_owned())
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
