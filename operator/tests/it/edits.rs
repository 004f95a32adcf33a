//! Random edits and losses, one after the other and in the middle of each other. After every pass the rules hold; and
//! when nobody edits any more, the cluster comes to what the last edit wanted.

use kotoba_operator::crd::{ConditionType, KotobaClusterStatus, Operation};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::database::Standing;
use crate::world::{MAX_PASSES, World, is};

const LIVES: usize = 24;
/// Copies of each partition, and so the fewest members.
const COPIES: u32 = 3;

#[derive(Clone, Debug)]
enum Event {
    Scale(u32),
    Image(u32),
    Size(u32),
    Suspend(bool),
    KillPod(u32),
    LoseVolume(u32),
    Cpu(u32),
    Config(u32),
    RestartOperator,
}

/// An event, and the passes until the next one.
fn event() -> impl Strategy<Value = (Event, usize)> {
    let event = prop_oneof![
        6 => (COPIES..=6_u32).prop_map(Event::Scale),
        2 => (1..=3_u32).prop_map(Event::Image),
        1 => (1..=3_u32).prop_map(Event::Size),
        1 => any::<bool>().prop_map(Event::Suspend),
        2 => (0..4_u32).prop_map(Event::KillPod),
        1 => (0..4_u32).prop_map(Event::LoseVolume),
        2 => (1..=3_u32).prop_map(Event::Cpu),
        1 => (1..=2_u32).prop_map(Event::Config),
        1 => Just(Event::RestartOperator),
    ];
    (event, 0..8_usize)
}

fn life() -> impl Strategy<Value = Vec<(Event, usize)>> {
    prop::collection::vec(event(), 1..8)
}

/// What must hold whatever is going on.
struct Watch {
    /// Disks that the test itself took away.
    lost: Vec<String>,
    highest_id: u64,
    operation: Option<Operation>,
}

impl Watch {
    fn check(&mut self, world: &World) {
        let state = world.database.state();
        for (id, member) in state.current() {
            let claims = world.api.store().all("persistentvolumeclaims");
            let kept = claims
                .iter()
                .any(|claim| claim["disk"]["id"] == member.disk_id.as_str());
            let running = state.disks.values().any(|disk| disk.id == member.disk_id);
            assert!(
                kept || running || self.lost.contains(&member.disk_id),
                "the disk of member {id} is gone"
            );
        }
        let newest = *state.members.keys().next_back().unwrap_or(&0);
        assert!(newest >= self.highest_id, "an id is used twice");
        self.highest_id = newest;
        let draining = state
            .members
            .values()
            .filter(|member| matches!(member.standing, Standing::Draining { .. }));
        // One that leaves, and one that the operator was told to keep in this very pass.
        assert!(draining.count() <= 2, "several members leave at once");
        assert_eq!(state.foundings, 1, "founded twice");
        drop(state);
        self.check_progress(world.status().operation);
    }

    /// What an operation has done is never undone, and is dated when it grows and only then.
    fn check_progress(&mut self, now: Option<Operation>) {
        let before = std::mem::replace(&mut self.operation, now.clone());
        let Some(now) = now else { return };
        let progress = now.progress.unwrap();
        assert!(0 <= progress.done && progress.done <= progress.total, "{now:?}");
        let same = |before: &Operation| before.type_ == now.type_ && before.started_at == now.started_at;
        if let Some(before) = before.filter(same) {
            let (was, moved_at) = (before.progress.unwrap(), before.progressed_at);
            assert!(progress.done >= was.done, "{was:?} became {now:?}");
            assert!(
                now.progressed_at.as_ref().map(|time| time.0) >= moved_at.as_ref().map(|time| time.0),
                "{now:?}"
            );
            assert!(
                progress.done > was.done || now.progressed_at == moved_at,
                "{was:?} became {now:?}"
            );
        }
    }

