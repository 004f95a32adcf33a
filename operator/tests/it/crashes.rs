//! The operator is killed before and after every write that has an effect, once each; a new one must come to the same end.

use kotoba_operator::crd::{KotobaClusterStatus, MemberSummary};
use serde_json::{Value, json};

use crate::tripwire::When;
use crate::world::{MAX_PASSES, World};

/// What must be the same however often the operator died.
#[derive(Debug, PartialEq)]
struct End {
    members: Vec<MemberSummary>,
    conditions: Vec<(String, String, String)>,
    stateful_set: Value,
    budget: Value,
    foundings: usize,
    moves_finished: u64,
}

fn end(world: &World, status: KotobaClusterStatus) -> End {
    let spec = |plural: &str| world.api.store().get(plural, "g").unwrap()["spec"].clone();
    let answer = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        (
            condition.type_.clone(),
            condition.status.clone(),
            condition.reason.clone(),
        )
    };
    let mut members = status.members;
    members.iter_mut().for_each(|member| member.pod_uid = None);
    let database = world.database.state();
    End {
        members,
        conditions: status.conditions.iter().map(answer).collect(),
        stateful_set: spec("statefulsets"),
        budget: spec("poddisruptionbudgets"),
        foundings: database.foundings,
        moves_finished: database.moves_finished,
    }
}

/// A cluster is made with three members and grows to four. The operator dies at one write, where one is named.
async fn life(death: Option<(usize, When)>) -> (End, usize) {
    let mut world = World::new(json!({ "replicas": 3 }));
    if let Some((write, when)) = death {
        world.api.tripwire.arm(write, when);
    }
    live_until_ready(&mut world).await;
    world.scale(4);
    let status = live_until_ready(&mut world).await;
    (end(&world, status), world.api.tripwire.writes())
}

/// Passes until the cluster is ready, with a new operator where the old one died.
async fn live_until_ready(world: &mut World) -> KotobaClusterStatus {
    for _ in 0..MAX_PASSES {
        let passed = world.pass().await;
        if world.api.tripwire.dead() {
            break;
        }
        passed.unwrap();
        let wanted = world.api.store().get("kotobaclusters", "g").unwrap()["metadata"]["generation"].as_i64();
        let status = world.status();
        if status.observed_generation == wanted && crate::world::is(&status, kotoba_operator::crd::ConditionType::Ready)
        {
            return status;
        }
        world.tick().await;
    }
    assert!(world.api.tripwire.dead(), "never came to it: {:#?}", world.status());
    world.restart_operator();
    world.run_until_ready().await
}

async fn dying_at_every_write_changes_nothing(when: When) {
    let (undisturbed, writes) = life(None).await;
    assert!(writes > 15, "only {writes} writes");
    for write in 0..writes {
        let (end, _) = life(Some((write, when))).await;
        assert_eq!(end, undisturbed, "died {when:?} write {write}");
    }
}

#[tokio::test]
async fn an_operator_that_dies_before_any_write_is_replaced_without_a_trace() {
    dying_at_every_write_changes_nothing(When::Before).await;
}

#[tokio::test]
async fn an_operator_that_dies_after_any_write_is_replaced_without_a_trace() {
    dying_at_every_write_changes_nothing(When::After).await;
}
