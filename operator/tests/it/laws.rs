//! What no plan may ever do, whatever is observed and whatever is asked for.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::SignedDuration;
use kotoba_operator::crd::{Health, KotobaClusterStatus, MemberState, ReclaimPolicy};
use kotoba_operator::observe::{
    Catalogue, Claim, Database, Identity, Member, Membership, NotedDisk, Observed, Pod, Process, Rebalance,
    RemovedMember, ResizeState, Slot, StatefulSet,
};
use kotoba_operator::plan::{ClaimStep, Drift, Plan, PodStep, ResizeStep, Step, drift, plan};
use kotoba_operator::recipe::{Compute, Recipe};
use kotoba_operator::validate::ValidatedCluster;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::scene::{self, UID, cluster};

/// Few disks, ids and slots, so that they meet.
const DISKS: u64 = 4;
const SLOTS: u32 = 5;

fn membership() -> impl Strategy<Value = Option<Membership>> {
    let cluster_id = prop_oneof![9 => Just(UID), 1 => Just("uid-other")];
    prop::option::weighted(0.6, (cluster_id, 1..=DISKS)).prop_map(|membership| {
        membership.map(|(cluster_id, member_id)| Membership {
            cluster_id: cluster_id.into(),
            member_id,
        })
    })
}

fn answered(disk: u64, membership: Option<Membership>) -> Process {
    Process::Answered(Identity {
        disk_id: format!("disk-{disk}"),
        ready: membership.is_some(),
        membership,
        version: "1".into(),
    })
}

/// Mostly what a sound cluster shows in this slot, sometimes anything.
fn process(slot: u32, joined: u32) -> BoxedStrategy<Process> {
    let disk = u64::from(slot);
    let sound = answered(
        disk,
        (slot < joined).then(|| Membership {
            cluster_id: UID.into(),
            member_id: disk + 1,
        }),
    );
    prop_oneof![
        8 => Just(sound),
        1 => prop_oneof![Just(Process::NoPod), Just(Process::Silent("starting".into()))],
        1 => (0..DISKS, membership()).prop_map(|(disk, membership)| answered(disk, membership)),
    ]
    .boxed()
}

fn slot(slot: u32, joined: u32) -> impl Strategy<Value = Slot> {
    let zone = prop::option::weighted(0.95, Just("a".to_owned()));
    let pod = (
        prop::bool::weighted(0.85),
        prop::bool::weighted(0.9),
        made(),
        prop_oneof![1 => Just(10), 1 => Just(3600)],
    );
    (process(slot, joined), zone, claim(slot), pod).prop_map(|(process, zone, claim, (ready, running, made, age))| {
        Slot {
            pod: (!matches!(process, Process::NoPod)).then(|| Pod {
                uid: "pod".into(),
                ip: Some("10.0.0.1".into()),
                zone,
                ready: ready && process.identity().is_none_or(|identity| identity.ready),
                running,
                created: Some(scene::now() - SignedDuration::from_secs(age)),
                ..made
            }),
            claim,
            process,
        }
    })
}

/// Mostly made from the present recipe, sometimes from an older one, or with less CPU, which it may have more of by now.
fn made() -> impl Strategy<Value = Pod> {
    let template = prop::bool::weighted(0.9);
    let cpu = prop_oneof![8 => Just(("2", "2")), 1 => Just(("1", "1")), 1 => Just(("1", "2"))];
    let told = prop_oneof![
        6 => Just(None),
        1 => Just(Some(ResizeState::Pending("later".into()))),
        1 => Just(Some(ResizeState::Infeasible("never".into()))),
    ];
    (template, cpu, told).prop_map(|(current, (made, has), told)| {
        let resized = made != has;
        Pod {
            recipe: Some(recipe(if current { "r1" } else { "r0" }, made)),
            compute: recipe("", has).compute,
            resized,
            resize: told.filter(|_| resized),
            ..Pod::default()
        }
    })
}

