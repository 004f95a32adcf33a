//! Whole lives of clusters, continued: pods made anew, disks lost and enlarged, clusters stopped, left alone and deleted.

use kotoba_operator::crd::{ConditionType, KotobaClusterStatus};
use serde_json::json;

use crate::convergence::{claims, members, replicas, running};
use crate::database::Standing;
use crate::world::{World, is, reason};

fn edit_image(world: &World, image: &str) {
    world.edit_spec(|spec| spec["image"] = json!(image));
}

#[tokio::test]
async fn a_new_image_reaches_every_pod_one_at_a_time_and_the_leader_last() {
    let mut world = running(3).await;
    edit_image(&world, "kotoba:2");
    world
        .run_until(|status| reason(status, ConditionType::MembersUpToDate) == "Outdated")
        .await;
    while !is(&world.status(), ConditionType::Ready) {
        world.pass().await.unwrap();
        assert!(world.status().ready_replicas >= 2, "{:#?}", world.status());
        world.tick().await;
    }
    assert_eq!(world.images(), ["kotoba:2"; 3]);
    assert_eq!(world.api.deleted(), ["pods g-2", "pods g-1", "pods g-0"]);
    assert_eq!(members(&world), [1, 2, 3]);
    let told = world.events();
    assert!(
        told.contains(&"RollStarted".to_owned()) && told.contains(&"RollFinished".to_owned()),
        "{told:?}"
    );
}

fn waits_for_an_image(status: &KotobaClusterStatus) -> bool {
    let operation = status.operation.as_ref();
    let blocked = operation.and_then(|operation| operation.blocked_by.as_ref());
    blocked.is_some_and(|blocked| blocked.predicate == "PodNotReady" && blocked.message.contains("ImagePullBackOff"))
}

#[tokio::test]
async fn an_image_that_does_not_start_stops_at_one_pod_and_is_cured_by_editing_back() {
    let mut world = running(3).await;
    edit_image(&world, crate::world::BAD_IMAGE);
    world.run_until(waits_for_an_image).await;
    for _ in 0..5 {
        world.pass().await.unwrap();
        world.tick().await;
    }
    assert_eq!(world.api.deleted(), ["pods g-2"]);
    edit_image(&world, "kotoba:1");
    world.run_until_ready().await;
    assert_eq!(world.api.deleted(), ["pods g-2", "pods g-2"]);
    assert_eq!(world.images(), ["kotoba:1"; 3]);
}

#[tokio::test]
async fn a_paused_update_stops_no_pod() {
    let mut world = running(3).await;
    world.edit_spec(|spec| {
        spec["image"] = json!("kotoba:2");
        spec["update"] = json!({ "paused": true });
    });
    let status = world
        .run_until(|status| reason(status, ConditionType::MembersUpToDate) == "WaitingForUser")
        .await;
    assert_eq!(status.ready_replicas, 3);
    assert_eq!(world.api.deleted(), Vec::<String>::new());
}

#[tokio::test]
async fn a_change_of_image_and_of_the_number_of_members_at_once_comes_to_both() {
    let mut world = running(5).await;
    world.edit_spec(|spec| {
        spec["image"] = json!("kotoba:2");
        spec["replicas"] = json!(3);
    });
    world.run_until_ready().await;
    assert_eq!(
        (world.images(), members(&world)),
        (vec!["kotoba:2".to_owned(); 3], vec![1, 2, 3])
    );
}

#[tokio::test]
async fn an_operator_that_comes_with_another_default_image_touches_no_pod() {
    let mut world = running(3).await;
    world.pass().await.unwrap();
    let writes = world.api.tripwire.writes();
    world.upgrade_operator("kotoba:9");
    for _ in 0..3 {
        world.pass().await.unwrap();
        world.tick().await;
    }
    assert_eq!(world.api.tripwire.writes(), writes);
    assert_eq!(world.images(), ["kotoba:1"; 3]);
}

#[tokio::test]
async fn an_image_that_does_not_start_is_cured_by_naming_none_again() {
    let mut world = running(3).await;
    edit_image(&world, crate::world::BAD_IMAGE);
    world.run_until(waits_for_an_image).await;
    world.upgrade_operator("kotoba:9");
    world.edit_spec(|spec| {
        spec.as_object_mut().unwrap().remove("image");
    });
    world.run_until_ready().await;
    assert_eq!(world.images(), ["kotoba:1"; 3]);
    assert_eq!(world.api.deleted(), ["pods g-2", "pods g-2"]);
}

async fn without_volume_of_g_1() -> World {
    let mut world = running(3).await;
    world.delete_claim("g-1");
    world.delete_pod("g-1");
    world
        .run_until(|status| reason(status, ConditionType::VolumesHealthy) == "LostVolume")
        .await;
    world
}

