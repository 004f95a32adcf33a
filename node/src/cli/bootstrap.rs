//! `kotoba bootstrap`: founds a cluster of processes whose disks are empty. Under Kubernetes the operator does this.

use std::io::Write;

use clap::Args;
use kotoba_proto::v1::{Assignment, BootstrapRequest, FirstMember, WhoAmIResponse};
use uuid::Uuid;

use super::admin::Admin;
use super::output::{Output, Record};
use super::{CliError, ClientArgs};

/// Found a cluster: give the peer addresses of all its first members, once
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kotoba bootstrap 127.0.0.1:7600 127.0.0.1:7601 127.0.0.1:7602
  kotoba bootstrap a:7600 b:7600 c:7600 --cluster-id prod --partitions 64

If it fails half-way, run it again with the same --cluster-id: it is idempotent.")]
pub struct BootstrapArgs {
    /// Peer addresses of the first members; the first one is told to begin
    #[arg(required = true, value_name = "PEER_ADDR")]
    addresses: Vec<String>,
    /// Name of the new cluster; default: a random one
    #[arg(long)]
    cluster_id: Option<String>,
    /// Replicas of each partition; default 3, or the number of members where that is fewer
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    replication_factor: u32,
    /// Number of partitions, fixed for ever; default 16, from nine members on 64
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    partitions: u32,
}

pub(super) async fn run(
    args: BootstrapArgs,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let mut members = Vec::new();
    for address in &args.addresses {
        let answer = Admin::new(address, client.deadline())?.who_am_i().await?;
        members.push((address.as_str(), answer));
    }
    let cluster_id = args.cluster_id.unwrap_or_else(|| Uuid::new_v4().to_string());
    let request = BootstrapRequest {
        members: first_members(&members, &cluster_id)?,
        cluster_id,
        replication_factor: args.replication_factor,
        partition_count: args.partitions,
    };
    let answer = Admin::new(&args.addresses[0], client.deadline())?
        .bootstrap(request)
        .await?;
    let record = Record::new()
        .field("cluster_id", answer.cluster_id)
        .field("member_id", answer.member_id);
    Ok(output.record(record)?)
}

/// Refuses what cannot become one cluster: a disk named twice, or one that belongs to another cluster.
fn first_members(members: &[(&str, WhoAmIResponse)], cluster_id: &str) -> Result<Vec<FirstMember>, CliError> {
    for (index, (address, answer)) in members.iter().enumerate() {
        if answer.assignment() == Assignment::Assigned && answer.cluster_id != cluster_id {
            let message = format!(
                "{address} already belongs to cluster {}; its disk is not empty",
                answer.cluster_id
            );
            return Err(CliError::Refused(message));
        }
        if let Some((first, _)) = members[..index]
            .iter()
            .find(|(_, other)| other.disk_id == answer.disk_id)
        {
            return Err(CliError::Usage(format!("{first} and {address} are the same process")));
        }
    }
    let first_member = |(_, answer): &(&str, WhoAmIResponse)| FirstMember {
        peer_address: answer.peer_address.clone(),
        client_address: answer.client_address.clone(),
        zone: answer.zone.clone(),
        disk_id: answer.disk_id.clone(),
        name: answer.name.clone(),
    };
    Ok(members.iter().map(first_member).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(disk_id: &str, assignment: Assignment) -> WhoAmIResponse {
        WhoAmIResponse {
            assignment: assignment.into(),
            disk_id: disk_id.into(),
            cluster_id: if assignment == Assignment::Assigned {
                "old".into()
            } else {
                String::new()
            },
            peer_address: format!("{disk_id}:7600"),
            ..WhoAmIResponse::default()
        }
    }

    #[test]
    fn empty_disks_become_first_members_under_their_advertised_addresses() {
        let members = [("127.0.0.1:1", process("a", Assignment::Unassigned))];
        let first = first_members(&members, "new").unwrap();
        assert_eq!(first[0].peer_address, "a:7600");
    }

    #[test]
    fn a_disk_of_another_cluster_is_refused() {
        let members = [("x:1", process("a", Assignment::Assigned))];
        assert!(matches!(first_members(&members, "new"), Err(CliError::Refused(_))));
        assert!(first_members(&members, "old").is_ok());
    }

    #[test]
    fn the_same_process_twice_is_a_usage_error() {
        let members = [
            ("x:1", process("a", Assignment::Unassigned)),
            ("y:1", process("a", Assignment::Unassigned)),
        ];
        let text = first_members(&members, "new").unwrap_err().to_string();
        assert_eq!(text, "x:1 and y:1 are the same process");
    }
}
