//! `kotoba who-am-i`: what one process is, whatever state it is in.

use std::io::Write;

use clap::Args;
use kotoba_proto::v1::{Assignment, WhoAmIResponse};

use super::admin::Admin;
use super::output::{Output, Record};
use super::{CliError, ClientArgs};

/// Ask one process, by its peer address, who it is and whether it belongs to a cluster
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kotoba who-am-i 127.0.0.1:7600")]
pub struct WhoAmIArgs {
    /// Peer address of the process
    #[arg(value_name = "PEER_ADDR")]
    address: String,
}

pub(super) async fn run(
    args: WhoAmIArgs,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let answer = Admin::new(&args.address, client.deadline())?.who_am_i().await?;
    Ok(output.record(record(&answer))?)
}

fn record(answer: &WhoAmIResponse) -> Record {
    Record::new()
        .field("assignment", assignment(answer.assignment()))
        .field("ready", answer.ready)
        .field("cluster_id", answer.cluster_id.as_str())
        .field("member_id", answer.member_id)
        .field("name", answer.name.as_str())
        .field("zone", answer.zone.as_str())
        .field("client_address", answer.client_address.as_str())
        .field("peer_address", answer.peer_address.as_str())
        .field("disk_id", answer.disk_id.as_str())
        .field("version", answer.version.as_str())
}

fn assignment(assignment: Assignment) -> &'static str {
    match assignment {
        Assignment::Unspecified => "unknown",
        Assignment::Unassigned => "unassigned",
        Assignment::Assigned => "assigned",
    }
}
