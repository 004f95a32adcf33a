//! The meta group's own membership.

use std::collections::BTreeSet;

use super::{Group, join};
use crate::ids::{MemberId, ReplicaId};
use crate::meta::driver::{LeaderView, MetaAction, next_meta_step};
use crate::meta::{Command, Health};

fn meta_view(voters: &[u64], learners: &[u64]) -> LeaderView {
    let ids = |ids: &[u64]| ids.iter().map(|id| ReplicaId(*id)).collect::<BTreeSet<_>>();
    let everyone = voters.iter().chain(learners);
    LeaderView {
        member: MemberId(1),
        replica: ReplicaId(1),
        term: 1,
        led_ms: 60_000,
        voters: ids(voters),
        learners: ids(learners),
        joint: false,
        last_log_index: 100,
        membership_log_id: "0".to_owned(),
        matched: everyone.clone().map(|id| (ReplicaId(*id), 100)).collect(),
        silent_ms: everyone.map(|id| (ReplicaId(*id), 10)).collect(),
    }
}

#[test]
fn a_member_that_joins_learns_the_catalogue_before_it_is_active() {
    let mut group = Group::founded(3);
    group.apply(&join(4));
    let catalogue = group.catalogue();
    let member = MemberId(4);
    let replica = catalogue.members[&member].meta_replica;
    let learn = next_meta_step(&catalogue, &meta_view(&[1, 2, 3], &[]));
    assert_eq!(learn, Some(MetaAction::AddLearner { replica, member }));
    let activate = next_meta_step(&catalogue, &meta_view(&[1, 2, 3], &[replica.0]));
    assert_eq!(activate, Some(MetaAction::Propose(Command::ActivateMember { member })));
}

#[test]
fn a_failed_meta_voter_is_exchanged_for_one_that_is_well() {
    let mut group = Group::founded(3);
    let member = group.add_member(4);
    let replica = group.catalogue().members[&member].meta_replica;
    let view = meta_view(&[1, 2, 3], &[replica.0]);
    assert_eq!(next_meta_step(&group.catalogue(), &view), None);
    group.apply(&Command::SetHealth {
        member: MemberId(2),
        health: Health::Failed,
        now_ms: 5,
    });
    let Some(MetaAction::ReplaceVoters { voters, .. }) = next_meta_step(&group.catalogue(), &view) else {
        panic!("nothing is done");
    };
    assert_eq!(voters, BTreeSet::from([ReplicaId(1), ReplicaId(3), replica]));
}

#[test]
fn an_exchange_of_meta_voters_that_was_left_half_done_is_finished() {
    let mut group = Group::founded(3);
    let member = group.add_member(4);
    let replica = group.catalogue().members[&member].meta_replica;
    let mut view = meta_view(&[1, 2, 3, replica.0], &[]);
    view.joint = true;
    view.silent_ms.insert(ReplicaId(2), 60_000);
    let finish = next_meta_step(&group.catalogue(), &view);
    let voters = BTreeSet::from([ReplicaId(1), ReplicaId(3), replica]);
    let expected_membership_log_id = view.membership_log_id;
    assert_eq!(
        finish,
        Some(MetaAction::ReplaceVoters {
            voters,
            expected_membership_log_id
        })
    );
}

#[test]
fn a_meta_learner_that_is_being_added_is_waited_for() {
    let group = Group::founded(3);
    let mut view = meta_view(&[1, 2, 3], &[99]);
    view.joint = true;
    assert_eq!(next_meta_step(&group.catalogue(), &view), None);
}

#[test]
fn a_suspected_meta_voter_is_left_alone() {
    let mut group = Group::founded(3);
    let member = group.add_member(4);
    let replica = group.catalogue().members[&member].meta_replica;
    group.apply(&Command::SetHealth {
        member: MemberId(2),
        health: Health::Suspected,
        now_ms: 5,
    });
    assert_eq!(
        next_meta_step(&group.catalogue(), &meta_view(&[1, 2, 3], &[replica.0])),
        None
    );
}
