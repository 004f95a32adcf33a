//! Clusters that are drawn: mostly sound, and anything else now and then.

use std::collections::BTreeMap;

use k8s_openapi::jiff::SignedDuration;
use kotoba_operator::crd::{Health, KotobaClusterStatus, MemberState, ReclaimPolicy};
use kotoba_operator::observe::{
    Catalogue, Claim, Database, Identity, Member, Membership, NotedDisk, Observed, Pod, Process, Rebalance,
    RemovedMember, ResizeState, Slot, StatefulSet,
};
use kotoba_operator::recipe::{Compute, Recipe};
use kotoba_operator::validate::ValidatedCluster;
use proptest::prelude::*;

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
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.02), any::<bool>());
    let claim = (noted, flags).prop_map(|(noted, (deleting, small, began_empty))| Claim {
        began_empty,
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
pub fn observed() -> impl Strategy<Value = Observed> {
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

pub fn spec() -> impl Strategy<Value = ValidatedCluster> {
    (1..=SLOTS + 1, any::<bool>(), prop::option::of(1..=DISKS)).prop_map(|(wanted, reclaims, replace)| {
        let mut cluster = cluster(wanted);
        cluster.replace.extend(replace);
        if reclaims {
            cluster.reclaim.on_scale_in = ReclaimPolicy::Delete;
        }
        cluster
    })
}