fn recipe(restart: &str, cpu: &str) -> Recipe {
    Recipe {
        restart: Some(restart.into()),
        compute: Compute {
            requests: [("cpu".to_owned(), cpu.to_owned())].into(),
            limits: BTreeMap::new(),
        },
        ..Recipe::default()
    }
}

/// Mostly notes what a sound cluster has in this slot, sometimes another disk, or none.
fn claim(slot: u32) -> impl Strategy<Value = Option<Claim>> {
    let disk = prop_oneof![6 => Just(u64::from(slot)), 1 => 0..DISKS];
    let noted = prop::option::weighted(0.9, (disk, any::<bool>()));
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.02));
    let claim = (noted, flags).prop_map(|(noted, (deleting, small))| Claim {
        size: if small { "5Gi" } else { "10Gi" }.into(),
        uid: "claim".into(),
        version: "7".into(),
        deleting,
        disk: noted.map(|(disk, joined)| NotedDisk {
            disk_id: format!("disk-{disk}"),
            member_id: joined.then_some(disk + 1),
        }),
        ..Claim::default()
    });
    prop::option::weighted(0.9, claim)
}

fn member(slot: u32) -> impl Strategy<Value = Member> {
    let disk = prop_oneof![9 => Just(u64::from(slot)), 1 => 0..DISKS];
    let state = prop_oneof![
        1 => Just(MemberState::Joining),
        12 => Just(MemberState::Active),
        2 => Just(MemberState::Draining),
        // Stands for a removed one, and is moved to the list of those.
        2 => Just(MemberState::Removed),
    ];
    let health = prop_oneof![9 => Just(Health::Alive), 1 => Just(Health::Failed)];
    let rest = (any::<bool>(), prop::bool::weighted(0.05));
    (disk, state, health, rest).prop_map(move |(disk, state, health, (empty, disk_full))| Member {
        id: u64::from(slot) + 1,
        name: format!("g-{slot}"),
        disk_id: format!("disk-{disk}"),
        state,
        health,
        zone: "a".into(),
        replicas: 1,
        leaders: 1,
        drained: state == MemberState::Draining && empty,
        waiting_for: String::new(),
        disk_full,
        data_bytes: 0,
        room_bytes: 0,
    })
}

fn database(joined: u32) -> BoxedStrategy<Database> {
    let members: Vec<_> = (0..joined).map(member).collect();
    let rebalance = (any::<bool>(), prop_oneof![3 => Just(0), 1 => Just(2_u32)]);
    let sure = prop_oneof![4 => Just(true), 1 => Just(false)];
    let answered = (members, sure, rebalance, 1..=3_u32).prop_map(|(members, linearizable, rebalance, copies)| {
        let (balanced, moves_open) = rebalance;
        let (removed, members): (Vec<_>, Vec<_>) = members
            .into_iter()
            .partition(|member: &Member| member.state == MemberState::Removed);
        let removed = removed.into_iter().map(|member| RemovedMember {
            id: member.id,
            disk_id: member.disk_id,
        });
        Database::Answered(Catalogue {
            cluster_id: UID.into(),
            linearizable,
            members,
            removed: removed.collect(),
            replication_factor: copies,
            leader_member_id: Some(1),
            under_replicated: u32::from(linearizable && !balanced && moves_open > 0),
            rebalance: Rebalance {
                balanced,
                moves_open,
                ..Rebalance::default()
            },
            ..Catalogue::default()
        })
    });
    prop_oneof![1 => Just(Database::NotAsked), 1 => Just(Database::Silent("down".into())), 8 => answered].boxed()
}

