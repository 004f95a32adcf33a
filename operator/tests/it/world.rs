//! A Kubernetes and a database of memory, and the operator that is run against them, one pass at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kotoba_operator::admin::{Admin, Route};
use kotoba_operator::crd::{ConditionStatus, ConditionType, KotobaCluster, KotobaClusterStatus, truth_of};
use kotoba_operator::lease::Leadership;
use kotoba_operator::metrics::Metrics;
use kotoba_operator::names::{CLUSTER_LABEL, ClusterName};
use kotoba_operator::reconcile::{Context, Ending, Error, reconcile};
use kube::runtime::events::Recorder;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api_server::ApiServer;
use crate::database::{Database, Disk};

/// Passes within which any cluster here must come to rest.
pub const MAX_PASSES: usize = 60;
/// An image with this in its name cannot be pulled.
pub const BAD_IMAGE: &str = "nowhere";

pub struct World {
    pub api: ApiServer,
    pub database: Database,
    name: ClusterName,
    /// Where the process of each pod really listens.
    ports: Arc<Mutex<BTreeMap<String, u16>>>,
    context: Arc<Context>,
    disks_made: u64,
    pods_made: u64,
}

impl World {
    /// A cluster resource that nobody has looked at yet.
    pub fn new(spec: Value) -> Self {
        let api = ApiServer::default();
        let ports: Arc<Mutex<BTreeMap<String, u16>>> = Arc::default();
        let mut world = World {
            database: Database::new(api.tripwire.clone()),
            name: ClusterName {
                namespace: "graphs".into(),
                name: "g".into(),
            },
            context: context(&api, &ports),
            api,
            ports,
            disks_made: 0,
            pods_made: 0,
        };
        world.put_nodes();
        world.put_cluster(spec);
        world
    }

