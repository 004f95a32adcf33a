//! Whole lives of clusters.

use kotoba_operator::apply::write_status;
use kotoba_operator::crd::{ConditionType, KotobaClusterStatus, MemberState};
use kotoba_operator::names::ClusterName;
use serde_json::json;

use crate::database::Standing;
use crate::world::{World, is, reason};

pub async fn running(replicas: u32) -> World {
    let mut world = World::new(json!({ "replicas": replicas }));
    world.run_until_ready().await;
    world
}

#[tokio::test]
async fn a_cluster_is_founded_once_and_becomes_ready() {
    let mut world = World::new(json!({ "replicas": 3 }));
    let status = world.run_until_ready().await;
    let uid = world.api.store().get("kotobaclusters", "g").unwrap()["metadata"]["uid"].clone();
    assert_eq!(json!(status.cluster_id), uid);
    assert_eq!((status.replicas, status.ready_replicas), (3, 3));
    assert_eq!(status.leader.as_deref(), Some("g-0"));
    let zones: Vec<_> = status
        .members
        .iter()
        .filter_map(|member| member.zone.as_deref())
        .collect();
    assert_eq!(zones, ["a", "b", "c"]);
    assert_eq!(world.database.state().foundings, 1);
    assert_eq!(world.events(), ["Bootstrapped", "Available"]);
}

#[tokio::test]
async fn a_cluster_at_rest_is_not_written_to() {
    let world = running(3).await;
    world.pass().await.unwrap();
    let writes = world.api.tripwire.writes();
    world.pass().await.unwrap();
    assert_eq!(world.api.tripwire.writes(), writes);
}

#[tokio::test]
async fn a_deleted_pod_comes_back_as_the_same_member() {
    let mut world = running(3).await;
    let before = world.status().members[1].clone();
    world.delete_pod("g-1");
    let status = world.run_until(|status| is(status, ConditionType::Degraded)).await;
    assert_eq!(reason(&status, ConditionType::Ready), "Degraded");
    let after = world.run_until_ready().await.members[1].clone();
    assert_ne!(after.pod_uid, before.pod_uid);
    assert_eq!((after.member_id, after.disk_id), (before.member_id, before.disk_id));
    assert_eq!(world.database.state().members.len(), 3);
}