/// A cluster with so many members in so many slots, sound but for some things.
fn observed() -> impl Strategy<Value = Observed> {
    let of = |(slots, joined, latched): (u32, u32, bool)| {
        let joined = joined.min(slots);
        let seen: Vec<_> = (0..slots).map(|number| slot(number, joined)).collect();
        let database = if latched {
            database(joined)
        } else {
            Just(Database::NotAsked).boxed()
        };
        (Just(slots), Just(latched), seen, database)
    };
    let seen = (0..=SLOTS, prop_oneof![1 => Just(0), 2 => 0..=SLOTS], any::<bool>()).prop_flat_map(of);
    let leaving = prop::collection::vec(1..=i64::from(SLOTS), 0..2);
    // What is left of a slot that was given up is there without the StatefulSet.
    let given_up = (prop_oneof![3 => Just(0), 1 => 1..=2_u32], prop::bool::weighted(0.1));
    (seen, leaving, given_up, any::<bool>()).prop_map(
        |((slots, latched, seen, database), leaving, (given_up, small), resizes_pods)| Observed {
            resizes_pods,
            recorded: KotobaClusterStatus {
                cluster_id: latched.then(|| UID.to_owned()),
                leaving,
                ..KotobaClusterStatus::default()
            },
            stateful_set: (slots > 0).then(|| StatefulSet {
                replicas: slots.saturating_sub(given_up).max(1),
                seen: true,
                recipe: Some(recipe("r1", "2")),
                claim_size: Some(if small { "5Gi" } else { "10Gi" }.into()),
                ..StatefulSet::default()
            }),
            slots: (0..).zip(seen).collect(),
            // Before the latch nobody is asked.
            database,
            taken_names: Vec::new(),
            now: scene::now(),
        },
    )
}

fn identities(observed: &Observed) -> Vec<&Identity> {
    observed.identities().map(|(_, identity)| identity).collect()
}

/// Slots of members that are not removed: where their disk is, else where their name says.
fn places(catalogue: &Catalogue, observed: &Observed) -> Vec<(u32, u64)> {
    let seen = |member: &Member| {
        let mut identities = observed.identities();
        identities.find_map(|(slot, identity)| {
            let is_it = identity.belongs_to(UID) && identity.membership.as_ref()?.member_id == member.id;
            is_it.then_some(slot)
        })
    };
    let named = |member: &Member| member.name.strip_prefix("g-").unwrap().parse().unwrap();
    let members = catalogue.members.iter();
    members
        .map(|member| (seen(member).unwrap_or_else(|| named(member)), member.id))
        .collect()
}

fn check_slots(plan: &Plan, wanted: u32, observed: &Observed) {
    let existing = observed.stateful_set.as_ref().map_or(0, |set| set.replicas);
    assert!(plan.slots >= wanted, "a wanted slot would go");
    let sure = observed
        .recorded
        .cluster_id
        .is_some()
        .then(|| observed.database.catalogue())
        .flatten();
    match sure.filter(|catalogue| catalogue.linearizable) {
        None => assert!(plan.slots >= existing, "a slot would go without the database's word"),
        Some(catalogue) => {
            let places = places(catalogue, observed);
            assert!(
                places.iter().all(|(slot, _)| *slot < plan.slots),
                "a member's slot would go"
            );
        }
    }
    assert!(
        plan.min_available < plan.slots.max(1),
        "a budget that no drain can meet"
    );
}