#[tokio::test]
async fn a_lost_volume_is_replaced_when_a_person_says_so() {
    let mut world = without_volume_of_g_1().await;
    world.annotate("kotoba.dev/replace-member", "2");
    let status = world.run_until_ready().await;
    assert_eq!(members(&world), [1, 3, 4]);
    assert_eq!(status.members[1].member_id, Some(4));
    assert!(status.leaving.is_empty());
    let told = world.events();
    assert!(
        told.contains(&"ReplacementStarted".to_owned()) && told.contains(&"Replaced".to_owned()),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_lost_volume_is_replaced_by_policy_when_it_has_been_lost_for_long_enough() {
    let mut world = without_volume_of_g_1().await;
    world.edit_spec(|spec| spec["replacement"] = json!({ "mode": "Automatic", "afterSeconds": 60 }));
    for _ in 0..3 {
        world.pass().await.unwrap();
        world.tick().await;
    }
    assert_eq!(members(&world), [1, 2, 3]);
    world.api.store().edit("kotobaclusters", "g", |cluster| {
        cluster["status"]["members"][1]["since"] = json!("2020-01-01T00:00:00Z");
    });
    world.run_until_ready().await;
    assert_eq!(members(&world), [1, 3, 4]);
}

#[tokio::test]
async fn a_drain_by_hand_says_that_a_lost_volume_does_not_come_back() {
    let mut world = World::new(json!({ "replicas": 4, "replicationFactor": 3 }));
    world.run_until_ready().await;
    world.delete_claim("g-1");
    world.delete_pod("g-1");
    world
        .run_until(|status| reason(status, ConditionType::VolumesHealthy) == "LostVolume")
        .await;
    world.database.state().members.get_mut(&2).unwrap().standing = Standing::Draining {
        before_joined: false,
        then_remove: true,
    };
    world.run_until_ready().await;
    assert_eq!(members(&world), [1, 3, 4, 5]);
}

#[tokio::test]
async fn a_stateful_set_that_ends_during_a_pass_is_not_made_anew_as_it_was() {
    let mut world = running(3).await;
    world.edit_spec(|spec| spec["storage"] = json!({ "size": "20Gi" }));
    world.api.store().ends_before_write = Some("statefulsets");
    world.pass().await.unwrap_err();
    assert_eq!(world.api.store().get("statefulsets", "g"), None);
    world.run_until_ready().await;
    let set = world.api.store().get("statefulsets", "g").unwrap().clone();
    let asked = &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
    assert_eq!(asked, "20Gi");
    assert_eq!(world.api.deleted(), Vec::<String>::new());
}

#[tokio::test]
async fn volumes_grow_and_new_ones_are_made_with_the_new_size() {
    let mut world = running(3).await;
    let pods: Vec<_> = world
        .status()
        .members
        .iter()
        .map(|member| member.pod_uid.clone())
        .collect();
    world.edit_spec(|spec| spec["storage"] = json!({ "size": "20Gi" }));
    let status = world.run_until_ready().await;
    let size = |name: &str| {
        let claim = world.api.store().get("persistentvolumeclaims", name).unwrap().clone();
        claim["spec"]["resources"]["requests"]["storage"].clone()
    };
    assert!(
        ["data-g-0", "data-g-1", "data-g-2"]
            .map(size)
            .iter()
            .all(|size| size == "20Gi")
    );
    assert_eq!(world.api.deleted(), ["statefulsets g"]);
    let after: Vec<_> = status.members.iter().map(|member| member.pod_uid.clone()).collect();
    assert_eq!(after, pods, "a pod was stopped");
    world.scale(4);
    world.run_until_ready().await;
    let claim = world
        .api
        .store()
        .get("persistentvolumeclaims", "data-g-3")
        .unwrap()
        .clone();
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "20Gi");
}

#[tokio::test]
async fn a_suspended_cluster_keeps_its_disks_and_comes_back_as_it_was() {
    let mut world = running(3).await;
    world.edit_spec(|spec| spec["suspend"] = json!(true));
    let stopped =
        |status: &KotobaClusterStatus| status.replicas == 0 && reason(status, ConditionType::Available) == "Suspended";
    world.run_until(stopped).await;
    assert_eq!((replicas(&world), claims(&world).len()), (0, 3));
    // A number that is edited meanwhile takes nothing away: nobody could be asked.
    world.edit_spec(|spec| {
        spec["replicas"] = json!(4);
        spec["suspend"] = json!(false);
    });
    world.run_until_ready().await;
    assert_eq!(members(&world), [1, 2, 3, 4]);
    assert!(world.events().contains(&"Suspended".to_owned()));
}

#[tokio::test]
async fn a_paused_cluster_is_looked_at_and_left_alone() {
    let mut world = running(3).await;
    world.annotate("kotoba.dev/paused", "true");
    world.scale(5);
    let status = world
        .run_until(|status| reason(status, ConditionType::Ready) == "Paused")
        .await;
    assert_eq!(reason(&status, ConditionType::Available), "QuorumHealthy");
    assert_eq!(replicas(&world), 3);
    world.annotate("kotoba.dev/paused", "false");
    assert_eq!(world.run_until_ready().await.members.len(), 5);
}

/// Kubernetes takes the objects away by their owner, the disks by the policy; nothing waits for the operator.
#[tokio::test]
async fn a_cluster_that_is_being_deleted_is_left_to_kubernetes() {
    let world = running(3).await;
    world.api.store().edit("kotobaclusters", "g", |cluster| {
        assert!(cluster["metadata"]["finalizers"].is_null());
        cluster["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    let writes = world.api.tripwire.writes();
    world.delete_pod("g-1");
    world.pass().await.unwrap();
    assert_eq!(world.api.tripwire.writes(), writes);
}

#[tokio::test]
async fn a_node_that_is_gone_is_said_so_with_what_a_person_can_do() {
    let mut world = running(3).await;
    world.api.store().delete("nodes", "node-1");
    world.database.state().disks.remove("g-1");
    let status = world
        .run_until(|status| reason(status, ConditionType::Degraded) == "NodeLost")
        .await;
    let degraded = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Degraded")
        .unwrap();
    assert!(
        degraded.message.contains("node-1") && degraded.message.contains("out-of-service"),
        "{degraded:?}"
    );
    assert_eq!(world.api.deleted(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_done_in_a_namespace_that_is_being_deleted() {
    let world = running(3).await;
    world.api.kubernetes.lock().unwrap().is_ending = true;
    for (plural, name) in [("services", "g"), ("poddisruptionbudgets", "g")] {
        world.api.store().delete(plural, name);
    }
    world.pass().await.unwrap();
    let writes = world.api.tripwire.writes();
    world.delete_pod("g-1");
    for _ in 0..3 {
        world.pass().await.unwrap();
    }
    assert_eq!(world.api.tripwire.writes(), writes);
    assert!(world.api.store().get("services", "g").is_none());
}

#[tokio::test]
async fn an_event_that_cannot_be_told_in_such_a_namespace_ends_the_work_there() {
    let world = running(3).await;
    world.api.kubernetes.lock().unwrap().is_ending = true;
    world.delete_pod("g-1");
    world.pass().await.unwrap();
    let writes = world.api.tripwire.writes();
    world
        .api
        .store()
        .edit("pods", "g-2", |pod| pod["status"]["conditions"] = json!([]));
    world.pass().await.unwrap();
    assert_eq!(world.api.tripwire.writes(), writes);
}

#[tokio::test]
async fn a_node_that_does_not_report_is_told_from_one_that_a_person_has_marked_out_of_service() {
    let mut world = running(3).await;
    let taint = |key: &str| json!({ "spec": { "taints": [{ "key": key, "effect": "NoExecute" }] } });
    let degraded = |status: &KotobaClusterStatus| {
        let mut conditions = status.conditions.iter();
        conditions
            .find(|condition| condition.type_ == "Degraded")
            .unwrap()
            .message
            .clone()
    };
    for (key, says) in [
        ("node.kubernetes.io/unreachable", "does not report"),
        ("node.kubernetes.io/out-of-service", "marked out of service"),
    ] {
        world
            .api
            .store()
            .edit("nodes", "node-1", |node| node["spec"] = taint(key)["spec"].clone());
        let status = world.run_until(|status| degraded(status).contains(says)).await;
        assert_eq!(reason(&status, ConditionType::Degraded), "NodeLost");
    }
    assert_eq!(world.api.deleted(), Vec::<String>::new());
}

#[tokio::test]
async fn an_operation_that_does_not_move_for_ten_minutes_is_said_to_be_stalled() {
    let mut world = running(4).await;
    world.database.state().stuck = true;
    world.scale(3);
    world
        .run_until(|status| {
            status
                .operation
                .as_ref()
                .is_some_and(|operation| operation.phase == "DrainMember")
        })
        .await;
    world.pass().await.unwrap();
    assert_eq!(reason(&world.status(), ConditionType::Progressing), "ScalingIn");
    world.api.store().edit("kotobaclusters", "g", |cluster| {
        cluster["status"]["operation"]["progressedAt"] = json!("2020-01-01T00:00:00Z");
    });
    let status = world
        .run_until(|status| reason(status, ConditionType::Progressing) == "Stalled")
        .await;
    assert_eq!(status.operation.unwrap().progress.unwrap().done, 0);
    assert!(world.events().contains(&"Stalled".to_owned()));
    world.database.state().stuck = false;
    world.run_until_ready().await;
}
