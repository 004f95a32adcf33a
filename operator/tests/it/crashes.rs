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
    /// Name and size.
    claims: Vec<String>,
    images: Vec<String>,
    /// CPU that each pod shall have.
    cpu: Vec<Value>,
    drained_at_once: usize,
}

fn end(world: &World, story: Story, status: KotobaClusterStatus) -> End {
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
        member.since = None;
        // How far its drain came before it was taken back depends on how long the operator was dead.
        if story.takes_back(member) {
            member.replicas = 0;
        }
    }
    let claims = world.api.store().all("persistentvolumeclaims");
    let claims = claims
        .iter()
        .map(|claim| {
            format!(
                "{} {}",
                claim["metadata"]["name"], claim["spec"]["resources"]["requests"]["storage"]
            )
        })
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
        images: world.images(),
        cpu: world.cpu(),
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
    /// All its pods get another image.
    Roll,
    /// One of its disks is lost, and a person says so.
    Replace,
    /// Its pods get more CPU where they run.
    Resize,
    /// Its disks grow, and then a fourth member comes.
    Grow,
    /// It is stopped and started.
    Suspend,
}

impl Story {
    fn spec(self) -> Value {
        match self {
            Story::Out | Story::Roll | Story::Replace | Story::Resize | Story::Grow | Story::Suspend => {
                json!({ "replicas": 3 })
            }
            Story::OutAndIn => json!({ "replicas": 3, "storage": { "reclaim": { "onScaleIn": "Delete" } } }),
            Story::InTakenBack => json!({ "replicas": 4, "replicationFactor": 3 }),
        }
    }

    fn takes_back(self, member: &MemberSummary) -> bool {
        match self {
            Story::InTakenBack => member.slot == "g-3",
            Story::Out
            | Story::OutAndIn
            | Story::Roll
            | Story::Replace
            | Story::Resize
            | Story::Grow
            | Story::Suspend => false,
        }
    }

    async fn go_on(self, world: &mut World) -> KotobaClusterStatus {
        match self {
            Story::Out => {
                world.scale(4);
                live_until_ready(world).await
            }
            Story::Roll => {
                world.edit_spec(|spec| spec["image"] = json!("kotoba:2"));
                live_until_ready(world).await
            }
            Story::Resize => {
                world.api.kubernetes.lock().unwrap().resizes_pods = true;
                world.edit_spec(|spec| spec["resources"] = json!({ "requests": { "cpu": 2, "memory": "256Mi" } }));
                let status = live_until_ready(world).await;
                assert_eq!(world.api.deleted(), Vec::<String>::new(), "a pod was stopped");
                status
            }
            Story::Replace => {
                world.delete_claim("g-1");
                world.delete_pod("g-1");
                world.annotate("kotoba.dev/replace-member", "2");
                live_until(world, |world| {
                    world.database.state().current().count() == 3 && world.database.state().members.len() == 4
                })
                .await;
                live_until_ready(world).await
            }
            Story::Grow => {
                world.edit_spec(|spec| spec["storage"] = json!({ "size": "20Gi" }));
                live_until_ready(world).await;
                world.scale(4);
                live_until_ready(world).await
            }
            Story::Suspend => {
                world.edit_spec(|spec| spec["suspend"] = json!(true));
                live_until(world, |world| world.status().replicas == 0).await;
                world.edit_spec(|spec| spec["suspend"] = json!(false));
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

/// Lives through a story, which ends the same wherever the operator dies.
async fn life(story: Story, death: Option<(usize, When)>) -> (End, usize) {
    let mut world = World::new(story.spec());
    if let Some((write, when)) = death {
        world.api.tripwire.arm(write, when);
    }
    live_until_ready(&mut world).await;
    let status = story.go_on(&mut world).await;
    (end(&world, story, status), world.api.tripwire.writes())
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

/// Each life in a runtime of its own, with which its servers end: some thousand of them would be too many.
fn end_of(story: Story, death: Option<(usize, When)>) -> (End, usize) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(life(story, death))
}

fn dying_at_every_write_changes_nothing(story: Story) {
    let (undisturbed, writes) = end_of(story, None);
    assert!(writes > 15, "only {writes} writes");
    for (write, when) in (0..writes).flat_map(|write| [(write, When::Before), (write, When::After)]) {
        let (end, _) = end_of(story, Some((write, when)));
        assert_eq!(end, undisturbed, "{story:?}: died {when:?} write {write}");
    }
}

#[test]
fn an_operator_that_dies_at_any_write_of_a_scale_out_is_replaced_without_a_trace() {
    dying_at_every_write_changes_nothing(Story::Out);
}

#[test]
fn an_operator_that_dies_at_any_write_of_a_scale_in_is_replaced_without_a_trace() {
    dying_at_every_write_changes_nothing(Story::OutAndIn);
}

#[test]
fn an_operator_that_dies_at_any_write_of_a_scale_in_that_is_taken_back_is_replaced_without_a_trace() {
    dying_at_every_write_changes_nothing(Story::InTakenBack);
}

#[test]
fn an_operator_that_dies_at_any_write_of_a_roll_is_replaced_without_a_trace() {
    dying_at_every_write_changes_nothing(Story::Roll);
}

#[test]
fn an_operator_that_dies_at_any_write_while_pods_get_other_resources_is_replaced_without_a_trace() {
    dying_at_every_write_changes_nothing(Story::Resize);
}

#[test]
fn an_operator_that_dies_at_any_write_of_a_replacement_is_replaced_without_a_trace() {
    dying_at_every_write_changes_nothing(Story::Replace);
}

#[test]
fn an_operator_that_dies_at_any_write_while_volumes_grow_is_replaced_without_a_trace() {
    dying_at_every_write_changes_nothing(Story::Grow);
}

#[test]
fn an_operator_that_dies_at_any_write_of_a_pause_in_its_life_is_replaced_without_a_trace() {
    dying_at_every_write_changes_nothing(Story::Suspend);
}