fn check(plan: &Plan, cluster: &ValidatedCluster, observed: &Observed) {
    let wanted = cluster.replicas;
    check_slots(plan, wanted, observed);
    let Some(step) = &plan.step else { return };
    let identities = identities(observed);
    let foreign = identities.iter().any(|identity| identity.is_foreign_to(UID));
    assert!(!foreign, "a step beside a foreign disk: {step:?}");
    let ids: Vec<u64> = identities
        .iter()
        .filter_map(|seen| Some(seen.membership.as_ref()?.member_id))
        .collect();
    let distinct: BTreeSet<u64> = ids.iter().copied().collect();
    let latched = observed.recorded.cluster_id.is_some();
    match step {
        Step::Bootstrap(step) => {
            assert!(!latched, "founded twice");
            assert!(ids.is_empty(), "founded over a disk that is in use");
            assert_eq!(step.members.len(), plan.slots as usize, "founded without all members");
        }
        Step::Join(step) => {
            let catalogue = observed.database.catalogue().unwrap();
            assert!(latched && catalogue.linearizable, "a join that rests on a guess");
            assert_eq!(ids.len(), distinct.len(), "a join beside a copied disk");
            assert!(step.slot < wanted, "a join that nobody wants");
            let identity = observed.process(step.slot).identity().unwrap();
            assert_eq!(identity.membership, None, "a member joins again");
            let mut others = catalogue
                .members
                .iter()
                .filter(|member| member.name != step.candidate.name);
            assert!(
                others.all(|member| member.state != MemberState::Joining),
                "two join at once"
            );
            let mut known = catalogue.members.iter();
            let lost = known.find(|member| member.name == step.candidate.name && member.disk_id != identity.disk_id);
            let listed = catalogue
                .members
                .iter()
                .any(|member| member.disk_id == identity.disk_id);
            let asked = |member: &Member| {
                let begun = observed.recorded.leaving.contains(&i64::try_from(member.id).unwrap());
                let drained = member.state == MemberState::Draining;
                member.health == Health::Failed && (cluster.replace.contains(&member.id) || begun || drained)
            };
            assert!(
                lost.is_none_or(asked) || listed,
                "a lost member's slot is filled in silence"
            );
            let replaces = lost.filter(|_| !listed).map(|member| member.id);
            assert!(
                replaces.is_none() || step.replaces == replaces,
                "a replacement that leaves no note"
            );
        }
        Step::Rebalance { .. } => {
            let catalogue = observed.database.catalogue().unwrap();
            assert!(latched && catalogue.linearizable, "a rebalance that rests on a guess");
            assert!(
                !catalogue.rebalance.balanced && catalogue.rebalance.moves_open == 0,
                "for nothing"
            );
            assert!(
                catalogue
                    .members
                    .iter()
                    .all(|member| member.state == MemberState::Active),
                "while one joins"
            );
            assert!(wanted >= plan.slots, "while members are not wanted");
        }
        Step::Drain(step) => {
            let catalogue = observed.database.catalogue().unwrap();
            assert!(latched && catalogue.linearizable, "a drain that rests on a guess");
            let surplus = places(catalogue, observed);
            if is_followed(catalogue, observed, step.member_id) {
                let mut others = catalogue.members.iter().filter(|member| member.id != step.member_id);
                let all_answer = others.all(|member| member.health == Health::Alive);
                assert!(all_answer, "a lost member is drained while others do not answer");
                return;
            }
            let mut above = surplus.iter().filter(|(slot, _)| *slot >= wanted);
            assert!(above.any(|(_, id)| *id == step.member_id), "a wanted member is drained");
            assert!(
                surplus.iter().all(|(slot, _)| *slot <= step.slot),
                "not the highest first"
            );
            let staying = surplus.iter().filter(|(slot, _)| *slot < wanted);
            let well = staying
                .filter(|(_, id)| catalogue.member(*id).unwrap().health == Health::Alive)
                .count();
            assert!(
                well >= catalogue.replication_factor as usize,
                "too few are left for the copies"
            );
        }
        Step::CancelDrain(step) => {
            let catalogue = observed.database.catalogue().unwrap();
            assert!(latched && catalogue.linearizable, "a drain is cancelled on a guess");
            let member = catalogue.member(step.member_id).unwrap();
            assert_eq!(member.state, MemberState::Draining);
            let own = i64::try_from(step.member_id).unwrap();
            assert!(
                observed.recorded.leaving.contains(&own),
                "a person's drain is cancelled"
            );
            assert!(step.slot < wanted, "a member is kept that nobody wants");
        }
        Step::Remove(step) => {
            let catalogue = observed.database.catalogue().unwrap();
            assert!(latched && catalogue.linearizable, "a removal that rests on a guess");
            assert!(
                catalogue.member(step.member_id).unwrap().drained,
                "a removal without proof"
            );
            let is_followed = is_followed(catalogue, observed, step.member_id);
            assert!(step.slot >= wanted || is_followed, "a wanted member is removed");
        }
        Step::DeleteClaim(step) => check_claim(step, cluster, observed),
        Step::DeletePod(step) => check_pod(step, plan, observed),
        Step::ResizePod(step) => check_resize(step, plan, observed),
        Step::RecreateStatefulSet(_) => {
            let set = observed.stateful_set.as_ref().unwrap();
            assert_ne!(set.claim_size.as_ref(), Some(&cluster.storage_size), "for nothing");
            let mut claims = observed.slots.values().filter_map(|slot| slot.claim.as_ref());
            assert!(
                claims.all(|claim| claim.size != "5Gi" || claim.deleting),
                "before the claims have grown"
            );
        }
    }
}

