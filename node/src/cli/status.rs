//! `kotoba status`: the whole cluster on one screen.

use std::io::Write;

use clap::Args;
use kotoba_proto::v1::{GetStatusResponse, MoveStatus, PartitionStatus, ReplicaRole, ReplicaStatus};
use serde_json::{Value, json};

use super::output::{Format, Output, Record};
use super::{CliError, ClientArgs, member, table};

/// Show members, replication and moves
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kotoba status
  kotoba status --partitions
  kotoba status -o json | jq .replication")]
pub struct StatusArgs {
    /// Also list every partition with its replicas
    #[arg(long)]
    partitions: bool,
}

pub(super) async fn run(
    args: StatusArgs,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let status = client.connect()?.get_status().await?;
    Ok(print(&status, args.partitions, output)?)
}

fn print(status: &GetStatusResponse, partitions: bool, output: &mut Output<impl Write>) -> std::io::Result<()> {
    if output.format == Format::Json {
        return output.either(&to_json(status), "");
    }
    output.either(&Value::Null, &table::pairs(summary(status)))?;
    let members = status
        .members
        .iter()
        .map(|one| member::record(one, status.leader_member_id));
    section("Members", members, output)?;
    if partitions {
        section("Partitions", status.partitions.iter().map(partition_record), output)?;
    }
    section("Moves", status.moves.iter().map(move_record), output)
}

fn section(title: &str, records: impl Iterator<Item = Record>, output: &mut Output<impl Write>) -> std::io::Result<()> {
    let mut records = records.peekable();
    if records.peek().is_none() {
        return Ok(());
    }
    output.either(&Value::Null, &format!("\n{title}\n"))?;
    output.records(records)
}

fn summary(status: &GetStatusResponse) -> Vec<(&'static str, String)> {
    let leader = match status.leader_member_id {
        0 => "none known".to_owned(),
        id => format!("member {id}"),
    };
    let freshness = match status.linearizable {
        true => "",
        false => " (as the answering member last heard; the leader could not be asked)",
    };
    vec![
        ("Cluster", status.cluster_id.clone()),
        ("Version", status.version.clone()),
        ("Leader", leader + freshness),
        ("Members", members_line(status)),
        ("Replication", replication_line(status)),
        ("Balance", balance_line(status)),
    ]
}

fn members_line(status: &GetStatusResponse) -> String {
    let stats = status.membership.unwrap_or_default();
    format!(
        "{} in all, {} active, {} suspected, {} failed",
        stats.total_nodes, stats.active_nodes, stats.suspected_nodes, stats.failed_nodes
    )
}

fn replication_line(status: &GetStatusResponse) -> String {
    let stats = status.membership.unwrap_or_default();
    let shape = format!(
        "{} partitions, {} replicas each",
        stats.partition_count, stats.replication_factor
    );
    let health = status.replication.clone().unwrap_or_default();
    let critical = health.quorum_critical_partitions.len();
    let troubles = [
        (health.leaderless_partitions as usize, "without leader"),
        (health.under_replicated_partitions as usize, "under-replicated"),
        (critical, "one loss from losing their majority"),
    ];
    let troubles: Vec<_> = troubles
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, trouble)| format!("{count} {trouble}"))
        .collect();
    match (health.is_healthy, troubles.is_empty()) {
        (true, true) => format!("healthy; {shape}"),
        (false, true) => format!("not healthy (see `kotoba health`); {shape}"),
        (_, false) => format!("{}; {shape}", troubles.join(", ")),
    }
}

pub(super) fn balance_line(status: &GetStatusResponse) -> String {
    let rebalance = status.rebalance.clone().unwrap_or_default();
    if rebalance.balanced {
        return "balanced".to_owned();
    }
    let moves = format!(
        "{} moves open, {} planned",
        rebalance.moves_open, rebalance.moves_planned
    );
    match rebalance.waiting_for.as_str() {
        "" => moves,
        reason => format!("{moves}; waiting for {reason}"),
    }
}

