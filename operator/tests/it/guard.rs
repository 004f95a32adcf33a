//! The chart's guard rails (charts/kotoba-operator/guard/), evaluated here as an API server evaluates them.

use std::path::{Path, PathBuf};

use kube::core::cel::KubeCelExt;
use kube::core::cel::cel::{Context, Program, Value as CelValue};
use serde_json::{Value, json};

const OPERATOR: &str = "system:serviceaccount:kotoba-system:kotoba-operator";
const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";
const PERSON: &str = "ada";

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/kotoba-operator")
}

fn yaml(file: &Path) -> Value {
    serde_yaml_ng::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// All rules, each with the name of its file.
fn policies() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(chart().join("guard")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let named = files.map(|file| (file.file_stem().unwrap().to_str().unwrap().to_owned(), yaml(&file)));
    let policies: Vec<_> = named.collect();
    assert_eq!(policies.len(), 4);
    policies
}

/// What templates/guard.yaml gives the rules, from the chart's default values.
fn variables() -> Value {
    let guard = yaml(&chart().join("values.yaml"))["guard"].clone();
    json!({
        "operators": [OPERATOR],
        "controllers": guard["controllers"],
        "breakGlassGroups": guard["breakGlassGroups"],
        "emergency": "In an emergency: break the glass",
    })
}

/// A request to the API server.
struct Request {
    operation: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    user: &'static str,
    groups: Vec<&'static str>,
    /// As it is stored.
    old: Value,
    /// As it shall be; null for a deletion.
    new: Value,
}

impl Request {
    fn update(group: &'static str, resource: &'static str, old: Value) -> Self {
        Request {
            operation: "UPDATE",
            group,
            resource,
            subresource: "",
            user: PERSON,
            groups: vec!["system:authenticated", "system:masters"],
            new: old.clone(),
            old,
        }
    }

    fn delete(group: &'static str, resource: &'static str, old: Value) -> Self {
        Request {
            operation: "DELETE",
            new: Value::Null,
            ..Request::update(group, resource, old)
        }
    }

    fn by(self, user: &'static str) -> Self {
        Request {
            user,
            groups: vec!["system:authenticated"],
            ..self
        }
    }

    fn and_group(mut self, group: &'static str) -> Self {
        self.groups.push(group);
        self
    }

    /// The messages of all rules that refuse it.
    fn refusals(&self) -> Vec<String> {
        let policies = policies();
        let concerned = policies.iter().filter(|(_, policy)| self.is_matched(policy));
        concerned.flat_map(|(_, policy)| self.judge(policy)).collect()
    }

    fn refusal(&self) -> String {
        let mut refusals = self.refusals();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        refusals.remove(0)
    }

    fn is_matched(&self, policy: &Value) -> bool {
        let constraints = &policy["matchConstraints"];
        let has = |list: &Value, wanted: &str| list.as_array().unwrap().iter().any(|value| value == wanted);
        let resource = match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        };
        let mut rules = constraints["resourceRules"].as_array().unwrap().iter();
        let matched = rules.any(|rule| {
            has(&rule["apiGroups"], self.group)
                && has(&rule["operations"], self.operation)
                && has(&rule["resources"], &resource)
        });
        matched && self.is_selected(&constraints["objectSelector"]) && self.meets_conditions(policy)
    }

    /// Either of the two objects is enough, so that taking the label off does not take the guard off.
    fn is_selected(&self, selector: &Value) -> bool {
        if selector.is_null() {
            return true;
        }
        let expressions = selector["matchExpressions"].as_array().unwrap();
        let label = expressions[0]["key"].as_str().unwrap();
        assert_eq!(expressions.len(), 1);
        assert_eq!(expressions[0]["operator"], "Exists");
        [&self.old, &self.new]
            .iter()
            .any(|object| !object["metadata"]["labels"][label].is_null())
    }

    fn meets_conditions(&self, policy: &Value) -> bool {
        let mut conditions = policy["matchConditions"].as_array().into_iter().flatten();
        conditions.all(|condition| self.evaluate(&condition["expression"]) == CelValue::Bool(true))
    }

    /// The messages of the rules that it breaks.
    fn judge(&self, policy: &Value) -> Vec<String> {
        let validations = policy["validations"].as_array().unwrap().iter();
        let broken = validations.filter(|validation| match self.evaluate(&validation["expression"]) {
            CelValue::Bool(allowed) => !allowed,
            other => panic!("{other:?}"),
        });
        let message = |validation: &Value| match self.evaluate(&validation["messageExpression"]) {
            CelValue::String(message) => message.to_string(),
            other => panic!("{other:?}"),
        };
        broken.map(message).collect()
    }

    /// Not by kube's evaluator of policies: it changes the keys of labels and annotations as if they were fields, and knows
    /// no variables of a policy's own.
    fn evaluate(&self, expression: &Value) -> CelValue {
        let expression = expression.as_str().unwrap();
        let mut context = Context::default();
        context.register_all();
        context.add_variable("oldObject", &self.old).unwrap();
        context.add_variable("object", &self.new).unwrap();
        context.add_variable("variables", variables()).unwrap();
        context.add_variable("request", self.as_seen_by_rules()).unwrap();
        let program = Program::compile(expression).unwrap();
        program
            .execute(&context)
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn as_seen_by_rules(&self) -> Value {
        json!({
            "operation": self.operation,
            "name": self.old["metadata"]["name"],
            "resource": { "group": self.group, "version": "v1", "resource": self.resource },
            "userInfo": { "username": self.user, "groups": self.groups },
        })
    }
}

fn ours(name: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "kotoba.dev/cluster": "g" } } })
}