/// Failed, with another disk in its slot.
fn is_followed(catalogue: &Catalogue, observed: &Observed, member_id: u64) -> bool {
    let places = places(catalogue, observed);
    let slot = places.iter().find(|(_, id)| *id == member_id).unwrap().0;
    let is_seen = |id: u64| {
        identities(observed)
            .iter()
            .any(|seen| seen.membership.as_ref().is_some_and(|seen| seen.member_id == id))
    };
    let failed = catalogue.member(member_id).unwrap().health == Health::Failed;
    failed && !is_seen(member_id) && places.iter().any(|(other, id)| *other == slot && *id > member_id)
}

fn check_pod(step: &PodStep, plan: &Plan, observed: &Observed) {
    let pod = observed.pod(step.slot).unwrap();
    assert!(!pod.deleting, "a pod that stops is stopped");
    let removed = observed.database.catalogue().is_some_and(|catalogue| {
        let identity = observed.process(step.slot).identity();
        let membership = identity.and_then(|identity| identity.membership.as_ref());
        catalogue.linearizable && membership.is_some_and(|seen| catalogue.was_removed(seen.member_id))
    });
    if removed {
        return;
    }
    let drift = drift(observed, step.slot).unwrap();
    assert!(
        matches!(drift, Drift::Template | Drift::Compute),
        "a pod of the present recipe is stopped"
    );
    if !pod.ready {
        check_patience(step, observed);
        return;
    }
    assert_eq!(
        drift,
        Drift::Template,
        "a pod is stopped that could be changed where it runs"
    );
    check_spared(step.slot, plan, observed);
}

/// Where nobody serves, a process that runs has its time, and so have all others.
fn check_patience(step: &PodStep, observed: &Observed) {
    let serves = observed
        .slots
        .values()
        .any(|slot| slot.pod.as_ref().is_some_and(|pod| pod.ready));
    let answered = observed.database.catalogue().is_some();
    if !observed.pod(step.slot).unwrap().running || serves || answered {
        return;
    }
    let pods = observed.slots.values().filter_map(|slot| slot.pod.as_ref());
    let youngest = pods
        .filter(|pod| pod.running)
        .map(|pod| observed.now.duration_since(pod.created.unwrap()))
        .min();
    assert!(
        youngest.unwrap().as_secs() >= 60,
        "pods are stopped before they could start"
    );
}

fn check_resize(step: &ResizeStep, plan: &Plan, observed: &Observed) {
    assert!(observed.resizes_pods, "a pod is changed by a Kubernetes that cannot");
    assert_eq!(drift(observed, step.slot), Some(Drift::Compute));
    let is_open = |slot: u32| matches!(drift(observed, slot), Some(Drift::Resizing(_)));
    assert!(!(0..plan.slots).any(is_open), "two pods are changed at once");
    if observed.pod(step.slot).unwrap().ready {
        check_spared(step.slot, plan, observed);
    }
}

/// What must hold before anything is done to a pod that serves.
fn check_spared(slot: u32, plan: &Plan, observed: &Observed) {
    let catalogue = observed.database.catalogue().unwrap();
    assert!(catalogue.linearizable, "a pod that serves is stopped on a guess");
    assert_eq!(
        (catalogue.leaderless, catalogue.under_replicated),
        (0, 0),
        "a copy is missing"
    );
    let ready = |slot: u32| observed.pod(slot).is_some_and(|pod| pod.ready);
    assert!(
        (0..plan.slots).all(ready),
        "a pod that serves is stopped while another does not"
    );
    let here: Vec<u64> = places(catalogue, observed)
        .into_iter()
        .filter_map(|(place, id)| (place == slot).then_some(id))
        .collect();
    let mut others = catalogue.members.iter().filter(|member| !here.contains(&member.id));
    assert!(
        others.all(|member| member.health == Health::Alive),
        "a member is silent"
    );
    let leads = catalogue.leader_member_id.is_some_and(|leader| here.contains(&leader));
    let mut outdated = (0..plan.slots).filter(|slot| drift(observed, *slot).is_some_and(|drift| drift != Drift::Fits));
    assert!(
        !leads || outdated.all(|other| other == slot),
        "the leader is not the last"
    );
}

