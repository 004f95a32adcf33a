//! `kotoba member …`: the processes that make up the cluster.

mod leaving;

use std::io::Write;

use clap::{Args, Subcommand};
use kotoba_proto::v1::{MemberHealth, MemberState, MemberStatus};

use super::output::{Output, Record};
use super::{CliError, ClientArgs};
use crate::space::Mib;

/// Look at the members of the cluster, and let them go
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// List all members with their state, health and load
    #[command(after_help = "Examples:
  kotoba member list
  kotoba member list -o json | jq .client_address")]
    List(ListArgs),
    /// Move everything off a member, and show how far it is
    #[command(after_help = "Examples:
  kotoba member drain 4                                refused, with the reason, where the rest could not hold its replicas
  kotoba member drain 4 --no-wait                      ask for it; watch it with `kotoba member list`")]
    Drain(LeavingArgs),
    /// Keep a member that is being drained; what has moved stays where it is until the next rebalance
    #[command(after_help = "Examples:
  kotoba member cancel-drain 4
  kotoba rebalance                                     to give it replicas again")]
    CancelDrain(CancelDrainArgs),
    /// Remove a drained member, or a failed one on which nothing is left, for ever
    #[command(after_help = "Examples:
  kotoba member drain 4
  kotoba member remove 4")]
    Remove(LeavingArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {}

#[derive(Debug, Args)]
pub struct LeavingArgs {
    /// Id of the member, as `kotoba member list` shows it
    pub(super) member_id: u64,
    /// Only ask for it
    #[arg(long)]
    pub(super) no_wait: bool,
}

#[derive(Debug, Args)]
pub struct CancelDrainArgs {
    /// Id of the member, as `kotoba member list` shows it
    pub(super) member_id: u64,
}

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
        MemberCommand::Drain(args) => leaving::drain(&args, client, output).await,
        MemberCommand::CancelDrain(args) => leaving::cancel(args.member_id, client, output).await,
        MemberCommand::Remove(args) => leaving::remove(&args, client, output).await,
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
        .field_as("disk_available_bytes", member.disk_available_bytes, room(member))
        .field("disk_full", member.disk_full)
        .field("version", member.version.as_str())
        .field("waiting_for", member.waiting_for.as_str())
}

fn room(member: &MemberStatus) -> String {
    match (member.disk_available_bytes, member.disk_full) {
        (0, false) => "unknown".to_owned(),
        (bytes, false) => Mib(bytes).to_string(),
        (bytes, true) => format!("{}, full: takes no writes", Mib(bytes)),
    }
}

fn meta_role(member: &MemberStatus, leader_member_id: u64) -> &'static str {
    match (member.id == leader_member_id, member.meta_voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    }
}

pub(super) fn state(state: MemberState) -> &'static str {
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
