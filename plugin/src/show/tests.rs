use super::*;
use crate::args::Format;
use crate::output;

fn cluster() -> KotobaCluster {
    serde_json::from_value(json!({
        "apiVersion": "kotoba.dev/v1alpha1",
        "kind": "KotobaCluster",
        "metadata": { "name": "g", "namespace": "graphs", "generation": 2 },
        "spec": { "replicas": 3 },
        "status": {
            "observedGeneration": 2,
            "readyReplicas": 2,
            "leader": "g-0",
            "members": [
                { "slot": "g-0", "memberId": 1, "state": "Active", "health": "Alive", "zone": "a", "replicas": 16, "leaders": 9 },
                { "slot": "g-1", "state": "Pending", "health": "Unknown" },
            ],
            "partitions": { "total": 16, "underReplicated": 4, "noLeader": 0, "moving": 1, "quorumCritical": [3, 5] },
            "operation": {
                "type": "ScaleOut", "phase": "JoinMember", "startedAt": "2026-01-02T03:04:05Z",
                "progress": { "done": 1, "total": 2 }, "progressedAt": "2026-01-02T03:05:05Z",
                "blockedBy": { "predicate": "MembersDown", "message": "g-1 is down" },
            },
            "conditions": [{
                "type": "Ready", "status": "False", "reason": "Degraded", "message": "g-1\u{1b}[2J is down",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            }],
        },
    }))
    .unwrap()
}

fn text(print: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    print(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_status_is_a_few_lines_for_people() {
    let shown = text(|out| output::pairs(out, Format::Table, &summary(&cluster())));
    assert_eq!(
        shown,
        "\
Cluster:     graphs/g
Ready:       False (Degraded): g-1\\u{1b}[2J is down
Members:     2 of 3 serve
Leader:      g-0
Partitions:  16: 4 under-replicated, 2 one loss from losing their majority, 1 moves open
Operation:   ScaleOut, at JoinMember, since 2026-01-02T03:04:05Z, 1 of 2 done, last moved 2026-01-02T03:05:05Z
Waits for:   MembersDown: g-1 is down
"
    );
}

#[test]
fn the_status_is_the_apis_own_for_programs() {
    let whole = whole(&cluster());
    assert_eq!(whole["name"], "g");
    assert_eq!(whole["status"]["operation"]["blockedBy"]["predicate"], "MembersDown");
}

#[test]
fn members_are_a_table_for_people_and_a_line_each_for_programs() {
    let members = members(&cluster());
    assert_eq!(
        text(|out| output::records(out, Format::Table, &members)),
        "\
SLOT  ID  STATE    HEALTH   ZONE  REPLICAS  LEADERS  META_LEADER
g-0   1   Active   Alive    a     16        9        yes
g-1       Pending  Unknown        0         0
"
    );
    let lines = text(|out| output::records(out, Format::Json, &members));
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["slot"], &first["id"]), (&json!("g-0"), &json!(1)));
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn partitions_are_told_in_numbers() {
    let shown = text(|out| output::pairs(out, Format::Json, &partitions(&cluster())));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["quorum_critical"], json!([3, 5]));
    assert_eq!(shown["under_replicated"], 4);
}

#[test]
fn a_cluster_without_a_status_is_shown_all_the_same() {
    let mut cluster = cluster();
    cluster.status = None;
    let shown = text(|out| output::pairs(out, Format::Table, &summary(&cluster)));
    assert_eq!(shown, "Cluster:  graphs/g\nMembers:  0 of 3 serve\n");
    assert_eq!(text(|out| output::records(out, Format::Table, &members(&cluster))), "");
}
