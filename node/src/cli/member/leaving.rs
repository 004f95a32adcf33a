//! `kotoba member drain | cancel-drain | remove`: asks for it, then says how far it is until it is done.
//!
//! Asking is idempotent, so progress is learnt by asking again. A person may go away meanwhile; the cluster goes on.

use std::io::Write;
use std::time::Duration;

use kotoba_proto::v1::{MemberProgress, MemberState};
use kotoba_proto::{ClusterError, KotobaCluster};
use tokio::time::sleep;

use super::LeavingArgs;
use crate::cli::admin::Admin;
use crate::cli::output::{Output, Record};
use crate::cli::progress::Bar;
use crate::cli::rebalance::peer_to_ask;
use crate::cli::{CliError, ClientArgs};

/// Often enough for a person who watches.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Answers that fail in a row before the watching ends: the meta leader itself may be the one that is drained.
const FAILURES_BORNE: u32 = 20;

enum Request {
    Drain,
    Remove,
}

pub(super) async fn drain(
    args: &LeavingArgs,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    follow(&Request::Drain, args, client, output).await
}

pub(super) async fn remove(
    args: &LeavingArgs,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    follow(&Request::Remove, args, client, output).await
}

pub(super) async fn cancel(
    member_id: u64,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let progress = admin(&client.connect()?, client).await?.cancel_drain(member_id).await?;
    Ok(output.records([record(&progress)])?)
}

async fn follow(
    request: &Request,
    args: &LeavingArgs,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let cluster = client.connect()?;
    let mut progress = request.ask(&cluster, args.member_id, client).await?;
    let bar = Bar::start(output.format, left(&progress));
    let (mut most, mut failures) = (left(&progress), 0);
    while !args.no_wait && !request.is_done(&progress) {
        // Leaders may come before they go.
        most = most.max(left(&progress));
        bar.set_total(most);
        bar.advance(most - left(&progress), || line(&progress));
        sleep(ASK_EVERY).await;
        match request.ask(&cluster, args.member_id, client).await {
            Ok(newer) => (progress, failures) = (newer, 0),
            Err(error) if failures >= FAILURES_BORNE || is_final(&error) => return Err(error),
            Err(_) => failures += 1,
        }
    }
    Ok(output.records([record(&progress)])?)
}

impl Request {
    async fn ask(&self, cluster: &KotobaCluster, member: u64, client: &ClientArgs) -> Result<MemberProgress, CliError> {
        let admin = admin(cluster, client).await?;
        Ok(match self {
            Request::Drain => admin.drain(member).await?,
            Request::Remove => admin.remove_member(member).await?,
        })
    }

    fn is_done(&self, progress: &MemberProgress) -> bool {
        match self {
            Request::Drain => progress.drained,
            Request::Remove => progress.state() == MemberState::Removed,
        }
    }
}

/// Asked anew each time: the leader may be the one that goes.
async fn admin(cluster: &KotobaCluster, client: &ClientArgs) -> Result<Admin, CliError> {
    let peer = peer_to_ask(&cluster.get_status().await?)?;
    Ok(Admin::new(&peer, client.deadline())?)
}

fn is_final(error: &CliError) -> bool {
    matches!(
        error,
        CliError::Cluster(ClusterError::Refused(_) | ClusterError::NotFound(_) | ClusterError::Invalid(_))
    )
}

fn left(progress: &MemberProgress) -> u64 {
    u64::from(progress.replicas) + u64::from(progress.leaders)
}

fn line(progress: &MemberProgress) -> String {
    let waits = match progress.waiting_for.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!(
        "member {} is {}, {} replicas and {} leaders left{waits}",
        progress.member_id,
        super::state(progress.state()),
        progress.replicas,
        progress.leaders,
    )
}

fn record(progress: &MemberProgress) -> Record {
    Record::new()
        .field("id", progress.member_id)
        .field("state", super::state(progress.state()))
        .field("replicas", progress.replicas)
        .field("leaders", progress.leaders)
        .field("meta_voter", progress.meta_voter)
        .field("drained", progress.drained)
        .field("waiting_for", progress.waiting_for.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_done_when_nothing_is_left_and_a_removal_when_the_member_is_gone() {
        let mut progress = MemberProgress {
            member_id: 4,
            state: MemberState::Draining.into(),
            replicas: 2,
            waiting_for: "2 replicas are left".into(),
            ..MemberProgress::default()
        };
        assert!(!Request::Drain.is_done(&progress));
        assert_eq!(
            line(&progress),
            "member 4 is draining, 2 replicas and 0 leaders left: 2 replicas are left"
        );
        progress.drained = true;
        assert!(Request::Drain.is_done(&progress) && !Request::Remove.is_done(&progress));
        progress.state = MemberState::Removed.into();
        assert!(Request::Remove.is_done(&progress));
    }
}
