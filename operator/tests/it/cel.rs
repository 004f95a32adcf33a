//! The rules of the CRD, evaluated here as an API server evaluates them.

use kotoba_operator::crd::KotobaCluster;
use kube::CustomResourceExt;
use kube::core::cel::{ValidationErrors, Validator};
use serde_json::{Value, json};

fn schema() -> Value {
    let crd = serde_json::to_value(KotobaCluster::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn cluster(spec: Value) -> Value {
    json!({
        "apiVersion": "kotoba.dev/v1alpha1",
        "kind": "KotobaCluster",
        "metadata": { "name": "g" },
        "spec": spec,
    })
}

/// A cluster that is initialized.
fn running(spec: Value) -> Value {
    let mut object = cluster(spec);
    object["status"] = json!({ "clusterId": "uid-g" });
    object
}

fn created(object: &Value) -> Result<(), ValidationErrors> {
    Validator::new().validate(&schema(), object, None)
}

fn edited(old: &Value, new: &Value) -> Result<(), ValidationErrors> {
    Validator::new().validate(&schema(), new, Some(old))
}

fn refusal(outcome: Result<(), ValidationErrors>) -> String {
    let errors = outcome.expect_err("accepted").into_vec();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].message.clone()
}

#[test]
fn a_cluster_with_nothing_but_a_name_is_accepted() {
    created(&cluster(json!({}))).unwrap();
    created(&cluster(json!({ "replicas": 1 }))).unwrap();
}

#[test]
fn a_name_that_pods_and_services_cannot_have_is_refused() {
    for (name, rule) in [
        ("g".repeat(41), "40 characters"),
        ("9g".into(), "letter"),
        ("a.b".into(), "letter"),
    ] {
        let mut object = cluster(json!({}));
        object["metadata"]["name"] = json!(name);
        let message = refusal(created(&object));
        assert!(message.contains(rule), "{name}: {message}");
    }
}

#[test]
fn more_copies_than_members_are_refused() {
    let message = refusal(created(&cluster(json!({ "replicas": 2, "replicationFactor": 3 }))));
    assert!(
        message.contains("replicationFactor cannot be above replicas"),
        "{message}"
    );
    let old = running(json!({ "replicas": 5, "replicationFactor": 5 }));
    refusal(edited(&old, &running(json!({ "replicas": 3, "replicationFactor": 5 }))));
}

#[test]
fn a_size_that_is_no_quantity_above_zero_is_refused() {
    for size in ["ten", "0", "-1Gi"] {
        let message = refusal(created(&cluster(json!({ "storage": { "size": size } }))));
        assert!(message.contains("quantity above zero"), "{size}: {message}");
    }
}

#[test]
fn what_is_fixed_at_the_start_cannot_be_edited_added_or_removed() {
    let pairs = [
        (json!({ "replicationFactor": 3 }), json!({ "replicationFactor": 1 })),
        (json!({}), json!({ "replicationFactor": 3 })),
        (json!({ "partitions": 16 }), json!({ "partitions": 32 })),
        (json!({ "partitions": 16 }), json!({})),
        (
            json!({ "storage": {} }),
            json!({ "storage": { "storageClassName": "fast" } }),
        ),
        (
            json!({ "storage": { "storageClassName": "fast" } }),
            json!({ "storage": {} }),
        ),
    ];
    for (old, new) in pairs {
        let message = refusal(edited(&running(old), &running(new.clone())));
        assert!(message.contains("fixed when the cluster is made"), "{new}: {message}");
    }
}

#[test]
fn storage_grows_and_does_not_shrink() {
    let sized = |size: &str| running(json!({ "storage": { "size": size } }));
    edited(&sized("10Gi"), &sized("20Gi")).unwrap();
    edited(&sized("10Gi"), &sized("10240Mi")).unwrap();
    let message = refusal(edited(&sized("10Gi"), &sized("10G")));
    assert!(
        message.contains("cannot shrink") && message.contains("another cluster"),
        "{message}"
    );
}

#[test]
fn replicas_wait_for_the_cluster_to_be_initialized() {
    let (three, five) = (json!({ "replicas": 3 }), json!({ "replicas": 5 }));
    let message = refusal(edited(&cluster(three.clone()), &cluster(five.clone())));
    assert!(message.contains("before the cluster is initialized"), "{message}");
    edited(&running(three), &running(five)).unwrap();
}

/// Whatever is under way: what cannot be taken back any more is told by the operator, and refused by the database.
#[test]
fn a_change_may_be_edited_back_at_any_time() {
    let mut old = running(json!({ "replicas": 3, "storage": { "reclaim": { "onScaleIn": "Delete" } } }));
    old["status"]["leaving"] = json!([5]);
    let mut new = old.clone();
    new["spec"]["replicas"] = json!(5);
    edited(&old, &new).unwrap();
    new["spec"] = json!({
        "suspend": true, "update": { "paused": true }, "replacement": { "mode": "Automatic", "afterSeconds": 60 },
    });
    edited(&old, &new).unwrap();
}

#[test]
fn the_cluster_id_is_written_once() {
    let old = running(json!({}));
    edited(&cluster(json!({})), &old).unwrap();
    let mut other = old.clone();
    other["status"]["clusterId"] = json!("uid-other");
    let mut gone = old.clone();
    gone["status"] = json!({ "replicas": 3 });
    for new in [other, gone, cluster(json!({}))] {
        assert!(refusal(edited(&old, &new)).contains("never changes"));
    }
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    created(&cluster(
        json!({ "config": { "stateCacheMib": 1024, "logFilter": "debug" } }),
    ))
    .unwrap();
    created(&cluster(
        json!({ "config": { "failureTimeoutMs": 1500, "heartbeatIntervalMs": 500 } }),
    ))
    .unwrap();
    for config in [
        json!({ "failureTimeoutMs": 1500 }),
        json!({ "heartbeatIntervalMs": 6000 }),
    ] {
        let message = refusal(created(&cluster(json!({ "config": config }))));
        assert!(message.contains("failureTimeoutMs"), "{message}");
    }
}
