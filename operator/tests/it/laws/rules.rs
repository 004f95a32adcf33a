//! The rules of safety, checked on one plan.

use std::collections::BTreeSet;

use kotoba_operator::crd::{Health, MemberState, ReclaimPolicy};
use kotoba_operator::observe::{Catalogue, Identity, Member, Observed};
use kotoba_operator::plan::{ClaimStep, Drift, Plan, PodStep, ResizeStep, Step, drift};
use kotoba_operator::validate::ValidatedCluster;

use crate::scene::UID;

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

pub fn check(plan: &Plan, cluster: &ValidatedCluster, observed: &Observed) {
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
    let claim = seen.claim.as_ref().unwrap();
    let said = running.map(|identity| &identity.disk_id);
    match said.or(claim.disk.as_ref().map(|noted| &noted.disk_id)) {
        Some(disk) => {
            let is_current = catalogue.members.iter().any(|member| member.disk_id == *disk);
            assert!(!is_current, "the volume of a current member is deleted");
        }
        None => {
            assert!(claim.began_empty, "a volume is deleted that nobody knows");
            let is_elsewhere = |member: &Member| {
                let mut slots = observed.slots.values();
                slots.any(|slot| {
                    let said = slot.process.identity().map(|identity| &identity.disk_id);
                    let noted = slot.claim.as_ref().and_then(|claim| claim.disk.as_ref());
                    said == Some(&member.disk_id) || noted.is_some_and(|noted| noted.disk_id == member.disk_id)
                })
            };
            assert!(catalogue.members.iter().all(is_elsewhere), "it may be a member's");
        }
    }
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