    async fn happen(&mut self, world: &mut World, event: &Event) {
        match event {
            Event::Scale(replicas) => world.scale(*replicas),
            Event::Image(version) => world.edit_spec(|spec| spec["image"] = json!(format!("kotoba:{version}"))),
            Event::Size(tens) => world.edit_spec(|spec| {
                // As the CRD's rule has it: never smaller.
                let now = spec["storage"]["size"].as_str().unwrap_or("10Gi").to_owned();
                spec["storage"]["size"] = json!(now.max(format!("{tens}0Gi")));
            }),
            Event::Suspend(suspend) => world.edit_spec(|spec| spec["suspend"] = json!(suspend)),
            Event::Cpu(count) => {
                world.edit_spec(|spec| spec["resources"] = json!({ "requests": { "cpu": count, "memory": "256Mi" } }))
            }
            Event::Config(cache) => world.edit_spec(|spec| spec["config"] = json!({ "logCacheMib": cache })),
            Event::KillPod(slot) => world.delete_pod(&format!("g-{slot}")),
            Event::LoseVolume(slot) => self.lose_volume(world, &format!("g-{slot}")),
            Event::RestartOperator => world.restart_operator(),
        }
    }

    /// A person says of every lost disk that it does not come back, and waits for one before the next.
    fn lose_volume(&mut self, world: &World, pod: &str) {
        let claim = world
            .api
            .store()
            .get("persistentvolumeclaims", &format!("data-{pod}"))
            .cloned();
        let Some(disk) = claim.and_then(|claim| Some(claim["disk"]["id"].as_str()?.to_owned())) else {
            return;
        };
        let of_member = world
            .database
            .state()
            .current()
            .find(|(_, member)| member.disk_id == disk)
            .map(|(id, _)| *id);
        if !self.lost.is_empty() {
            return;
        }
        world.delete_claim(pod);
        world.delete_pod(pod);
        self.lost.push(disk);
        if let Some(id) = of_member {
            world.annotate("kotoba.dev/replace-member", &id.to_string());
        }
    }
}

async fn live(events: &[(Event, usize)]) {
    let reclaim = json!({ "reclaim": { "onScaleIn": "Delete" }, "size": "10Gi" });
    let mut world = World::new(json!({ "replicas": 4, "replicationFactor": COPIES, "storage": reclaim }));
    world.run_until_ready().await;
    world.api.kubernetes.lock().unwrap().resizes_pods = events.len().is_multiple_of(2);
    let mut watch = Watch {
        lost: Vec::new(),
        highest_id: 0,
        operation: None,
    };
    for (event, passes) in events {
        watch.happen(&mut world, event).await;
        for _ in 0..*passes {
            world.pass().await.unwrap();
            watch.check(&world);
            world.tick().await;
        }
    }
    world.edit_spec(|spec| spec["suspend"] = json!(false));
    come_to_rest(&mut world, &mut watch, events).await;
}

async fn come_to_rest(world: &mut World, watch: &mut Watch, events: &[(Event, usize)]) {
    let wanted = world.api.store().get("kotobaclusters", "g").unwrap()["spec"]["replicas"].clone();
    for _ in 0..3 * MAX_PASSES {
        world.pass().await.unwrap();
        watch.check(world);
        let status = world.status();
        if is_done(world, &status) {
            let members = world.database.state().current().count();
            assert_eq!(json!(members), wanted, "{events:?}");
            return;
        }
        world.tick().await;
    }
    panic!("{events:?} never came to rest: {:#?}", world.status());
}

fn is_done(world: &World, status: &KotobaClusterStatus) -> bool {
    let generation = world.api.store().get("kotobaclusters", "g").unwrap()["metadata"]["generation"].as_i64();
    status.observed_generation == generation
        && is(status, ConditionType::Ready)
        && is(status, ConditionType::MembersUpToDate)
}

#[test]
fn edits_and_losses_in_any_order_break_no_rule_and_come_to_what_is_wanted() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..LIVES {
        let events = life().new_tree(&mut runner).unwrap().current();
        // A runtime for each, with which its servers end.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(live(&events));
    }
}
