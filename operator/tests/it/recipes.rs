//! Pods of another recipe: given other resources where they run, or made anew; and those that only the operator would build
//! otherwise.

use kotoba_operator::crd::{ConditionType, KotobaClusterStatus};
use serde_json::json;

use crate::convergence::running;
use crate::world::{World, is};

fn with_two_cpus(world: &World) {
    world.edit_spec(|spec| spec["resources"] = json!({ "requests": { "cpu": 2, "memory": "256Mi" } }));
}

#[tokio::test]
async fn other_resources_are_given_to_running_pods_one_at_a_time_where_kubernetes_can() {
    let mut world = running(3).await;
    world.api.kubernetes.lock().unwrap().resizes_pods = true;
    with_two_cpus(&world);
    let mut given = 0;
    while !is(&world.status(), ConditionType::MembersUpToDate) || given == 0 {
        world.pass().await.unwrap();
        let now = world.cpu().iter().filter(|cpu| **cpu == "2").count();
        assert!(now <= given + 1, "two pods at once");
        given = now;
        world.tick().await;
    }
    world.run_until_ready().await;
    assert_eq!(world.cpu(), ["2", "2", "2"]);
    assert_eq!(world.api.deleted(), Vec::<String>::new());
    // And back: the pods say that they were made so, yet they were changed since.
    world.edit_spec(|spec| spec["resources"] = json!({}));
    world.pass().await.unwrap();
    world.tick().await;
    world.run_until_ready().await;
    assert_eq!(world.cpu(), ["100m", "100m", "100m"]);
    assert_eq!(world.api.deleted(), Vec::<String>::new());
}

#[tokio::test]
async fn other_resources_come_with_a_roll_where_kubernetes_cannot_change_a_running_pod() {
    let mut world = running(3).await;
    with_two_cpus(&world);
    world.run_until_ready().await;
    assert_eq!(world.cpu(), ["2", "2", "2"]);
    assert_eq!(world.api.deleted(), ["pods g-2", "pods g-1", "pods g-0"]);
}

#[tokio::test]
async fn a_pod_that_kubernetes_refuses_to_change_is_made_anew_and_says_why() {
    let mut world = running(3).await;
    {
        let mut kubernetes = world.api.kubernetes.lock().unwrap();
        (kubernetes.resizes_pods, kubernetes.refuses_resizes) = (true, true);
    }
    with_two_cpus(&world);
    let told = |status: &KotobaClusterStatus| status.members.iter().any(|member| member.resize_refused.is_some());
    let status = world.run_until(told).await;
    assert!(
        status.members[2]
            .resize_refused
            .as_ref()
            .unwrap()
            .contains("cannot be resized")
    );
    let status = world.run_until_ready().await;
    assert_eq!(world.cpu(), ["2", "2", "2"]);
    assert_eq!(world.api.deleted(), ["pods g-2", "pods g-1", "pods g-0"]);
    assert!(!told(&status), "a new pod was refused nothing");
}

fn tell_of_resize(world: &World, pod: &str, conditions: &serde_json::Value) {
    world
        .api
        .store()
        .edit("pods", pod, |pod| pod["resizeConditions"] = conditions.clone());
}

#[tokio::test]
async fn a_change_that_kubernetes_puts_off_is_said_so_and_one_that_it_cannot_do_ends_in_a_new_pod() {
    let mut world = running(3).await;
    world.api.kubernetes.lock().unwrap().resizes_pods = true;
    let pending = |reason: &str| json!([{ "type": "PodResizePending", "status": "True", "reason": reason, "message": "no room" }]);
    tell_of_resize(&world, "g-2", &pending("Deferred"));
    with_two_cpus(&world);
    let waits = |status: &KotobaClusterStatus| {
        let blocked = status
            .operation
            .as_ref()
            .and_then(|operation| operation.blocked_by.clone());
        blocked
            .is_some_and(|blocked| blocked.predicate == "ResizePending" && blocked.message.contains("Deferred no room"))
    };
    world.run_until(waits).await;
    for _ in 0..5 {
        world.pass().await.unwrap();
        world.tick().await;
    }
    assert_eq!(world.cpu(), ["100m", "100m", "2"], "the others wait");
    tell_of_resize(&world, "g-2", &pending("Infeasible"));
    world.run_until_ready().await;
    assert_eq!(world.cpu(), ["2", "2", "2"]);
    assert_eq!(world.api.deleted(), ["pods g-2"]);
}

/// Another version of the operator builds other pods, and only a spec makes pods anew.
#[tokio::test]
async fn a_template_that_was_written_otherwise_by_another_operator_stops_no_pod() {
    let mut world = running(3).await;
    world.api.store().edit("statefulsets", "g", |set| {
        set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(7);
        set["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["periodSeconds"] = json!(99);
    });
    world.tick().await;
    for _ in 0..3 {
        world.pass().await.unwrap();
        world.tick().await;
    }
    let status = world.run_until_ready().await;
    assert!(is(&status, ConditionType::MembersUpToDate), "{status:#?}");
    assert_eq!(world.api.deleted(), Vec::<String>::new());
    let grace = world.api.store().get("statefulsets", "g").unwrap()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].clone();
    assert_eq!(grace, 60, "the operator's own template is not there");
}

#[tokio::test]
async fn a_setting_that_is_edited_reaches_every_pod_by_a_roll() {
    let mut world = running(3).await;
    world.edit_spec(|spec| spec["config"] = json!({ "stateCacheMib": 1024 }));
    world.run_until_ready().await;
    assert_eq!(world.api.deleted(), ["pods g-2", "pods g-1", "pods g-0"]);
    let pods = world.api.store().all("pods");
    for pod in pods {
        let variables = pod["spec"]["containers"][0]["env"].as_array().unwrap().clone();
        let set = json!({ "name": "KOTOBA_STATE_CACHE_MIB", "value": "1024" });
        assert!(variables.contains(&set), "{variables:?}");
    }
}
