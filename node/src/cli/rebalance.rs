//! `kotoba rebalance`: spreads the partitions over the members as the ring wants them.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use kotoba_proto::v1::{GetStatusResponse, MemberHealth, MemberState, PlannedMove, RebalanceRequest};
use tokio::time::sleep;

use super::admin::Admin;
use super::output::{Output, Record};
use super::progress::Bar;
use super::status::balance_line;
use super::{CliError, ClientArgs};

/// Often enough for a person who watches.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Start moving partitions to where they belong; watch it with --wait, or with `kotoba status`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kotoba rebalance --dry-run
  kotoba rebalance
  kotoba rebalance --wait                              until everything is where it belongs")]
pub struct RebalanceArgs {
    /// Only say what would move
    #[arg(long)]
    dry_run: bool,
    /// Come back when nothing is left to move
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Peer address to ask; default: the leader's, as `kotoba status` knows it
    #[arg(long, value_name = "PEER_ADDR")]
    peer: Option<String>,
}

pub(super) async fn run(
    args: RebalanceArgs,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let peer = match args.peer {
        Some(peer) => peer,
        None => peer_to_ask(&client.connect()?.get_status().await?)?,
    };
    let request = RebalanceRequest { dry_run: args.dry_run };
    let answer = Admin::new(&peer, client.deadline())?.rebalance(request).await?;
    if answer.moves.is_empty() {
        eprintln!("kotoba: nothing to move");
    }
    if args.wait {
        wait_until_balanced(client, output).await?;
    }
    Ok(output.records(answer.moves.iter().map(record))?)
}

/// A member that is asked may go away meanwhile, and a new leader be needed; the moves go on.
async fn wait_until_balanced(client: &ClientArgs, output: &Output<impl Write>) -> Result<(), CliError> {
    let cluster = client.connect_with_patience(client.deadline())?;
    let bar = Bar::start(output.format, 0);
    loop {
        let status = cluster.get_status().await?;
        let rebalance = status.rebalance.clone().unwrap_or_default();
        if status.linearizable && rebalance.balanced {
            return Ok(());
        }
        bar.set_total(rebalance.moves_planned.into());
        bar.advance(rebalance.moves_finished, || balance_line(&status));
        sleep(ASK_EVERY).await;
    }
}

/// The leader's peer address, else that of any member that is well.
pub(super) fn peer_to_ask(status: &GetStatusResponse) -> Result<String, CliError> {
    let is_well = |health, state| health == MemberHealth::Alive && state == MemberState::Active;
    let leader = status
        .members
        .iter()
        .find(|member| member.id == status.leader_member_id);
    let other = || {
        status
            .members
            .iter()
            .find(|member| is_well(member.health(), member.state()))
    };
    match leader.or_else(other) {
        Some(member) => Ok(member.peer_address.clone()),
        None => Err(CliError::Refused(
            "no member is alive and active; see `kotoba health`".into(),
        )),
    }
}

fn record(planned: &PlannedMove) -> Record {
    Record::new()
        .field("partition", planned.partition)
        .field("from_member_id", planned.from_member_id)
        .field("to_member_id", planned.to_member_id)
}

#[cfg(test)]
mod tests {
    use kotoba_proto::v1::MemberStatus;

    use super::*;

    fn member(id: u64, health: MemberHealth) -> MemberStatus {
        MemberStatus {
            id,
            peer_address: format!("m{id}:7600"),
            health: health.into(),
            state: MemberState::Active.into(),
            ..MemberStatus::default()
        }
    }

    #[test]
    fn the_leader_is_asked_and_without_one_a_member_that_is_well() {
        let mut status = GetStatusResponse {
            leader_member_id: 3,
            members: vec![
                member(1, MemberHealth::Failed),
                member(2, MemberHealth::Alive),
                member(3, MemberHealth::Alive),
            ],
            ..GetStatusResponse::default()
        };
        assert_eq!(peer_to_ask(&status).unwrap(), "m3:7600");
        status.leader_member_id = 0;
        assert_eq!(peer_to_ask(&status).unwrap(), "m2:7600");
        status.members.truncate(1);
        assert!(peer_to_ask(&status).is_err());
    }
}
