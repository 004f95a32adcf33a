//! Every object of a cluster, as YAML in `snapshots/`. A change there is a change for every cluster that runs.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kotoba_operator::build::{Objects, build};
use kotoba_operator::crd::{ReclaimPolicy, WhenUnsatisfiable};
use kotoba_operator::plan::plan;
use serde::Serialize;

use crate::scene;

const RUNNING: &str = "\
spec replicas=3 size=20Gi
latched
statefulset replicas=3 size=10Gi
slot 0 member=1
slot 1 member=2
slot 2 member=3
database by=0 leader=1
member 1
member 2
member 3
";

fn objects(text: &str) -> Objects {
    let mut scene = scene::read(text);
    let asked = [("cpu", "100m"), ("memory", "256Mi")];
    scene.cluster.compute.requests = asked.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    scene.cluster.compute.limits = [("memory".to_owned(), "1Gi".to_owned())].into();
    scene.cluster.storage_class = Some("fast".into());
    scene.cluster.topology.when_unsatisfiable = WhenUnsatisfiable::DoNotSchedule;
    let plan = plan(&scene.cluster, &scene.observed);
    build(&scene.cluster, &scene.observed, &plan, Some("kotoba-system"))
}

fn check(name: &str, object: &impl Serialize) {
    insta::assert_snapshot!(name, serde_yaml_ng::to_string(object).unwrap());
}

#[test]
fn the_objects_of_a_new_cluster() {
    let objects = objects("spec replicas=3");
    check("service_account", &objects.service_account);
    check("config_map", &objects.config_map);
    check("peer_service", &objects.peer_service);
    check("client_service", &objects.client_service);
    check("network_policy", &objects.network_policy);
    check("disruption_budget", &objects.disruption_budget);
    check("stateful_set", &objects.stateful_set);
}

/// Kubernetes refuses the whole StatefulSet if its claim template changes, so a larger size must not reach it.
#[test]
fn the_claim_template_stays_as_it_was_made() {
    let spec = objects(RUNNING).stateful_set.spec.unwrap();
    let claim = spec.volume_claim_templates.unwrap().remove(0);
    let size = claim.spec.unwrap().resources.unwrap().requests.unwrap()["storage"].clone();
    assert_eq!(size.0, "10Gi");
}

#[test]
fn the_disruption_budget_of_a_single_member_lets_it_be_evicted() {
    let budget = objects("spec replicas=1").disruption_budget.spec.unwrap();
    assert_eq!(budget.min_available, Some(IntOrString::Int(0)));
}

/// No finalizer waits for an operator: Kubernetes itself keeps or deletes the volumes with the cluster.
#[test]
fn the_volumes_of_a_deleted_cluster_are_kept_unless_the_policy_says_otherwise() {
    let mut scene = scene::read(RUNNING);
    for (policy, expected) in [(ReclaimPolicy::Retain, "Retain"), (ReclaimPolicy::Delete, "Delete")] {
        scene.cluster.reclaim.on_cluster_delete = policy;
        let plan = plan(&scene.cluster, &scene.observed);
        let set = build(&scene.cluster, &scene.observed, &plan, None).stateful_set;
        let retention = set.spec.unwrap().persistent_volume_claim_retention_policy.unwrap();
        assert_eq!(retention.when_deleted.as_deref(), Some(expected));
        assert_eq!(retention.when_scaled.as_deref(), Some("Retain"));
        assert_eq!(set.metadata.finalizers, None);
    }
}

#[test]
fn everything_belongs_to_the_resource_and_so_goes_with_it() {
    let objects = objects(RUNNING);
    let owners = [
        objects.service_account.metadata,
        objects.config_map.metadata,
        objects.peer_service.metadata,
        objects.client_service.metadata,
        objects.network_policy.metadata,
        objects.disruption_budget.metadata,
        objects.stateful_set.metadata,
    ];
    for metadata in owners {
        assert_eq!(
            metadata.owner_references.unwrap()[0].uid,
            scene::UID,
            "{:?}",
            metadata.name
        );
    }
}

