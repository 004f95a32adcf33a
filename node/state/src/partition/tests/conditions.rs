//! Conditions: rules (d), (d') and (d''').

use super::*;
use ConditionKind::{Absent, Exists};

fn prepare_with(partition: &mut Partition, counter: u64, condition: Condition) -> PrepareAnswer {
    let mut command = prepare(head(counter, 90, ELSEWHERE), [put(&format!("own{counter}"))]);
    command.conditions = vec![condition];
    partition.prepare(command)
}

fn failed(name: &str, kind: ConditionKind) -> PrepareAnswer {
    PrepareAnswer::Refused(Refusal::ConditionFailed { key: key(name), kind })
}

#[test]
fn rule_d_looks_at_the_newest_committed_version() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [put("there"), put("deleted")]);
    partition.wrote(2, 6, [delete("deleted")]);
    let mut check = |counter, name, kind| prepare_with(&mut partition, counter, condition(name, kind));
    assert_eq!(check(10, "there", Exists), PrepareAnswer::Prepared);
    assert_eq!(check(11, "there", Absent), failed("there", Absent));
    assert_eq!(check(12, "deleted", Exists), failed("deleted", Exists));
    assert_eq!(check(13, "deleted", Absent), PrepareAnswer::Prepared);
    assert_eq!(check(14, "never", Exists), failed("never", Exists));
    assert_eq!(check(15, "never", Absent), PrepareAnswer::Prepared);
}

#[test]
fn rule_d_prime_exists_refuses_a_foreign_delete_but_not_a_foreign_put() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [put("updated"), put("deleted")]);
    let other = head(2, 6, ELSEWHERE);
    partition.prepare(prepare(other.clone(), [put("updated"), delete("deleted")]));
    let updated = prepare_with(&mut partition, 10, condition("updated", Exists));
    assert_eq!(updated, PrepareAnswer::Prepared);
    let deleted = prepare_with(&mut partition, 11, condition("deleted", Exists));
    let refusal = Refusal::Intent {
        key: key("deleted"),
        holder: other,
    };
    assert_eq!(deleted, PrepareAnswer::Refused(refusal));
}

#[test]
fn rule_d_prime_absent_refuses_a_foreign_put_but_not_a_foreign_delete() {
    let mut partition = Partition::default();
    let other = head(2, 6, ELSEWHERE);
    partition.prepare(prepare(other.clone(), [put("created"), delete("nothing")]));
    let nothing = prepare_with(&mut partition, 10, condition("nothing", Absent));
    assert_eq!(nothing, PrepareAnswer::Prepared);
    let created = prepare_with(&mut partition, 11, condition("created", Absent));
    let refusal = Refusal::Intent {
        key: key("created"),
        holder: other,
    };
    assert_eq!(created, PrepareAnswer::Refused(refusal));
}

#[test]
fn a_false_condition_under_an_intent_is_no_final_no() {
    // The creation may be committed and acknowledged while its intent is not resolved yet.
    let mut partition = Partition::default();
    let creator = head(2, 6, ELSEWHERE);
    partition.prepare(prepare(creator.clone(), [put("created")]));
    let answer = prepare_with(&mut partition, 10, condition("created", Exists));
    let refusal = Refusal::Intent {
        key: key("created"),
        holder: creator,
    };
    assert_eq!(answer, PrepareAnswer::Refused(refusal));
    partition.resolve(2, Decided::Committed(ts(8)));
    let answer = prepare_with(&mut partition, 11, condition("created", Exists));
    assert_eq!(answer, PrepareAnswer::Prepared);
}

#[test]
fn a_leader_foresees_what_the_state_machine_would_refuse() {
    let mut partition = Partition::default();
    let creator = head(2, 6, ELSEWHERE);
    partition.prepare(prepare(creator.clone(), [put("created")]));
    let exists = [condition("created", Exists)];
    let foresee = |partition: &Partition| {
        let writes = [put("edge")].into();
        foresee(&partition.store, &head(3, 9, "edge"), &writes, &[], &exists).unwrap()
    };
    let in_the_way = Refusal::Intent {
        key: key("created"),
        holder: creator,
    };
    assert_eq!(foresee(&partition), Some(in_the_way));
    partition.resolve(2, Decided::Committed(ts(8)));
    assert_eq!(foresee(&partition), None);
}

#[test]
fn a_condition_on_an_own_intent_is_no_conflict() {
    let mut partition = Partition::default();
    let mut command = prepare(head(1, 4, "k"), [put("k")]);
    command.conditions = vec![condition("k", Absent)];
    partition.prepare(command.clone());
    // Not the duplicate's short cut: one key is new.
    command.writes.extend([put("l")]);
    assert_eq!(partition.prepare(command), PrepareAnswer::Prepared);
}

#[test]
fn rule_d_triple_prime_a_one_phase_condition_is_not_met_from_the_future() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [put("node")]);
    let mut edge = one_phase(head(2, 3, ""), 4, [put("edge")]);
    edge.conditions = vec![condition("node", Exists)];
    let refusal = Refusal::ConditionConflict { key: key("node") };
    assert_eq!(partition.one_phase(edge), OnePhaseAnswer::Refused(refusal));
    let mut later = one_phase(head(3, 3, ""), 6, [put("edge")]);
    later.conditions = vec![condition("node", Exists)];
    assert_eq!(partition.one_phase(later), OnePhaseAnswer::Committed(ts(6)));
}