fn check_claim(step: &ClaimStep, cluster: &ValidatedCluster, observed: &Observed) {
    let catalogue = observed.database.catalogue().unwrap();
    assert!(catalogue.linearizable, "a volume is deleted on a guess");
    assert_eq!(
        cluster.reclaim.on_scale_in,
        ReclaimPolicy::Delete,
        "a volume is deleted that should be kept"
    );
    let seen = &observed.slots[&step.slot];
    let running = seen.process.identity();
    let noted = seen.claim.as_ref().unwrap().disk.as_ref();
    let disk = running
        .map(|identity| &identity.disk_id)
        .or(noted.map(|noted| &noted.disk_id))
        .unwrap();
    let is_current = catalogue.members.iter().any(|member| member.disk_id == *disk);
    assert!(!is_current, "the volume of a current member is deleted");
    let mut places = places(catalogue, observed).into_iter();
    assert!(
        places.all(|(slot, _)| slot != step.slot),
        "the volume in a member's slot is deleted"
    );
    let removed = |id: u64| catalogue.was_removed(id);
    match running {
        Some(identity) => assert!(removed(identity.membership.as_ref().unwrap().member_id)),
        None => assert!(seen.pod.is_none(), "a volume that a pod uses is deleted"),
    }
}

fn spec() -> impl Strategy<Value = ValidatedCluster> {
    (1..=SLOTS + 1, any::<bool>(), prop::option::of(1..=DISKS)).prop_map(|(wanted, reclaims, replace)| {
        let mut cluster = cluster(wanted);
        cluster.replace.extend(replace);
        if reclaims {
            cluster.reclaim.on_scale_in = ReclaimPolicy::Delete;
        }
        cluster
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_breaks_a_rule_of_safety(cluster in spec(), observed in observed()) {
        let plan = plan(&cluster, &observed);
        check(&plan, &cluster, &observed);
    }

    #[test]
    fn the_same_observation_gives_the_same_plan(cluster in spec(), observed in observed()) {
        prop_assert_eq!(plan(&cluster, &observed), plan(&cluster, &observed.clone()));
    }
}

/// Laws that hold because nothing ever happens would be worth nothing.
#[test]
fn the_observations_that_are_drawn_lead_to_every_step() {
    let mut runner = TestRunner::deterministic();
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..20_000 {
        let (cluster, observed) = (spec(), observed()).new_tree(&mut runner).unwrap().current();
        if let Some(step) = plan(&cluster, &observed).step {
            *taken.entry(kind(&step)).or_default() += 1;
        }
    }
    for kind in STEPS {
        assert!(taken.get(kind).is_some_and(|count| *count > 10), "{kind}: {taken:?}");
    }
}

const STEPS: [&str; 10] = [
    "Bootstrap",
    "Join",
    "Rebalance",
    "Drain",
    "CancelDrain",
    "Remove",
    "DeleteClaim",
    "DeletePod",
    "ResizePod",
    "RecreateStatefulSet",
];

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Bootstrap(_) => "Bootstrap",
        Step::Join(_) => "Join",
        Step::Rebalance { .. } => "Rebalance",
        Step::Drain(_) => "Drain",
        Step::CancelDrain(_) => "CancelDrain",
        Step::Remove(_) => "Remove",
        Step::DeleteClaim(_) => "DeleteClaim",
        Step::DeletePod(_) => "DeletePod",
        Step::ResizePod(_) => "ResizePod",
        Step::RecreateStatefulSet(_) => "RecreateStatefulSet",
    }
}