#[tokio::test]
async fn a_cluster_grows_one_member_at_a_time_and_then_moves_partitions_to_them() {
    let mut world = running(3).await;
    world.scale(5);
    let moving = world
        .run_until(|status| reason(status, ConditionType::Balanced) == "Moving")
        .await;
    assert_eq!(reason(&moving, ConditionType::Progressing), "Rebalancing");
    assert!(moving.operation.is_some_and(|operation| operation.moves_open > 0));
    let status = world.run_until_ready().await;
    let ids: Vec<_> = status.members.iter().filter_map(|member| member.member_id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert!(is(&status, ConditionType::Balanced));
    assert_eq!(world.database.state().rebalances, 1);
    let told = world.events();
    for reason in ["MemberJoined", "RebalanceStarted", "RebalanceFinished"] {
        assert!(told.iter().any(|event| event == reason), "{reason} is not in {told:?}");
    }
}

#[tokio::test]
async fn a_growth_that_is_taken_back_in_the_middle_ends_where_it_began() {
    let mut world = running(3).await;
    world.scale(5);
    world
        .run_until(|status| status.members.iter().any(|member| member.member_id == Some(4)))
        .await;
    world.scale(3);
    let status = world.run_until_ready().await;
    assert_eq!(status.members.len(), 3);
    assert_eq!(replicas(&world), 3);
    assert_eq!(members(&world), [1, 2, 3]);
}

pub fn replicas(world: &World) -> u64 {
    world.api.store().get("statefulsets", "g").unwrap()["spec"]["replicas"]
        .as_u64()
        .unwrap()
}

pub fn members(world: &World) -> Vec<u64> {
    world.database.state().current().map(|(id, _)| *id).collect()
}

pub fn claims(world: &World) -> Vec<String> {
    let claims = world.api.store().all("persistentvolumeclaims");
    claims
        .iter()
        .map(|claim| claim["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn members_that_are_not_wanted_leave_one_by_one_and_their_volumes_stay() {
    let mut world = running(5).await;
    world.scale(3);
    let draining = world
        .run_until(|status| reason(status, ConditionType::Progressing) == "ScalingIn")
        .await;
    let operation = draining.operation.unwrap();
    assert!(
        operation.cancellable && operation.plan[0].contains("member 5"),
        "{operation:?}"
    );
    let status = world.run_until_ready().await;
    assert_eq!((status.members.len(), replicas(&world)), (3, 3));
    assert_eq!(members(&world), [1, 2, 3]);
    assert_eq!(world.database.state().drained_at_once, 1);
    assert_eq!(claims(&world).len(), 5);
    assert_eq!(world.api.deleted(), Vec::<String>::new());
    let told = world.events();
    for reason in ["MemberDraining", "MemberRemoved", "ScaledIn"] {
        assert!(told.iter().any(|event| event == reason), "{reason} is not in {told:?}");
    }
}

#[tokio::test]
async fn the_volumes_of_removed_members_are_deleted_where_the_policy_says_so() {
    let mut world = World::new(json!({ "replicas": 5, "storage": { "reclaim": { "onScaleIn": "Delete" } } }));
    world.run_until_ready().await;
    world.scale(3);
    world.run_until_ready().await;
    world.tick().await;
    assert_eq!(claims(&world), ["data-g-0", "data-g-1", "data-g-2"]);
    let deleted = ["persistentvolumeclaims data-g-4", "persistentvolumeclaims data-g-3"];
    assert_eq!(world.api.deleted(), deleted);
    world.scale(5);
    world.run_until_ready().await;
    assert_eq!(members(&world), [1, 2, 3, 6, 7]);
}

#[tokio::test]
async fn the_volumes_of_pods_that_were_stopped_before_they_answered_are_deleted_where_the_policy_says_so() {
    let mut world = World::new(json!({ "replicas": 3, "storage": { "reclaim": { "onScaleIn": "Delete" } } }));
    world.run_until_ready().await;
    world.scale(5);
    world.pass().await.unwrap();
    world.tick().await;
    assert_eq!(claims(&world).len(), 5);
    world.stop_process("g-3");
    world.stop_process("g-4");
    // Its volume was there before, so nobody knows what is on it.
    world.api.store().edit("persistentvolumeclaims", "data-g-4", |claim| {
        claim["metadata"]["annotations"] = json!({});
    });
    world.scale(3);
    world.run_until_ready().await;
    world.tick().await;
    assert_eq!(claims(&world), ["data-g-0", "data-g-1", "data-g-2", "data-g-4"]);
}

#[tokio::test]
async fn a_slot_shrinks_only_after_the_database_has_removed_its_member() {
    let mut world = running(4).await;
    world.database.state().stuck = true;
    world.scale(3);
    for _ in 0..10 {
        world.pass().await.unwrap();
        world.tick().await;
        assert_eq!(replicas(&world), 4);
    }
    let blocked = world.status().operation.unwrap().blocked_by.unwrap();
    assert_eq!(blocked.predicate, "Draining");
    assert!(blocked.message.contains("replicas are left"), "{blocked:?}");
    world.database.state().stuck = false;
    world.run_until_ready().await;
    assert_eq!(replicas(&world), 3);
}

#[tokio::test]
async fn a_scale_in_that_is_taken_back_keeps_the_member() {
    let mut world = running(4).await;
    world.scale(3);
    world
        .run_until(|status| {
            status
                .members
                .iter()
                .any(|member| member.state == MemberState::Draining)
        })
        .await;
    world.scale(4);
    let status = world.run_until_ready().await;
    assert_eq!(members(&world), [1, 2, 3, 4]);
    assert!(status.leaving.is_empty());
    assert!(world.events().contains(&"DrainCancelled".to_owned()));
}

#[tokio::test]
async fn a_drain_that_a_person_asked_for_is_not_cancelled() {
    let mut world = running(4).await;
    world.database.state().members.get_mut(&2).unwrap().standing = Standing::Draining {
        before_joined: false,
        then_remove: false,
    };
    let status = world
        .run_until(|status| reason(status, ConditionType::Ready) == "DrainedByHand")
        .await;
    assert!(status.leaving.is_empty());
    for _ in 0..3 {
        world.pass().await.unwrap();
        world.tick().await;
    }
    let standing = world.database.state().members[&2].standing;
    assert!(matches!(standing, Standing::Draining { then_remove: false, .. }));
}

#[tokio::test]
async fn a_retained_volume_of_a_removed_member_says_what_to_do_and_a_person_frees_the_slot() {
    let mut world = running(4).await;
    world.scale(3);
    world.run_until_ready().await;
    world.tick().await;
    world.scale(4);
    let status = world
        .run_until(|status| reason(status, ConditionType::Ready) == "RemovedDisk")
        .await;
    assert_eq!(status.members[3].state, MemberState::Removed);
    let ready = &status.conditions[0].message;
    assert!(ready.contains("data-g-3") && ready.contains("onScaleIn"), "{ready}");
    // What kubectl delete pvc does: it goes when its pod does, which the operator then stops.
    world.api.store().edit("persistentvolumeclaims", "data-g-3", |claim| {
        claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    world.run_until_ready().await;
    assert_eq!(members(&world), [1, 2, 3, 5]);
    assert_eq!(world.api.deleted(), ["pods g-3"]);
}

#[tokio::test]
async fn a_retained_volume_of_a_removed_member_goes_by_policy() {
    let mut world = running(4).await;
    world.scale(3);
    world.run_until_ready().await;
    world.tick().await;
    world.edit_spec(|spec| {
        spec["replicas"] = json!(4);
        spec["storage"] = json!({ "reclaim": { "onScaleIn": "Delete" } });
    });
    world.run_until_ready().await;
    assert_eq!(members(&world), [1, 2, 3, 5]);
}

#[tokio::test]
async fn a_drain_that_the_database_refuses_is_told_with_its_reason() {
    let mut world = running(4).await;
    world.database.state().refuses_drains = true;
    world.scale(3);
    let status = world
        .run_until(|status| reason(status, ConditionType::Progressing) == "StepRefused")
        .await;
    assert!(
        status.conditions[0].message.contains("a rule says no"),
        "{:?}",
        status.conditions[0]
    );
    assert_eq!(replicas(&world), 4);
    world.database.state().refuses_drains = false;
    world.run_until_ready().await;
    assert_eq!(replicas(&world), 3);
}

#[tokio::test]
async fn fewer_members_than_copies_are_refused_before_anything_is_touched() {
    let mut world = running(5).await;
    world.scale(2);
    let status = world
        .run_until(|status| reason(status, ConditionType::Progressing) == "ScaleInRefused")
        .await;
    assert_eq!(reason(&status, ConditionType::Ready), "ScaleInRefused");
    assert_eq!((world.database.state().drains, replicas(&world)), (0, 5));
}

#[tokio::test]
async fn a_lost_volume_is_reported_and_never_replaced_in_silence() {
    let mut world = running(3).await;
    world.delete_claim("g-1");
    world.delete_pod("g-1");
    let status = world
        .run_until(|status| reason(status, ConditionType::VolumesHealthy) == "LostVolume")
        .await;
    assert_eq!(status.members[1].state, MemberState::Lost);
    assert_eq!(reason(&status, ConditionType::Degraded), "LostVolume");
    for _ in 0..5 {
        world.pass().await.unwrap();
        world.tick().await;
    }
    assert_eq!(world.database.state().members.len(), 3);
    assert!(world.events().contains(&"LostVolume".to_owned()));
}

#[tokio::test]
async fn a_cluster_made_again_over_old_volumes_is_not_founded() {
    let mut world = running(3).await;
    world.api.store().delete("kotobaclusters", "g");
    for (plural, name) in [
        ("statefulsets", "g"),
        ("services", "g"),
        ("services", "g-peers"),
        ("configmaps", "g"),
    ] {
        world.api.store().delete(plural, name);
    }
    for (plural, name) in [
        ("serviceaccounts", "g"),
        ("networkpolicies", "g"),
        ("poddisruptionbudgets", "g"),
    ] {
        world.api.store().delete(plural, name);
    }
    world.put_cluster(json!({ "replicas": 3 }));
    let status = world
        .run_until(|status| reason(status, ConditionType::Initialized) == "ForeignData")
        .await;
    assert_eq!(status.cluster_id, None);
    assert_eq!(world.database.state().foundings, 1);
}

#[tokio::test]
async fn an_object_of_somebody_else_is_not_taken_over() {
    let mut world = World::new(json!({ "replicas": 3 }));
    let theirs =
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "g" }, "spec": { "theirs": true } });
    let theirs = world
        .api
        .store()
        .put(("services".into(), "graphs".into(), "g".into()), theirs);
    let status = world
        .run_until(|status| reason(status, ConditionType::Progressing) == "Blocked")
        .await;
    assert!(
        status
            .conditions
            .iter()
            .any(|condition| condition.message.contains("Service g"))
    );
    assert_eq!(world.api.store().get("services", "g"), Some(&theirs));
    assert!(world.api.store().get("statefulsets", "g").is_none());
    world.api.store().delete("services", "g");
    world.run_until_ready().await;
}

#[tokio::test]
async fn a_database_that_falls_silent_is_unknown_and_not_gone() {
    let mut world = running(3).await;
    world.database.state().mute = true;
    let status = world
        .run_until(|status| reason(status, ConditionType::Available) == "Unreachable")
        .await;
    assert_eq!(reason(&status, ConditionType::Ready), "Unreachable");
    let ids: Vec<_> = status.members.iter().filter_map(|member| member.member_id).collect();
    assert_eq!(ids, [1, 2, 3]);
    world.database.state().mute = false;
    world.run_until_ready().await;
}

#[tokio::test]
async fn a_resource_that_cannot_be_used_says_what_to_do() {
    let mut world = World::new(json!({ "replicas": 3, "storage": { "size": "much" } }));
    let status = world
        .run_until(|status| reason(status, ConditionType::Ready) == "InvalidSpec")
        .await;
    assert!(
        status.conditions[0].message.contains("20Gi"),
        "{}",
        status.conditions[0].message
    );
    assert!(world.api.store().get("statefulsets", "g").is_none());
}

#[tokio::test]
async fn a_status_is_not_written_over_an_edit_that_it_does_not_know() {
    let world = running(3).await;
    let version = world.api.store().get("kotobaclusters", "g").unwrap()["metadata"]["resourceVersion"].clone();
    world.scale(5);
    let name = ClusterName {
        namespace: "graphs".into(),
        name: "g".into(),
    };
    let written = write_status(&world.api.client(), &name, version.as_str().unwrap(), &world.status()).await;
    assert!(written.unwrap_err().is_conflict());
}

#[tokio::test]
async fn a_step_that_the_database_refuses_is_told_and_tried_again() {
    let mut world = running(3).await;
    world.database.state().refuses_joins = true;
    world.scale(4);
    let failed = |status: &KotobaClusterStatus| {
        let blocked = status
            .operation
            .as_ref()
            .and_then(|operation| operation.blocked_by.clone());
        blocked.is_some_and(|blocked| blocked.predicate == "StepFailed" && blocked.message.contains("no room"))
    };
    let status = world.run_until(failed).await;
    assert!(is(&status, ConditionType::Progressing));
    assert!(world.events().contains(&"StepFailed".to_owned()));
    world.database.state().refuses_joins = false;
    assert_eq!(world.run_until_ready().await.members.len(), 4);
}

/// FoundationDB/fdb-kubernetes-operator#1912: what a stranger at a stale address said was taken for an answer.
#[tokio::test]
async fn an_answer_from_the_wrong_pod_is_no_answer() {
    let mut world = World::new(json!({ "replicas": 3 }));
    world.pass().await.unwrap();
    world.tick().await;
    world.misdirect("g-1", "g-0");
    for _ in 0..5 {
        world.pass().await.unwrap();
        world.tick().await;
    }
    assert_eq!(world.database.state().foundings, 0);
    assert!(
        world.status().conditions[2].message.contains("its address answers as"),
        "{:?}",
        world.status()
    );
}

/// Without the record that outlives the failed call, the founded disks would look like somebody else's.
#[tokio::test]
async fn a_founding_whose_answer_was_lost_is_recognized() {
    let mut world = World::new(json!({ "replicas": 3 }));
    world.database.state().loses_answers = true;
    world
        .run_until(|status| reason(status, ConditionType::Initialized) == "BootstrapFailed")
        .await;
    world.database.state().loses_answers = false;
    world.run_until_ready().await;
    assert_eq!(world.database.state().foundings, 1);
}