/// Only another template makes pods anew, so nothing else of it may follow from the annotation.
#[test]
fn a_restart_that_is_asked_for_changes_the_pod_template_and_nothing_else() {
    let template = |restart: Option<&str>| {
        let mut scene = scene::read(RUNNING);
        scene.cluster.restart = restart.map(str::to_owned);
        let plan = plan(&scene.cluster, &scene.observed);
        let objects = build(&scene.cluster, &scene.observed, &plan, None);
        serde_json::to_value(objects.stateful_set.spec.unwrap()).unwrap()
    };
    let (mut before, mut after) = (template(None), template(Some("2026-01-02T03:04:05Z")));
    let annotations = |spec: &mut serde_json::Value| spec["template"]["metadata"]["annotations"].take();
    let (of_before, of_after) = (annotations(&mut before), annotations(&mut after));
    assert_eq!(of_after["kotoba.dev/restart"], "2026-01-02T03:04:05Z");
    assert!(of_before["kotoba.dev/restart"].is_null());
    assert_ne!(of_before["kotoba.dev/recipe"], of_after["kotoba.dev/recipe"]);
    assert_eq!(after, before);
}

/// What of a spec is built into a pod and not into its recipe would never reach a pod that runs.
#[test]
fn whatever_of_a_spec_changes_the_pod_changes_its_recipe() {
    let template = |change: fn(&mut kotoba_operator::validate::ValidatedCluster)| {
        let mut scene = scene::read("spec replicas=3");
        change(&mut scene.cluster);
        let plan = plan(&scene.cluster, &scene.observed);
        let set = build(&scene.cluster, &scene.observed, &plan, None).stateful_set;
        let mut template = serde_json::to_value(set.spec.unwrap().template).unwrap();
        let recipe = template["metadata"]["annotations"].take()["kotoba.dev/recipe"].clone();
        (template, recipe)
    };
    let (pod, recipe) = template(|_| {});
    let changes: [fn(&mut kotoba_operator::validate::ValidatedCluster); 8] = [
        |cluster| cluster.image = "kotoba:2".into(),
        |cluster| cluster.image_pull_policy = kotoba_operator::crd::PullPolicy::Always,
        |cluster| cluster.compute.requests = [("cpu".to_owned(), "2".to_owned())].into(),
        |cluster| cluster.compute.limits = [("memory".to_owned(), "2Gi".to_owned())].into(),
        |cluster| cluster.topology.zone_key = "rack".into(),
        |cluster| cluster.topology.when_unsatisfiable = WhenUnsatisfiable::DoNotSchedule,
        |cluster| cluster.config.state_cache_mib = Some(1024),
        |cluster| cluster.config.log_filter = Some("debug".into()),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (changed_pod, changed_recipe) = template(change);
        assert_ne!(changed_pod, pod, "change {number} is in no pod");
        assert_ne!(changed_recipe, recipe, "change {number} is in no recipe");
    }
    for change in [
        (|cluster| cluster.replicas = 5) as fn(&mut kotoba_operator::validate::ValidatedCluster),
        |cluster| cluster.update.min_ready_seconds = 99,
        |cluster| cluster.suspend = true,
    ] {
        assert_eq!(template(change), (pod.clone(), recipe.clone()));
    }
}

/// docs/settings.md is written from the code of the database.
#[test]
fn every_setting_of_the_spec_is_one_that_the_database_knows() {
    let table = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let table = std::fs::read_to_string(table).unwrap();
    let config = kotoba_operator::crd::Config {
        log_filter: Some("info".into()),
        log_format: Some(kotoba_operator::crd::LogFormat::Json),
        ..kotoba_operator::crd::Config::default()
    };
    let numbers = config.numbers().map(|number| number.variable);
    let texts = config.variables().into_iter().map(|(variable, _)| variable);
    for variable in numbers.into_iter().chain(texts) {
        assert!(
            table.contains(&format!("| `{variable}` |")),
            "{variable} is not in docs/settings.md"
        );
    }
}