    pub fn put_cluster(&mut self, spec: Value) {
        let object = json!({
            "apiVersion": "kotoba.dev/v1alpha1",
            "kind": "KotobaCluster",
            "metadata": { "name": "g", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": spec,
        });
        self.api
            .store()
            .put(("kotobaclusters".into(), "graphs".into(), "g".into()), object);
    }

    fn put_nodes(&mut self) {
        for (node, zone) in [("node-0", "a"), ("node-1", "b"), ("node-2", "c")] {
            let object = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": { "name": node, "labels": { "topology.kubernetes.io/zone": zone } },
            });
            self.api
                .store()
                .put(("nodes".into(), String::new(), node.into()), object);
        }
    }

    /// A new process of the operator, which knows nothing.
    pub fn restart_operator(&mut self) {
        self.api.tripwire.restart();
        self.context = context(&self.api, &self.ports);
    }

    pub fn scale(&self, replicas: u32) {
        self.api.store().edit("kotobaclusters", "g", |cluster| {
            cluster["spec"]["replicas"] = json!(replicas)
        });
    }

    pub fn annotate(&self, key: &str, value: &str) {
        self.api.store().edit("kotobaclusters", "g", |cluster| {
            cluster["metadata"]["annotations"][key] = json!(value);
        });
    }

    /// A new version of the operator, which comes with another default image.
    pub fn upgrade_operator(&mut self, image: &str) {
        let context = context(&self.api, &self.ports);
        let mut context = Arc::into_inner(context).unwrap();
        context.cluster_image = Some(image.into());
        self.context = Arc::new(context);
    }

    /// Images of the pods, by their names.
    pub fn images(&self) -> Vec<String> {
        let pods = self.api.store().all("pods");
        pods.iter()
            .map(|pod| {
                pod["status"]["containerStatuses"][0]["image"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    /// CPU that each pod asks for, by their names.
    pub fn cpu(&self) -> Vec<Value> {
        let pods = self.api.store().all("pods");
        let of = |pod: &Value| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].clone();
        pods.iter().map(of).collect()
    }

    pub fn edit_spec(&self, change: impl FnOnce(&mut Value)) {
        self.api
            .store()
            .edit("kotobaclusters", "g", |cluster| change(&mut cluster["spec"]));
    }

    pub fn delete_pod(&self, pod: &str) {
        self.stop_process(pod);
        self.api.store().delete("pods", pod);
    }

    /// The process ends, and another is started with the next tick; what it wrote stays on its disk.
    pub fn stop_process(&self, pod: &str) {
        let disk = self.database.state().disks.remove(pod);
        let claim = format!("data-{pod}");
        let mut store = self.api.store();
        if let (Some(disk), Some(_)) = (disk, store.get("persistentvolumeclaims", &claim)) {
            store.edit("persistentvolumeclaims", &claim, |claim| {
                claim["disk"] = json!({ "id": disk.id, "cluster_id": disk.cluster_id, "member_id": disk.member_id });
            });
        }
    }

    /// Lets the address of one pod lead to the process of another, as when an IP is given anew.
    pub fn misdirect(&self, pod: &str, to: &str) {
        let mut ports = self.ports.lock().unwrap();
        let port = ports[to];
        ports.insert(pod.into(), port);
    }

    pub fn delete_claim(&self, pod: &str) {
        self.api
            .store()
            .delete("persistentvolumeclaims", &format!("data-{pod}"));
    }

    /// One pass.
    pub async fn pass(&self) -> Result<Duration, Error> {
        let object = self.api.store().get("kotobaclusters", "g").unwrap().clone();
        let cluster: KotobaCluster = serde_json::from_value(object).unwrap();
        reconcile(Arc::new(cluster), self.context.clone())
            .await
            .map(|_| Duration::ZERO)
    }

    /// Passes until the cluster is as `done` wants it; panics with its status if that never comes.
    pub async fn run_until(&mut self, done: impl Fn(&KotobaClusterStatus) -> bool) -> KotobaClusterStatus {
        for _ in 0..MAX_PASSES {
            self.pass().await.unwrap();
            let status = self.status();
            if done(&status) {
                return status;
            }
            self.tick().await;
        }
        panic!("never came to it: {:#?}", self.status());
    }

    /// Passes until the cluster is ready and nothing is left to do.
    pub async fn run_until_ready(&mut self) -> KotobaClusterStatus {
        let generation = self.api.store().get("kotobaclusters", "g").unwrap()["metadata"]["generation"].as_i64();
        self.run_until(|status| status.observed_generation == generation && is(status, ConditionType::Ready))
            .await
    }

    pub fn status(&self) -> KotobaClusterStatus {
        let store = self.api.store();
        let status = store.get("kotobaclusters", "g").unwrap()["status"].clone();
        serde_json::from_value::<Option<KotobaClusterStatus>>(status)
            .unwrap()
            .unwrap_or_default()
    }

    /// Reasons of the events that were published, each once.
    pub fn events(&self) -> Vec<String> {
        let mut reasons: Vec<String> = Vec::new();
        let mut events = self.api.store().all("events");
        events.sort_by_key(|event| event["eventTime"].as_str().unwrap().to_owned());
        for event in events {
            let reason = event["reason"].as_str().unwrap().to_owned();
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// What the controllers of Kubernetes and the processes of the database do meanwhile.
    pub async fn tick(&mut self) {
        self.database.tick();
        self.end_deletions();
        self.enlarge_volumes();
        let Some(set) = self.api.store().get("statefulsets", "g").cloned() else {
            return;
        };
        let replicas = set["spec"]["replicas"].as_u64().unwrap();
        let revision = revision(&set);
        for slot in 0..u32::try_from(replicas).unwrap() {
            let pod = self.name.pod(slot);
            self.make_claim(&pod, &set);
            self.make_pod(&pod, slot, &set);
            self.start_process(&pod, slot).await;
            self.report_readiness(&pod);
        }
        self.stop_surplus(replicas);
        let generation = set["metadata"]["generation"].clone();
        self.api.store().edit("statefulsets", "g", |set| {
            set["status"] = json!({
                "observedGeneration": generation,
                "updateRevision": revision,
                "replicas": replicas,
            });
        });
    }

    /// Pods that were told to stop have stopped; claims that nobody uses any more go.
    fn end_deletions(&self) {
        let stopping = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        let pods = self.api.store().all("pods");
        for pod in pods.iter().filter(|pod| stopping(pod)) {
            self.delete_pod(&name(pod));
        }
        let claims = self.api.store().all("persistentvolumeclaims");
        for claim in claims.iter().filter(|claim| stopping(claim)).map(name) {
            let pod = claim.trim_start_matches("data-");
            let is_used = self.api.store().get("pods", pod).is_some();
            if !is_used {
                self.api.store().delete("persistentvolumeclaims", &claim);
            }
        }
    }

    fn enlarge_volumes(&self) {
        let claims = self.api.store().all("persistentvolumeclaims");
        for claim in claims {
            let name = claim["metadata"]["name"].as_str().unwrap();
            self.api.store().edit("persistentvolumeclaims", name, |claim| {
                claim["status"]["capacity"] = claim["spec"]["resources"]["requests"].clone();
            });
        }
    }

    /// The StatefulSet's controller stops pods above its number.
    fn stop_surplus(&self, replicas: u64) {
        let pods = self.api.store().all("pods");
        for pod in pods {
            let pod = pod["metadata"]["name"].as_str().unwrap();
            let slot = self.name.slot_of(pod).unwrap();
            if u64::from(slot) >= replicas {
                self.api.store().edit("pods", pod, |pod| {
                    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                });
            }
        }
    }

    fn make_claim(&mut self, pod: &str, set: &Value) {
        let claim = format!("data-{pod}");
        if self.api.store().get("persistentvolumeclaims", &claim).is_some() {
            return;
        }
        self.disks_made += 1;
        let size = &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
        let object = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": claim,
                "labels": { CLUSTER_LABEL: "g" },
                "creationTimestamp": "2026-01-01T00:00:01Z",
                "annotations": { "volume.kubernetes.io/storage-provisioner": "a.test" },
            },
            "spec": { "resources": { "requests": { "storage": size } }, "volumeName": format!("volume-{}", self.disks_made) },
            "status": { "phase": "Bound", "capacity": { "storage": size } },
            "disk": { "id": format!("disk-{}", self.disks_made), "cluster_id": "", "member_id": 0 },
        });
        self.api
            .store()
            .put(("persistentvolumeclaims".into(), "graphs".into(), claim), object);
    }

    fn make_pod(&mut self, pod: &str, slot: u32, set: &Value) {
        let claim = self
            .api
            .store()
            .get("persistentvolumeclaims", &format!("data-{pod}"))
            .cloned();
        let claim_goes = claim.is_some_and(|claim| !claim["metadata"]["deletionTimestamp"].is_null());
        if self.api.store().get("pods", pod).is_some() || claim_goes {
            return;
        }
        let template = &set["spec"]["template"];
        let container = &template["spec"]["containers"][0];
        let image = container["image"].as_str().unwrap();
        let state = if image.contains(BAD_IMAGE) {
            json!({ "waiting": { "reason": "ImagePullBackOff", "message": format!("no image {image}") } })
        } else {
            json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } })
        };
        self.pods_made += 1;
        let object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod,
                "labels": { CLUSTER_LABEL: "g" },
                "annotations": template["metadata"]["annotations"],
                "creationTimestamp": "2020-01-01T00:00:00Z",
            },
            "spec": { "nodeName": format!("node-{}", slot % 3), "containers": [container] },
            "status": {
                "podIP": format!("10.0.0.{}", self.pods_made),
                "containerStatuses": [{
                    "name": "kotoba", "image": image, "imageID": "", "ready": false, "restartCount": 0, "state": state,
                }],
            },
        });
        self.api
            .store()
            .put(("pods".into(), "graphs".into(), pod.into()), object);
    }

    /// The process opens the disk that the pod's claim gives it.
    async fn start_process(&self, pod: &str, slot: u32) {
        let runs = self
            .api
            .store()
            .get("pods", pod)
            .is_some_and(|pod| !pod["status"]["containerStatuses"][0]["state"]["running"].is_null());
        if !runs {
            return;
        }
        let known = self.ports.lock().unwrap().contains_key(pod);
        if !known {
            let address = self.database.serve(pod, &self.name.peer_address(slot)).await;
            self.ports.lock().unwrap().insert(pod.into(), address.port());
        }
        let claim = format!("data-{pod}");
        let running = self.database.state().disks.get(pod).cloned();
        match running {
            // What the process wrote on its disk is there when another process opens it.
            Some(disk) => self.api.store().edit("persistentvolumeclaims", &claim, |claim| {
                claim["disk"] = json!({ "id": disk.id, "cluster_id": disk.cluster_id, "member_id": disk.member_id });
            }),
            None => {
                let disk = self.api.store().get("persistentvolumeclaims", &claim).unwrap()["disk"].clone();
                let disk = Disk {
                    id: disk["id"].as_str().unwrap().into(),
                    cluster_id: disk["cluster_id"].as_str().unwrap().into(),
                    member_id: disk["member_id"].as_u64().unwrap(),
                };
                self.database.state().disks.insert(pod.into(), disk);
            }
        }
    }

    fn report_readiness(&self, pod: &str) {
        let ready = if self.database.state().is_ready(pod) {
            "True"
        } else {
            "False"
        };
        let mut store = self.api.store();
        if store.get("pods", pod).is_some() {
            store.edit("pods", pod, |pod| {
                let mut conditions =
                    vec![json!({ "type": "Ready", "status": ready, "lastTransitionTime": "2020-01-01T00:00:00Z" })];
                // What the kubelet says of a change of resources is said only of a pod that was changed.
                if !pod["metadata"]["managedFields"].is_null() {
                    conditions.extend(pod["resizeConditions"].as_array().into_iter().flatten().cloned());
                }
                pod["status"]["conditions"] = json!(conditions);
            });
        }
    }
}

