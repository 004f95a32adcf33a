//! Members on their way out, as a person or an operator asks for it: drained, kept after all, or removed.

use std::sync::Arc;
use std::time::Duration;

use kotoba_proto::error::status;
use kotoba_proto::v1::error_detail::Kind;
use kotoba_proto::v1::{MemberProgress, MemberStatus};
use kotoba_state::ids::MemberId;
use kotoba_state::meta::{Answer, Command};
use tonic::Status;

use super::status as cluster_status;
use crate::member::running::Running;

/// The request is logged by then, or it is asked again.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

/// Logs a command about a member that exists.
pub async fn propose(running: &Running, command: &Command) -> Result<(), Status> {
    match running.meta_client.propose(command, LOG_TIMEOUT).await {
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::Refused(reason)) => Err(status(kind_of_refusal(running, command), reason)),
        Ok(other) => Err(Status::internal(format!("{command:?} was answered {other:?}"))),
        Err(error) => Err(status(Kind::NoLeader, error.to_string())),
    }
}

fn kind_of_refusal(running: &Running, command: &Command) -> Kind {
    let known = |member: &MemberId| running.catalogue.get().members.contains_key(member);
    match command {
        Command::Drain { member, .. } | Command::CancelDrain { member } | Command::AskRemoval { member }
            if !known(member) =>
        {
            Kind::NotFound
        }
        _ => Kind::Refused,
    }
}

/// How far a member is, from the leader where that can be reached.
pub async fn progress(running: &Arc<Running>, id: MemberId) -> Result<MemberProgress, Status> {
    let seen = cluster_status::gather(running).await;
    let member = seen.members.iter().find(|member| member.id == id.0);
    let member = member.ok_or_else(|| status(Kind::NotFound, format!("there is no member {id}")))?;
    Ok(of_status(member, seen.linearizable))
}

fn of_status(member: &MemberStatus, linearizable: bool) -> MemberProgress {
    MemberProgress {
        member_id: member.id,
        state: member.state,
        replicas: member.replicas,
        leaders: member.leaders,
        meta_voter: member.meta_voter,
        drained: member.drained,
        waiting_for: member.waiting_for.clone(),
        linearizable,
    }
}