fn partition_record(partition: &PartitionStatus) -> Record {
    let replicas: Vec<_> = partition.replicas.iter().map(replica_json).collect();
    let places: Vec<_> = partition.replicas.iter().map(replica_text).collect();
    Record::new()
        .field("id", partition.id)
        .field("leader_member_id", partition.leader_member_id)
        .field("term", partition.term)
        .field("last_log_index", partition.last_log_index)
        .field("voters_in_sync", partition.voters_in_sync)
        .field_as("replicas", replicas, places.join(" "))
}

fn replica_json(replica: &ReplicaStatus) -> Value {
    json!({
        "replica_id": replica.replica_id,
        "member_id": replica.member_id,
        "role": role(replica.role()),
        "diverged": replica.diverged,
        "rebuilding": replica.rebuilding,
    })
}

/// A voter is just its member; any other role is the exception and is named.
fn replica_text(replica: &ReplicaStatus) -> String {
    if replica.diverged {
        return format!("{}(diverged)", replica.member_id);
    }
    match replica.role() {
        ReplicaRole::Voter => replica.member_id.to_string(),
        other @ (ReplicaRole::Unspecified | ReplicaRole::Learner | ReplicaRole::Retiring) => {
            format!("{}({})", replica.member_id, role(other))
        }
    }
}

fn role(role: ReplicaRole) -> &'static str {
    match role {
        ReplicaRole::Unspecified => "unknown",
        ReplicaRole::Learner => "learner",
        ReplicaRole::Voter => "voter",
        ReplicaRole::Retiring => "retiring",
    }
}

fn move_record(one: &MoveStatus) -> Record {
    Record::new()
        .field("id", one.id)
        .field("partition", one.partition)
        .field("from_member_id", one.from_member_id)
        .field("to_member_id", one.to_member_id)
        .field("step", one.step.as_str())
        .field("lag_entries", one.lag_entries)
}

fn to_json(status: &GetStatusResponse) -> Value {
    let stats = status.membership.unwrap_or_default();
    let health = status.replication.clone().unwrap_or_default();
    let rebalance = status.rebalance.clone().unwrap_or_default();
    let members = status
        .members
        .iter()
        .map(|one| member::record(one, status.leader_member_id).to_json());
    json!({
        "cluster_id": status.cluster_id,
        "member_id": status.member_id,
        "leader_member_id": status.leader_member_id,
        "linearizable": status.linearizable,
        "version": status.version,
        "meta_membership_log_id": status.meta_membership_log_id,
        "membership": {
            "total_nodes": stats.total_nodes,
            "active_nodes": stats.active_nodes,
            "suspected_nodes": stats.suspected_nodes,
            "failed_nodes": stats.failed_nodes,
            "replication_factor": stats.replication_factor,
            "partition_count": stats.partition_count,
        },
        "replication": {
            "is_healthy": health.is_healthy,
            "failed_nodes_count": health.failed_nodes_count,
            "under_replicated_partitions": health.under_replicated_partitions,
            "leaderless_partitions": health.leaderless_partitions,
            "quorum_critical_partitions": health.quorum_critical_partitions,
            "max_lag_entries": health.max_lag_entries,
        },
        "rebalance": {
            "balanced": rebalance.balanced,
            "moves_open": rebalance.moves_open,
            "moves_planned": rebalance.moves_planned,
            "moves_finished": rebalance.moves_finished,
            "waiting_for": rebalance.waiting_for,
        },
        "members": members.collect::<Value>(),
        "partitions": status.partitions.iter().map(|one| partition_record(one).to_json()).collect::<Value>(),
        "moves": status.moves.iter().map(|one| move_record(one).to_json()).collect::<Value>(),
    })
}

#[cfg(test)]
mod tests {
    use kotoba_proto::v1::{ClusterStats, MemberHealth, MemberState, MemberStatus, RebalanceStatus, ReplicationHealth};

