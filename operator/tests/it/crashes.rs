//! The operator is killed before and after every write that has an effect, once each; a new one must come to the same end.

use kotoba_operator::crd::{KotobaClusterStatus, MemberSummary};
use serde_json::{Value, json};

use crate::database::Standing;
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
    /// Ids of members that are not removed, and of those that are.
    current: Vec<u64>,
    removed: Vec<u64>,
    claims: Vec<String>,
    drained_at_once: usize,
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
    for member in &mut members {
        member.pod_uid = None;
        // How far a drain came before it was taken back depends on how long the operator was dead.
        member.replicas = 0;
    }
    let claims = world.api.store().all("persistentvolumeclaims");
    let claims = claims
        .iter()
        .map(|claim| claim["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let database = world.database.state();
    End {
        members,
        conditions: status.conditions.iter().map(answer).collect(),
        stateful_set: spec("statefulsets"),
        budget: spec("poddisruptionbudgets"),
        foundings: database.foundings,
        current: database.current().map(|(id, _)| *id).collect(),
        removed: database
            .members
            .iter()
            .filter(|(_, member)| member.standing == Standing::Removed)
            .map(|(id, _)| *id)
            .collect(),
        claims,
        drained_at_once: database.drained_at_once,
    }
}

/// What is done to a cluster of three, whose operator dies at one write, where one is named.
#[derive(Clone, Copy, Debug)]
enum Story {
    /// It grows to four.
    Out,
    /// It grows to five and shrinks to three, whose volumes go.
    OutAndIn,
    /// It shrinks from four, and is told to stay when the fourth is drained half.
    InTakenBack,
}

impl Story {
    fn spec(self) -> Value {
        match self {
            Story::Out => json!({ "replicas": 3 }),
            Story::OutAndIn => json!({ "replicas": 3, "storage": { "reclaim": { "onScaleIn": "Delete" } } }),
            Story::InTakenBack => json!({ "replicas": 4, "replicationFactor": 3 }),
        }
    }

    async fn go_on(self, world: &mut World) -> KotobaClusterStatus {
        match self {
            Story::Out => {
                world.scale(4);
                live_until_ready(world).await
            }
            Story::OutAndIn => {
                world.scale(5);
                live_until_ready(world).await;
                world.scale(3);
                live_until_ready(world).await
            }
            Story::InTakenBack => {
                world.scale(3);
                live_until(world, |world| world.database.state().drains > 0).await;
                world.scale(4);
                live_until_ready(world).await
            }
        }
    }
}

async fn life(story: Story, death: Option<(usize, When)>) -> (End, usize) {
    let mut world = World::new(story.spec());
    if let Some((write, when)) = death {
        world.api.tripwire.arm(write, when);
    }
    live_until_ready(&mut world).await;
    let status = story.go_on(&mut world).await;
    (end(&world, status), world.api.tripwire.writes())
}

/// Passes until the cluster is ready, with a new operator where the old one died.
async fn live_until_ready(world: &mut World) -> KotobaClusterStatus {
    live_until(world, |world| {
        let wanted = world.api.store().get("kotobaclusters", "g").unwrap()["metadata"]["generation"].as_i64();
        let status = world.status();
        status.observed_generation == wanted && crate::world::is(&status, kotoba_operator::crd::ConditionType::Ready)
    })
    .await
}

async fn live_until(world: &mut World, done: impl Fn(&World) -> bool) -> KotobaClusterStatus {
    for _ in 0..2 * MAX_PASSES {
        let passed = world.pass().await;
        if world.api.tripwire.dead() {
            world.restart_operator();
            world.tick().await;
            continue;
        }
        passed.unwrap();
        if done(world) {
            return world.status();
        }
        world.tick().await;
    }
    panic!("never came to it: {:#?}", world.status());
}

async fn dying_at_every_write_changes_nothing(story: Story, when: When) {
    let (undisturbed, writes) = life(story, None).await;
    assert!(writes > 15, "only {writes} writes");
    for write in 0..writes {
        let (end, _) = life(story, Some((write, when))).await;
        assert_eq!(end, undisturbed, "{story:?}: died {when:?} write {write}");
    }
}

#[tokio::test]
async fn an_operator_that_dies_before_any_write_is_replaced_without_a_trace() {
    for story in [Story::Out, Story::OutAndIn, Story::InTakenBack] {
        dying_at_every_write_changes_nothing(story, When::Before).await;
    }
}

#[tokio::test]
async fn an_operator_that_dies_after_any_write_is_replaced_without_a_trace() {
    for story in [Story::Out, Story::OutAndIn, Story::InTakenBack] {
        dying_at_every_write_changes_nothing(story, When::After).await;
    }
}
