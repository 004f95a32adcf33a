//! What no plan may ever do, whatever is observed and whatever is asked for.

use std::collections::BTreeSet;

use kotoba_operator::crd::{Health, KotobaClusterStatus, MemberState};
use kotoba_operator::observe::{
    Catalogue, Database, Identity, Member, Membership, Observed, Pod, Process, Rebalance, Slot, StatefulSet,
};
use kotoba_operator::plan::{Plan, Step, plan};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::scene::{UID, cluster};

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
    (process(slot, joined), zone).prop_map(|(process, zone)| Slot {
        pod: (!matches!(process, Process::NoPod)).then(|| Pod {
            uid: "pod".into(),
            ip: Some("10.0.0.1".into()),
            zone,
            ..Pod::default()
        }),
        claim: None,
        process,
    })
}

fn member(slot: u32) -> impl Strategy<Value = Member> {
    let disk = prop_oneof![9 => Just(u64::from(slot)), 1 => 0..DISKS];
    let state = prop_oneof![1 => Just(MemberState::Joining), 9 => Just(MemberState::Active)];
    let health = prop_oneof![9 => Just(Health::Alive), 1 => Just(Health::Failed)];
    (disk, state, health).prop_map(move |(disk, state, health)| Member {
        id: u64::from(slot) + 1,
        name: format!("g-{slot}"),
        disk_id: format!("disk-{disk}"),
        state,
        health,
        replicas: 1,
        leaders: 1,
    })
}

fn database(joined: u32) -> BoxedStrategy<Database> {
    let members: Vec<_> = (0..joined).map(member).collect();
    let rebalance = (any::<bool>(), prop_oneof![3 => Just(0), 1 => Just(2_u32)]);
    let sure = prop_oneof![4 => Just(true), 1 => Just(false)];
    let answered = (members, sure, rebalance).prop_map(|(members, linearizable, (balanced, moves_open))| {
        Database::Answered(Catalogue {
            cluster_id: UID.into(),
            linearizable,
            members,
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
    seen.prop_map(|(slots, latched, seen, database)| Observed {
        recorded: KotobaClusterStatus {
            cluster_id: latched.then(|| UID.to_owned()),
            ..KotobaClusterStatus::default()
        },
        stateful_set: (slots > 0).then(|| StatefulSet {
            replicas: slots,
            ..StatefulSet::default()
        }),
        slots: (0..).zip(seen).collect(),
        // Before the latch nobody is asked.
        database,
        taken_names: Vec::new(),
    })
}

fn identities(observed: &Observed) -> Vec<&Identity> {
    observed.identities().map(|(_, identity)| identity).collect()
}

fn check(plan: &Plan, wanted: u32, observed: &Observed) {
    let existing = observed.stateful_set.as_ref().map_or(0, |set| set.replicas);
    assert!(plan.slots >= existing, "a slot would go");
    assert!(
        plan.min_available.is_none_or(|number| number < plan.slots),
        "a budget that no drain can meet"
    );
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
            assert!(lost.is_none() || listed, "a lost member's slot is filled in silence");
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
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_breaks_a_rule_of_safety(wanted in 1..=SLOTS + 1, observed in observed()) {
        let plan = plan(&cluster(wanted), &observed);
        check(&plan, wanted, &observed);
    }

    #[test]
    fn the_same_observation_gives_the_same_plan(wanted in 1..=SLOTS, observed in observed()) {
        prop_assert_eq!(plan(&cluster(wanted), &observed), plan(&cluster(wanted), &observed.clone()));
    }
}

/// Laws that hold because nothing ever happens would be worth nothing.
#[test]
fn the_observations_that_are_drawn_lead_to_every_step() {
    let mut runner = TestRunner::deterministic();
    let (mut bootstraps, mut joins, mut rebalances) = (0, 0, 0);
    for _ in 0..4_000 {
        let (wanted, observed) = (1..=SLOTS, observed()).new_tree(&mut runner).unwrap().current();
        match plan(&cluster(wanted), &observed).step {
            None => {}
            Some(Step::Bootstrap(_)) => bootstraps += 1,
            Some(Step::Join(_)) => joins += 1,
            Some(Step::Rebalance { .. }) => rebalances += 1,
        }
    }
    assert!(
        bootstraps > 10 && joins > 10 && rebalances > 10,
        "{bootstraps} {joins} {rebalances}"
    );
}