fn annotated(name: &str, annotation: &str, value: &str) -> Value {
    let mut object = ours(name);
    object["metadata"]["annotations"] = json!({ annotation: value });
    object
}

/// As the API server makes it from a StatefulSet: without its labels.
fn scale(selector: &str) -> Request {
    let old = json!({
        "metadata": { "name": "g" },
        "spec": { "replicas": 3 },
        "status": { "replicas": 3, "selector": selector },
    });
    Request {
        subresource: "scale",
        ..Request::update("apps", "statefulsets", old)
    }
}

#[test]
fn a_persons_change_of_a_stateful_set_is_refused_and_told_what_to_edit() {
    for request in [
        Request::update("apps", "statefulsets", ours("g")),
        Request::delete("apps", "statefulsets", ours("g")),
    ] {
        let message = request.refusal();
        assert!(message.contains("edit kotobacluster g instead"), "{message}");
        assert!(message.ends_with("break the glass"), "{message}");
    }
}

#[test]
fn taking_the_label_off_is_a_change_as_well() {
    let mut request = Request::update("apps", "statefulsets", ours("g"));
    request.new = json!({ "metadata": { "name": "g" } });
    request.refusal();
}

#[test]
fn the_operator_and_the_controllers_of_kubernetes_go_on_with_their_work() {
    for user in [OPERATOR, GARBAGE_COLLECTOR, NAMESPACE_CONTROLLER] {
        for request in [
            Request::update("apps", "statefulsets", ours("g")),
            Request::delete("apps", "statefulsets", ours("g")),
            Request::delete("", "persistentvolumeclaims", ours("data-g-0")),
        ] {
            assert_eq!(request.by(user).refusals(), Vec::<String>::new(), "{user}");
        }
    }
}

#[test]
fn objects_of_others_are_none_of_our_business() {
    let other = json!({ "metadata": { "name": "other", "labels": { "app": "x" } } });
    for request in [
        Request::update("apps", "statefulsets", other.clone()),
        Request::delete("apps", "statefulsets", other.clone()),
        Request::delete("", "persistentvolumeclaims", other.clone()),
        Request::delete("", "namespaces", other),
        scale("app=x"),
    ] {
        assert_eq!(request.refusals(), Vec::<String>::new());
    }
}

#[test]
fn a_stateful_set_is_scaled_through_the_resource() {
    let message = scale("kotoba.dev/cluster=g").refusal();
    assert!(message.contains("kubectl scale kotobacluster/g"), "{message}");
    // An autoscaler that was pointed at the StatefulSet is a controller of Kubernetes, too.
    let autoscaler = scale("kotoba.dev/cluster=g").by("system:serviceaccount:kube-system:horizontal-pod-autoscaler");
    autoscaler.refusal();
    assert_eq!(
        scale("kotoba.dev/cluster=g").by(OPERATOR).refusals(),
        Vec::<String>::new()
    );
}

#[test]
fn a_disk_is_deleted_only_after_it_was_released() {
    let delete = |object| Request::delete("", "persistentvolumeclaims", object);
    let message = delete(ours("data-g-0")).refusal();
    assert!(message.contains("kotoba.dev/deletion-allowed=true"), "{message}");
    delete(annotated("data-g-0", "kotoba.dev/deletion-allowed", "false")).refusal();
    delete(annotated("data-g-0", "other", "true")).refusal();
    let released = delete(annotated("data-g-0", "kotoba.dev/deletion-allowed", "true"));
    assert_eq!(released.refusals(), Vec::<String>::new());
    // Growing it is nobody's harm.
    let grown = Request::update("", "persistentvolumeclaims", ours("data-g-0"));
    assert_eq!(grown.refusals(), Vec::<String>::new());
}

#[test]
fn breaking_the_glass_takes_the_group_and_not_just_any_rights() {
    for request in [
        Request::delete("apps", "statefulsets", ours("g")),
        Request::delete("", "persistentvolumeclaims", ours("data-g-0")),
        scale("kotoba.dev/cluster=g"),
    ] {
        assert!(request.groups.contains(&"system:masters"));
        request.refusal();
        assert_eq!(request.and_group("kotoba:break-glass").refusals(), Vec::<String>::new());
    }
}

#[test]
fn what_is_protected_is_deleted_only_without_the_annotation() {
    for (group, resource) in [
        ("kotoba.dev", "kotobaclusters"),
        ("", "namespaces"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    ] {
        let delete = |object| Request::delete(group, resource, object);
        let protected = || annotated("g", "kotoba.dev/deletion-protection", "true");
        let message = delete(protected()).refusal();
        let command = format!("kubectl annotate {resource}/g kotoba.dev/deletion-protection-");
        assert!(message.contains(&command), "{message}");
        // The operator deletes no cluster, so it has no exception here.
        delete(protected()).by(OPERATOR).refusal();
        for open in [
            ours("g"),
            annotated("g", "other", "true"),
            annotated("g", "kotoba.dev/deletion-protection", "false"),
            json!({ "metadata": { "name": "g" } }),
        ] {
            assert_eq!(delete(open).refusals(), Vec::<String>::new());
        }
        assert_eq!(
            Request::update(group, resource, protected()).refusals(),
            Vec::<String>::new()
        );
    }
}

/// Its deletion was let through; a cluster in it must not keep it from ending.
#[test]
fn a_namespace_that_is_deleted_takes_a_protected_cluster_with_it() {
    let cluster = annotated("g", "kotoba.dev/deletion-protection", "true");
    for user in [NAMESPACE_CONTROLLER, "system:kube-controller-manager"] {
        let request = Request::delete("kotoba.dev", "kotobaclusters", cluster.clone()).by(user);
        assert_eq!(request.refusals(), Vec::<String>::new());
    }
}
