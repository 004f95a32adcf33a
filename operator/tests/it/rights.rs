//! What the chart lets the operator do (charts/kotoba-operator/rbac/), obeyed by the API server of memory: so every test here
//! runs with these rights and no others. And nothing is granted that no life needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use kotoba_operator::lease::Lease;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::world::World;

/// A verb on a resource, as RBAC sees a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub verb: &'static str,
    /// `plural.group/subresource`, or shorter.
    pub resource: String,
}

impl Call {
    fn new(verb: &'static str, resource: &str) -> Self {
        Call {
            verb,
            resource: resource.to_owned(),
        }
    }

    /// `/apis/GROUP/VERSION/namespaces/NS/PLURAL/NAME/SUBRESOURCE` and its shorter forms.
    pub fn of(method: &Method, path: &str) -> Self {
        let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let group = if parts[0] == "api" { "" } else { parts[1] };
        parts.drain(..if parts[0] == "api" { 2 } else { 3 });
        if parts[0] == "namespaces" && parts.len() > 2 {
            parts.drain(..2);
        }
        let verb = match (method.as_str(), parts.len() > 1) {
            ("GET", true) => "get",
            ("GET", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            (other, _) => panic!("{other}"),
        };
        Call {
            verb,
            resource: resource(parts[0], group, parts.get(2).copied()),
        }
    }

    /// The same resource made by applying what is not there, which takes the right to create it, too.
    pub fn creating(&self) -> Self {
        Call::new("create", &self.resource)
    }

    pub fn is_granted(&self) -> bool {
        GRANTED.contains(self)
    }
}

fn resource(plural: &str, group: &str, subresource: Option<&str>) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    let rest = subresource.map(|name| format!("/{name}")).unwrap_or_default();
    format!("{plural}{dot}{group}{rest}")
}

static GRANTED: LazyLock<BTreeSet<Call>> = LazyLock::new(|| {
    let files = ["clusters", "nodes", "lease"];
    files
        .into_iter()
        .flat_map(rules)
        .flat_map(|rule| calls(&rule))
        .collect()
});

fn rules(file: &str) -> Vec<Value> {
    let file = format!("../charts/kotoba-operator/rbac/{file}.yaml");
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    serde_yaml_ng::from_str(&text).unwrap()
}

fn calls(rule: &Value) -> Vec<Call> {
    let texts = |field: &str| -> Vec<String> { serde_json::from_value(rule[field].clone()).unwrap() };
    let mut calls = Vec::new();
    for group in texts("apiGroups") {
        for name in texts("resources") {
            let (plural, subresource) = name.split_once('/').map_or((&*name, None), |(a, b)| (a, Some(b)));
            let resource = resource(plural, &group, subresource);
            calls.extend(texts("verbs").iter().map(|verb| Call::new(known(verb), &resource)));
        }
    }
    calls
}

/// One of the verbs by name, and no wildcard.
fn known(verb: &str) -> &'static str {
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
    verbs
        .into_iter()
        .find(|known| *known == verb)
        .unwrap_or_else(|| panic!("{verb:?} is no verb to grant"))
}

/// What the controller in run.rs watches; there are no watches in memory.
const WATCHED: [&str; 9] = [
    "kotobaclusters.kotoba.dev",
    "statefulsets.apps",
    "services",
    "configmaps",
    "serviceaccounts",
    "poddisruptionbudgets.policy",
    "networkpolicies.networking.k8s.io",
    "pods",
    "persistentvolumeclaims",
];

/// Granted, and not seen in the life below.
fn unseen() -> BTreeSet<Call> {
    let watches = WATCHED
        .iter()
        .flat_map(|resource| [Call::new("list", resource), Call::new("watch", resource)]);
    let others = [
        // Checked by an admission plugin, not asked for.
        Call::new("update", "kotobaclusters.kotoba.dev/finalizers"),
        // An event that comes again is counted up in place.
        Call::new("patch", "events.events.k8s.io"),
        // Scale-in, rolls and growth of disks: seen in lives of their own.
        Call::new("delete", "statefulsets.apps"),
        Call::new("get", "pods"),
        Call::new("delete", "pods"),
        Call::new("patch", "pods/resize"),
        Call::new("get", "persistentvolumeclaims"),
        Call::new("patch", "persistentvolumeclaims"),
        Call::new("delete", "persistentvolumeclaims"),
    ];
    watches.chain(others).collect()
}

#[tokio::test]
async fn nothing_is_granted_that_is_not_used() {
    let mut world = World::new(json!({ "replicas": 3 }));
    world.run_until_ready().await;
    world.scale(4);
    world.run_until_ready().await;
    let mut used = world.api.calls();
    used.extend(calls_of_the_lease().await);
    used.extend(unseen());
    let superfluous: Vec<_> = GRANTED.difference(&used).collect();
    assert!(superfluous.is_empty(), "{superfluous:?}");
}

async fn calls_of_the_lease() -> BTreeSet<Call> {
    let api = ApiServer::default();
    for identity in ["one", "two"] {
        let mut lease = Lease::new(api.client(), "kotoba-system", "kotoba-operator", identity);
        tokio::time::timeout(Duration::from_secs(60), lease.acquire())
            .await
            .unwrap();
        lease.release().await;
    }
    api.calls()
}

#[tokio::test]
async fn what_is_not_granted_is_refused() {
    use k8s_openapi::api::core::v1::Secret;
    use kube::api::{Api, ListParams};

    let secrets: Api<Secret> = Api::all(ApiServer::default().client());
    let error = secrets.list(&ListParams::default()).await.unwrap_err();
    assert!(error.to_string().contains("list secrets"), "{error}");
}

/// The least that must never come back unnoticed.
#[test]
fn secrets_roles_and_whole_collections_are_out_of_reach() {
    for call in [
        Call::new("get", "secrets"),
        Call::new("create", "rolebindings.rbac.authorization.k8s.io"),
        Call::new("deletecollection", "persistentvolumeclaims"),
        Call::new("delete", "kotobaclusters.kotoba.dev"),
        Call::new("create", "pods/exec"),
        Call::new("list", "nodes"),
    ] {
        assert!(!call.is_granted(), "{call:?}");
    }
}