    use super::*;
    use crate::cli::output::printed;

    fn status() -> GetStatusResponse {
        let member = |id: u64| MemberStatus {
            id,
            peer_address: format!("m{id}:7600"),
            client_address: format!("m{id}:7700"),
            state: MemberState::Active.into(),
            health: MemberHealth::Alive.into(),
            meta_voter: true,
            replicas: 16,
            version: "0.1.0".into(),
            ..MemberStatus::default()
        };
        GetStatusResponse {
            cluster_id: "c1".into(),
            leader_member_id: 2,
            linearizable: true,
            version: "0.1.0".into(),
            membership: Some(ClusterStats {
                total_nodes: 2,
                active_nodes: 2,
                replication_factor: 2,
                partition_count: 16,
                ..ClusterStats::default()
            }),
            replication: Some(ReplicationHealth {
                is_healthy: true,
                ..ReplicationHealth::default()
            }),
            rebalance: Some(RebalanceStatus {
                balanced: true,
                ..RebalanceStatus::default()
            }),
            members: vec![member(1), member(2)],
            partitions: vec![PartitionStatus {
                id: 0,
                leader_member_id: 1,
                term: 3,
                last_log_index: 12,
                voters_in_sync: 1,
                replicas: vec![
                    ReplicaStatus {
                        replica_id: 1,
                        member_id: 1,
                        role: ReplicaRole::Voter.into(),
                        ..ReplicaStatus::default()
                    },
                    ReplicaStatus {
                        replica_id: 2,
                        member_id: 2,
                        role: ReplicaRole::Learner.into(),
                        ..ReplicaStatus::default()
                    },
                ],
            }],
            ..GetStatusResponse::default()
        }
    }

    #[test]
    fn a_healthy_cluster_fits_one_screen() {
        let text = printed(Format::Table, |output| print(&status(), false, output));
        let expected = "\
Cluster:      c1
Version:      0.1.0
Leader:       member 2
Members:      2 in all, 2 active, 0 suspected, 0 failed
Replication:  healthy; 16 partitions, 2 replicas each
Balance:      balanced

Members
ID  NAME  STATE   HEALTH  ZONE  REPLICAS  LEADERS  META_VOTER  CLIENT_ADDRESS  PEER_ADDRESS  DISK_AVAILABLE_BYTES  DISK_FULL  VERSION  WAITING_FOR
1         active  alive         16        0        voter       m1:7700         m1:7600       unknown               false      0.1.0
2         active  alive         16        0        leader      m2:7700         m2:7600       unknown               false      0.1.0
";
        assert_eq!(text, expected);
    }

    #[test]
    fn partitions_are_shown_when_asked_for() {
        let text = printed(Format::Table, |output| print(&status(), true, output));
        assert!(text.contains("\nPartitions\nID  LEADER_MEMBER_ID"), "{text}");
        assert!(text.contains("1 2(learner)"), "{text}");
    }

    #[test]
    fn troubles_are_named_in_the_summary() {
        let mut status = status();
        status.linearizable = false;
        status.leader_member_id = 0;
        status.replication = Some(ReplicationHealth {
            leaderless_partitions: 2,
            quorum_critical_partitions: vec![4],
            ..ReplicationHealth::default()
        });
        status.rebalance = Some(RebalanceStatus {
            moves_open: 1,
            waiting_for: "member 3 to answer".into(),
            ..RebalanceStatus::default()
        });
        let text = table::pairs(summary(&status));
        for part in [
            "none known (as",
            "2 without leader, 1 one loss",
            "1 moves open, 0 planned; waiting for member 3",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn json_holds_everything_in_one_line() {
        let text = printed(Format::Json, |output| print(&status(), false, output));
        assert_eq!(text.lines().count(), 1);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["partitions"][0]["replicas"][1]["role"], "learner");
        assert_eq!(json["members"][1]["meta_voter"], true);
    }
}