/// What the controller calls the present template.
fn revision(set: &Value) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    set["spec"]["template"].to_string().hash(&mut hasher);
    format!("g-{:x}", hasher.finish())
}

pub fn is(status: &KotobaClusterStatus, type_: ConditionType) -> bool {
    truth_of(&status.conditions, type_) == ConditionStatus::True
}

/// Reason of a condition.
pub fn reason(status: &KotobaClusterStatus, type_: ConditionType) -> String {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str());
    found.map(|condition| condition.reason.clone()).unwrap_or_default()
}

fn context(api: &ApiServer, ports: &Arc<Mutex<BTreeMap<String, u16>>>) -> Arc<Context> {
    let ports = ports.clone();
    let route: Route = Arc::new(move |target, _| {
        let port = ports.lock().unwrap().get(&target.pod).copied().unwrap_or(1);
        format!("127.0.0.1:{port}")
    });
    Arc::new(Context {
        client: api.client(),
        admin: Admin::new(route),
        recorder: Recorder::new(api.client(), "kotoba-operator".into()),
        metrics: Arc::new(Metrics::default()),
        leadership: leading(),
        ending: Ending::default(),
        cluster_image: Some("kotoba:1".into()),
        namespace: Some("kotoba-system".into()),
    })
}

/// The right to work, for longer than any test takes.
fn leading() -> Leadership {
    watch::channel(Some(Instant::now() + Duration::from_secs(3600))).1
}
