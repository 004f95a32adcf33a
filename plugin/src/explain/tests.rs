use serde_json::{Value, json};

use super::*;

fn cluster(status: Value) -> KotobaCluster {
    serde_json::from_value(json!({
        "apiVersion": "kotoba.dev/v1alpha1",
        "kind": "KotobaCluster",
        "metadata": { "name": "g", "generation": 2 },
        "spec": {},
        "status": status,
    }))
    .unwrap()
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    })
}

fn blocked(predicate: &str) -> KotobaCluster {
    cluster(json!({
        "observedGeneration": 2,
        "operation": {
            "type": "ScaleOut", "phase": "JoinMember", "startedAt": "2026-01-02T03:04:05Z",
            "blockedBy": { "predicate": predicate, "message": "g-1 is down" },
        },
    }))
}

fn says(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.says.as_str()).collect()
}

#[test]
fn a_cluster_that_is_fine_is_told_to_be_fine() {
    let fine = cluster(json!({
        "observedGeneration": 2,
        "conditions": [
            condition("Ready", "True", "AllGood", "3 members serve"),
            condition("Degraded", "False", "None", ""),
        ],
    }));
    let findings = explain(&fine, &[]);
    assert_eq!(
        says(&findings),
        ["It is fine: ready, nothing is being done, and nothing is waited for."]
    );
}

#[test]
fn a_wait_is_told_with_its_reason_and_what_to_do() {
    let findings = explain(&blocked("MembersDown"), &[]);
    assert_eq!(
        says(&findings),
        [
            "ScaleOut is under way, at JoinMember; it waits, because members are down, and without them this could cost a \
          majority: g-1 is down"
        ]
    );
    assert!(findings[0].to_do.as_ref().unwrap().contains("kubectl describe pod"));
}

#[test]
fn an_operation_that_does_not_move_is_told_with_how_far_it_is() {
    let stalled = cluster(json!({
        "observedGeneration": 2,
        "operation": {
            "type": "ScaleIn", "phase": "DrainMember", "startedAt": "2026-01-02T03:04:05Z",
            "progress": { "done": 3, "total": 18 }, "progressedAt": "2026-01-02T03:14:05Z",
        },
        "conditions": [condition("Progressing", "True", "Stalled", "nothing has moved since 2026-01-02T03:14:05Z")],
    }));
    let findings = explain(&stalled, &[]);
    assert_eq!(
        says(&findings),
        [
            "ScaleIn is under way, at DrainMember, 3 of 18 done; it waits for nobody.",
            "It is changing (Stalled): nothing has moved since 2026-01-02T03:14:05Z",
        ]
    );
    assert!(findings[1].to_do.is_some());
}

/// That every rule has a text is seen to by the compiler; that it is found by its name, and says what to do, here.
#[test]
fn every_predicate_has_an_explanation() {
    for predicate in Predicate::ALL {
        let findings = explain(&blocked(predicate.as_str()), &[]);
        assert!(findings[0].says.contains("it waits, because"), "{predicate:?}");
        let to_do = findings[0].to_do.is_some();
        assert!(
            to_do || !predicate.needs_person(),
            "{predicate:?} needs a person, who is not told what to do"
        );
    }
}

#[test]
fn a_rule_of_a_newer_operator_is_told_by_its_name() {
    let findings = explain(&blocked("FullMoon"), &[]);
    assert!(
        findings[0].says.ends_with("it waits for FullMoon: g-1 is down"),
        "{findings:?}"
    );
    let findings = explain(&blocked("StepFailed"), &[]);
    assert!(findings[0].says.contains("its last step failed"), "{findings:?}");
}

#[test]
fn conditions_are_told_where_they_are_not_as_one_wants_them() {
    let troubled = cluster(json!({
        "observedGeneration": 2,
        "conditions": [
            condition("Ready", "False", "Degraded", "g-1 is down"),
            condition("Available", "True", "QuorumReduced", ""),
            condition("QuorumAtRisk", "True", "QuorumCritical", "3 partitions"),
            condition("Balanced", "Unknown", "NotObserved", "no member answers"),
            condition("VolumesHealthy", "Unknown", "NotObserved", "no member answers"),
        ],
    }));
    assert_eq!(
        says(&explain(&troubled, &[])),
        [
            "It is not ready (Degraded): g-1 is down",
            "It is one loss from losing a majority (QuorumCritical): 3 partitions",
            "It is not known whether it is balanced, or healthy in its disks: no member answers",
        ]
    );
}

#[test]
fn every_condition_is_told_when_it_is_not_known() {
    let all = ConditionType::ALL.iter().enumerate();
    let all: Vec<Value> = all
        .map(|(number, type_)| condition(type_.as_str(), "Unknown", "NotObserved", &format!("cause {number}")))
        .collect();
    let unknown = cluster(json!({ "observedGeneration": 2, "conditions": all }));
    assert_eq!(explain(&unknown, &[]).len(), ConditionType::ALL.len());
}

#[test]
fn a_resource_that_no_operator_saw_leads_to_the_operator() {
    for cluster in [cluster(Value::Null), cluster(json!({ "observedGeneration": 1 }))] {
        let findings = explain(&cluster, &[]);
        assert_eq!(findings[0].to_do.as_deref(), Some(advice::OPERATOR));
    }
}

#[test]
fn the_newest_warnings_come_first_and_are_few() {
    let told = |warning, number: usize| Told {
        warning,
        minutes: Some(20 - number as u64),
        reason: "MemberLost".into(),
        note: format!("warning {number}"),
    };
    let events: Vec<Told> = (0..20).map(|number| told(number % 2 == 0, number)).collect();
    let findings = explain(&blocked("MovesOpen"), &events);
    assert_eq!(findings.len(), 1 + WARNINGS_LIMIT);
    assert_eq!(findings[1].says, "It was warned 2 minutes ago (MemberLost): warning 18");
}
