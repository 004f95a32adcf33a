//! An API server of memory: get, list by label, create, replace, server-side apply, merge patches and deletion with resource versions,
//! generations, preconditions, discovery, and the subresources `status` and, of pods, `resize`. Enough for an operator that reads everything anew; it has no watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};

use crate::rights::Call;
use crate::tripwire::{Tripwire, Verdict};

/// Resource (plural), namespace (empty: none) and name.
type Key = (String, String, String);

#[derive(Default)]
pub struct Store {
    objects: BTreeMap<Key, Value>,
    version: u64,
    /// Somebody else deletes the object of this kind that is written next, just before.
    pub ends_before_write: Option<&'static str>,
}

#[derive(Clone, Default)]
pub struct ApiServer {
    store: Arc<Mutex<Store>>,
    calls: Arc<Mutex<BTreeSet<Call>>>,
    deleted: Arc<Mutex<Vec<String>>>,
    pub tripwire: Tripwire,
    pub kubernetes: Arc<Mutex<Kubernetes>>,
}

/// What this Kubernetes can do.
#[derive(Debug, Default)]
pub struct Kubernetes {
    pub resizes_pods: bool,
    /// Says no to every change of a running pod.
    pub refuses_resizes: bool,
    /// The namespace is being deleted.
    pub is_ending: bool,
}

/// A request's path, taken apart.
struct Path {
    key: Key,
    status: bool,
    resize: bool,
}

impl ApiServer {
    pub fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
        });
        Client::new(service, "default")
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// What was asked of it so far.
    pub fn calls(&self) -> BTreeSet<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Notes the call; gives what the chart's rules do not grant of it.
    fn forbidden(&self, method: &Method, text: &str) -> Option<Call> {
        let call = Call::of(method, text);
        let creates = method == Method::PATCH && !self.store().objects.contains_key(&path(text).key);
        let mut needed = vec![call];
        needed.extend(creates.then(|| needed[0].creating()));
        self.calls.lock().unwrap().extend(needed.iter().cloned());
        needed.into_iter().find(|call| !call.is_granted())
    }

    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        };
        if head.uri.path() == "/api/v1" {
            return response(StatusCode::OK, &self.discovery());
        }
        let path = path(head.uri.path());
        let query = head.uri.query().unwrap_or_default();
        let (code, answer) = if self.tripwire.dead() {
            failure(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "the operator is dead",
            )
        } else if let Some(call) = self.forbidden(&head.method, head.uri.path()) {
            let what = format!("{} {} is not granted", call.verb, call.resource);
            failure(StatusCode::FORBIDDEN, "Forbidden", &what)
        } else if head.method == Method::GET {
            self.read(&path, query)
        } else {
            self.write(&head.method, path, body)
        };
        response(code, &answer)
    }

    fn discovery(&self) -> Value {
        let mut names = vec!["pods"];
        names.extend(self.kubernetes.lock().unwrap().resizes_pods.then_some("pods/resize"));
        let of = |name: &str| json!({ "name": name, "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get"] });
        let resources: Vec<Value> = names.into_iter().map(of).collect();
        json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": resources })
    }

    fn read(&self, path: &Path, query: &str) -> (StatusCode, Value) {
        let store = self.store();
        if path.key.2.is_empty() {
            return (
                StatusCode::OK,
                json!({ "metadata": { "resourceVersion": store.version.to_string() }, "items": store.list(&path.key.0, query) }),
            );
        }
        match store.objects.get(&path.key) {
            Some(object) => (StatusCode::OK, object.clone()),
            None => failure(StatusCode::NOT_FOUND, "NotFound", &path.key.2),
        }
    }

    fn write(&self, method: &Method, mut path: Path, body: Value) -> (StatusCode, Value) {
        if path.key.2.is_empty() {
            path.key.2 = body["metadata"]["name"].as_str().unwrap().to_owned();
        }
        let mut store = self.store();
        if store
            .ends_before_write
            .take_if(|plural| *plural == path.key.0)
            .is_some()
        {
            store.delete(&path.key.0, &path.key.2);
        }
        let before = store.objects.get(&path.key).cloned();
        if method == Method::DELETE {
            return self.delete(&mut store, path.key, before.as_ref(), &body);
        }
        if let Err(refusal) = check_version(method, before.as_ref(), &body) {
            return refusal;
        }
        if let Some(refusal) = self.refusal(&path, before.as_ref()) {
            return refusal;
        }
        let after = if path.resize {
            resized(before.as_ref().unwrap(), &body)
        } else if method == Method::PUT {
            body
        } else {
            merged(before.as_ref(), &path, body)
        };
        if before.as_ref() == Some(&after) {
            return (StatusCode::OK, after);
        }
        let verdict = self.tripwire.write();
        let dead = failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "the operator is dead",
        );
        match verdict {
            Verdict::Go => (StatusCode::OK, store.put(path.key, after)),
            Verdict::DieAfter => {
                store.put(path.key, after);
                dead
            }
            Verdict::DieBefore | Verdict::Dead => dead,
        }
    }
}

