//! `kotoba member …`: the processes that make up the cluster.

use std::io::Write;

use clap::{Args, Subcommand};
use kotoba_proto::v1::{MemberHealth, MemberState, MemberStatus};

use super::output::{Output, Record};
use super::{CliError, ClientArgs};

/// Look at the members of the cluster
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// List all members with their state, health and load
    #[command(after_help = "Examples:
  kotoba member list
  kotoba member list -o json | jq .client_address")]
    List(ListArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {}

pub(super) async fn run(
    command: MemberCommand,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    match command {
        MemberCommand::List(ListArgs {}) => {
            let status = client.connect()?.get_status().await?;
            let records = status
                .members
                .iter()
                .map(|member| record(member, status.leader_member_id));
            Ok(output.records(records)?)
        }
    }
}

/// One member as people and programs see it.
pub(super) fn record(member: &MemberStatus, leader_member_id: u64) -> Record {
    Record::new()
        .field("id", member.id)
        .field("name", member.name.as_str())
        .field("state", state(member.state()))
        .field("health", health(member.health()))
        .field("zone", member.zone.as_str())
        .field("replicas", member.replicas)
        .field("leaders", member.leaders)
        .field_as("meta_voter", member.meta_voter, meta_role(member, leader_member_id))
        .field("client_address", member.client_address.as_str())
        .field("peer_address", member.peer_address.as_str())
        .field("version", member.version.as_str())
}

fn meta_role(member: &MemberStatus, leader_member_id: u64) -> &'static str {
    match (member.id == leader_member_id, member.meta_voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    }
}

fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Unspecified => "unknown",
        MemberState::Joining => "joining",
        MemberState::Active => "active",
        MemberState::Draining => "draining",
        MemberState::Removed => "removed",
    }
}

fn health(health: MemberHealth) -> &'static str {
    match health {
        MemberHealth::Unspecified => "unknown",
        MemberHealth::Alive => "alive",
        MemberHealth::Suspected => "suspected",
        MemberHealth::Failed => "failed",
    }
}