impl ApiServer {
    /// What this Kubernetes does not do.
    fn refusal(&self, path: &Path, before: Option<&Value>) -> Option<(StatusCode, Value)> {
        let kubernetes = self.kubernetes.lock().unwrap();
        if kubernetes.is_ending && before.is_none() {
            let (code, mut status) = failure(StatusCode::FORBIDDEN, "Forbidden", "the namespace is being terminated");
            status["details"] =
                json!({ "causes": [{ "reason": "NamespaceTerminating", "message": "it ends", "field": "" }] });
            return Some((code, status));
        }
        let is_refused = path.resize && kubernetes.refuses_resizes;
        is_refused.then(|| failure(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", "the pod cannot be resized"))
    }

    fn delete(&self, store: &mut Store, key: Key, before: Option<&Value>, body: &Value) -> (StatusCode, Value) {
        let Some(before) = before else {
            return failure(StatusCode::NOT_FOUND, "NotFound", &key.2);
        };
        for precondition in ["uid", "resourceVersion"] {
            let wanted = &body["preconditions"][precondition];
            if !wanted.is_null() && before["metadata"][precondition] != *wanted {
                return failure(StatusCode::CONFLICT, "Conflict", precondition);
            }
        }
        assert!(
            !body["preconditions"]["uid"].is_null(),
            "a deletion without a uid: {key:?}"
        );
        assert!(body["gracePeriodSeconds"].is_null(), "a deletion by force: {key:?}");
        if !before["metadata"]["deletionTimestamp"].is_null() {
            return (StatusCode::OK, before.clone());
        }
        let dead = failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "the operator is dead",
        );
        let verdict = self.tripwire.write();
        match verdict {
            Verdict::Go | Verdict::DieAfter => {
                store.begin_deletion(&key, &body["propagationPolicy"]);
                self.deleted.lock().unwrap().push(format!("{} {}", key.0, key.2));
            }
            Verdict::DieBefore | Verdict::Dead => {}
        }
        match verdict {
            Verdict::Go => (StatusCode::OK, before.clone()),
            Verdict::DieAfter | Verdict::DieBefore | Verdict::Dead => dead,
        }
    }

    /// What the operator deleted, in order, as `plural name`.
    pub fn deleted(&self) -> Vec<String> {
        self.deleted.lock().unwrap().clone()
    }
}

impl Store {
    /// Pods stop, and claims go when no pod uses them: both take until the next tick.
    fn begin_deletion(&mut self, key: &Key, policy: &Value) {
        match key.0.as_str() {
            "pods" | "persistentvolumeclaims" => self.edit(&key.0, &key.2, |object| {
                object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }),
            "statefulsets" => {
                assert_eq!(policy, "Orphan", "a StatefulSet is deleted with its pods");
                self.delete(&key.0, &key.2);
            }
            other => panic!("{other} is never deleted"),
        }
    }

    pub fn get(&self, plural: &str, name: &str) -> Option<&Value> {
        let mut found = self
            .objects
            .iter()
            .filter(|((kind, _, of), _)| kind == plural && of == name);
        found.next().map(|(_, object)| object)
    }

    pub fn all(&self, plural: &str) -> Vec<Value> {
        let found = self.objects.iter().filter(|((kind, _, _), _)| kind == plural);
        found.map(|(_, object)| object.clone()).collect()
    }

    /// Puts an object as somebody else than the operator, giving it a new version.
    pub fn put(&mut self, (plural, namespace, name): Key, mut object: Value) -> Value {
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        if !namespace.is_empty() {
            metadata["namespace"] = json!(namespace);
        }
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.version));
        }
        self.objects.insert((plural, namespace, name), object.clone());
        object
    }

    /// Changes an object in place, as somebody else than the operator.
    pub fn edit(&mut self, plural: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let key = self
            .objects
            .keys()
            .find(|(kind, _, of)| kind == plural && of == name)
            .unwrap()
            .clone();
        let mut object = self.objects[&key].clone();
        let spec = object["spec"].clone();
        change(&mut object);
        if object["spec"] != spec {
            object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
        }
        if object != self.objects[&key] {
            self.put(key, object);
        }
    }

    pub fn delete(&mut self, plural: &str, name: &str) {
        self.objects.retain(|(kind, _, of), _| !(kind == plural && of == name));
    }

    fn list(&self, plural: &str, query: &str) -> Vec<Value> {
        let selector = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("labelSelector="))
            .unwrap_or_default();
        let selector = selector.replace("%2F", "/").replace("%3D", "=");
        let matches = |object: &Value| match selector.split_once('=') {
            Some((label, value)) => object["metadata"]["labels"][label] == value,
            None => true,
        };
        self.all(plural).into_iter().filter(matches).collect()
    }
}

/// `/api/v1/namespaces/NS/PLURAL/NAME/status` and its shorter forms.
fn path(text: &str) -> Path {
    let mut parts: Vec<&str> = text.trim_start_matches('/').split('/').collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    let namespace = if parts[0] == "namespaces" && parts.len() > 2 {
        parts.drain(..2).nth(1).unwrap()
    } else {
        ""
    };
    let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_owned();
    Path {
        key: (part(0), namespace.to_owned(), part(1)),
        status: part(2) == "status",
        resize: part(2) == "resize",
    }
}

/// Create wants nothing there; a version that is named must be the present one.
fn check_version(method: &Method, before: Option<&Value>, body: &Value) -> Result<(), (StatusCode, Value)> {
    let (version, uid) = (&body["metadata"]["resourceVersion"], &body["metadata"]["uid"]);
    let is_other = !uid.is_null() && before.is_none_or(|before| before["metadata"]["uid"] != *uid);
    let outdated = !version.is_null() && before.is_none_or(|before| before["metadata"]["resourceVersion"] != *version);
    if outdated || is_other {
        return Err(failure(
            StatusCode::CONFLICT,
            "Conflict",
            "the object has been modified",
        ));
    }
    if method == Method::POST && before.is_some() {
        return Err(failure(StatusCode::CONFLICT, "AlreadyExists", "it exists"));
    }
    Ok(())
}

/// A pod whose container got other resources; who wrote them is noted, as an API server does.
fn resized(before: &Value, body: &Value) -> Value {
    let mut pod = before.clone();
    let wanted = &body["spec"]["containers"][0];
    assert_eq!(
        pod["spec"]["containers"][0]["name"], wanted["name"],
        "another container"
    );
    merge(
        &mut pod["spec"]["containers"][0]["resources"],
        wanted["resources"].clone(),
    );
    pod["metadata"]["managedFields"] =
        json!([{ "manager": "kotoba-operator", "operation": "Update", "subresource": "resize" }]);
    pod
}

/// The object after a write: the status only through its subresource, everything else only without.
fn merged(before: Option<&Value>, path: &Path, mut body: Value) -> Value {
    let mut object = before
        .cloned()
        .unwrap_or_else(|| json!({ "metadata": { "generation": 1 } }));
    if path.status {
        object["status"] = body["status"].take();
        return object;
    }
    let spec = object["spec"].clone();
    body.as_object_mut().unwrap().remove("status");
    merge(&mut object, body);
    if before.is_some() && object["spec"] != spec {
        object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
    }
    object
}

/// One manager applies the same fields each time, so apply is a merge of maps, with lists taken whole.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Object(Map::new())), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

fn response(code: StatusCode, answer: &Value) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(Body::from(answer.to_string().into_bytes()))
        .unwrap()
}

fn failure(code: StatusCode, reason: &str, message: &str) -> (StatusCode, Value) {
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": code.as_u16(),
        "reason": reason,
        "message": message,
    });
    (code, status)
}
