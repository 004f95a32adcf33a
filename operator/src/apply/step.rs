//! The one step of a plan, through the admin API or by a deletion. A step that fails is told in the status and decided
//! on anew.

use kotoba_proto::v1;
use kube::Client;

use super::deletions::{delete_claim, delete_pod, orphan_set};
use super::resize::resize_pod;
use super::{Applied, Done, Error, StepOutcome, write_status};
use crate::admin::{Admin, CallError};
use crate::crd::{Bootstrap, BootstrapState, KotobaClusterStatus};
use crate::names::ClusterName;
use crate::observe::{Observed, Process, target};
use crate::plan::{BootstrapStep, Candidate, JoinStep, MemberStep, Step};

/// Performs the step; gives how it went, and the resource version after the writes that it needed.
pub async fn perform(
    client: &Client,
    admin: &Admin,
    name: &ClusterName,
    observed: &Observed,
    version: String,
    step: Option<&Step>,
) -> Result<(Applied, String), Error> {
    let of_step = |step| Applied {
        step,
        ..Applied::default()
    };
    match step {
        None => Ok((Applied::default(), version)),
        Some(Step::Bootstrap(step)) => {
            let (record, version) = record(client, name, observed, version, step).await?;
            let applied = Applied {
                step: bootstrap(admin, name, observed, step).await,
                bootstrap: Some(record),
                ..Applied::default()
            };
            Ok((applied, version))
        }
        Some(Step::Join(step)) => {
            let version = match step.replaces {
                Some(member_id) => record_leaving(client, name, observed, version, member_id).await?,
                None => version,
            };
            Ok((of_step(join(admin, name, observed, step).await), version))
        }
        Some(Step::Rebalance { through }) => Ok((of_step(rebalance(admin, name, observed, *through).await), version)),
        Some(Step::Drain(step)) => {
            let version = record_leaving(client, name, observed, version, step.member_id).await?;
            Ok((of_step(drain(admin, name, observed, step).await), version))
        }
        Some(Step::CancelDrain(step)) => Ok((of_step(cancel_drain(admin, name, observed, step).await), version)),
        Some(Step::Remove(step)) => Ok((of_step(remove(admin, name, observed, step).await), version)),
        Some(Step::DeleteClaim(step)) => Ok((of_step(delete_claim(client, name, step).await?), version)),
        Some(Step::DeletePod(step)) => Ok((of_step(delete_pod(client, name, step).await?), version)),
        Some(Step::ResizePod(step)) => Ok((of_step(resize_pod(client, name, step).await?), version)),
        Some(Step::RecreateStatefulSet(step)) => Ok((of_step(orphan_set(client, name, step).await?), version)),
    }
}

/// Writes down that the founding begins, before it does: only with this record may a disk that says it belongs to
/// this cluster be believed after a crash.
async fn record(
    client: &Client,
    name: &ClusterName,
    observed: &Observed,
    version: String,
    step: &BootstrapStep,
) -> Result<(Bootstrap, String), Error> {
    let record = Bootstrap {
        state: BootstrapState::Started,
        seed_pod_uid: step.seed_pod_uid.clone(),
        cluster_id: step.cluster_id.clone(),
    };
    if step.recorded {
        return Ok((record, version));
    }
    let status = KotobaClusterStatus {
        bootstrap: Some(record.clone()),
        ..observed.recorded.clone()
    };
    let version = write_status(client, name, &version, &status).await?;
    Ok((record, version))
}

/// Writes down that the operator takes a member out, before it does: only so is its own drain told from a person's.
async fn record_leaving(
    client: &Client,
    name: &ClusterName,
    observed: &Observed,
    version: String,
    member_id: u64,
) -> Result<String, Error> {
    let id = i64::try_from(member_id).unwrap_or(i64::MAX);
    if observed.recorded.leaving.contains(&id) {
        return Ok(version);
    }
    let mut status = observed.recorded.clone();
    status.leaving.push(id);
    write_status(client, name, &version, &status).await
}

async fn bootstrap(admin: &Admin, name: &ClusterName, observed: &Observed, step: &BootstrapStep) -> StepOutcome {
    let request = v1::BootstrapRequest {
        cluster_id: step.cluster_id.clone(),
        members: step.members.iter().map(first_member).collect(),
        replication_factor: step.replication_factor,
        partition_count: step.partition_count,
    };
    let target = match target(name, observed, step.seed_slot) {
        Ok(target) => target,
        Err(process) => return no_target(name, step.seed_slot, &process),
    };
    match admin.bootstrap(&target, request).await {
        Ok(answer) if answer.cluster_id == step.cluster_id => StepOutcome::Done(Done::Bootstrapped),
        Ok(answer) => StepOutcome::Failed(format!(
            "{} founded cluster {:?} and not {}",
            target.pod, answer.cluster_id, step.cluster_id
        )),
        Err(error) => failed("found the database", &error),
    }
}

async fn join(admin: &Admin, name: &ClusterName, observed: &Observed, step: &JoinStep) -> StepOutcome {
    let target = match target(name, observed, step.through) {
        Ok(target) => target,
        Err(process) => return no_target(name, step.through, &process),
    };
    let candidate = &step.candidate;
    let request = v1::JoinClusterRequest {
        peer_address: candidate.peer_address.clone(),
        client_address: candidate.client_address.clone(),
        zone: candidate.zone.clone(),
        disk_id: candidate.disk_id.clone(),
        name: candidate.name.clone(),
        version: candidate.version.clone(),
    };
    match admin.join(&target, request).await {
        Ok(answer) => StepOutcome::Done(Done::Joined {
            slot: step.slot,
            member_id: answer.member_id,
        }),
        Err(error) => failed(&format!("take {} in", candidate.name), &error),
    }
}

async fn rebalance(admin: &Admin, name: &ClusterName, observed: &Observed, through: u32) -> StepOutcome {
    let target = match target(name, observed, through) {
        Ok(target) => target,
        Err(process) => return no_target(name, through, &process),
    };
    match admin.rebalance(&target).await {
        Ok(answer) => StepOutcome::Done(Done::RebalanceStarted {
            moves: answer.moves.len(),
        }),
        Err(error) => failed("start moving partitions", &error),
    }
}

async fn drain(admin: &Admin, name: &ClusterName, observed: &Observed, step: &MemberStep) -> StepOutcome {
    let target = match target(name, observed, step.through) {
        Ok(target) => target,
        Err(process) => return no_target(name, step.through, &process),
    };
    let (slot, member_id) = (step.slot, step.member_id);
    match admin.drain(&target, member_id).await {
        Ok(_) => StepOutcome::Done(Done::DrainStarted { slot, member_id }),
        Err(error) if error.is_refusal() => {
            StepOutcome::Refused(format!("the database does not drain {}: {error}", name.pod(slot)))
        }
        Err(error) => failed(&format!("drain {}", name.pod(slot)), &error),
    }
}

async fn cancel_drain(admin: &Admin, name: &ClusterName, observed: &Observed, step: &MemberStep) -> StepOutcome {
    let target = match target(name, observed, step.through) {
        Ok(target) => target,
        Err(process) => return no_target(name, step.through, &process),
    };
    let (slot, member_id) = (step.slot, step.member_id);
    match admin.cancel_drain(&target, member_id).await {
        Ok(_) => StepOutcome::Done(Done::DrainCancelled { slot, member_id }),
        Err(error) => failed(&format!("keep {}", name.pod(slot)), &error),
    }
}

async fn remove(admin: &Admin, name: &ClusterName, observed: &Observed, step: &MemberStep) -> StepOutcome {
    let target = match target(name, observed, step.through) {
        Ok(target) => target,
        Err(process) => return no_target(name, step.through, &process),
    };
    let (slot, member_id) = (step.slot, step.member_id);
    match admin.remove_member(&target, member_id).await {
        Ok(_) => StepOutcome::Done(Done::Removing { slot, member_id }),
        Err(error) => failed(&format!("remove {}", name.pod(slot)), &error),
    }
}

fn first_member(candidate: &Candidate) -> v1::FirstMember {
    v1::FirstMember {
        peer_address: candidate.peer_address.clone(),
        client_address: candidate.client_address.clone(),
        zone: candidate.zone.clone(),
        disk_id: candidate.disk_id.clone(),
        name: candidate.name.clone(),
    }
}

fn failed(what: &str, error: &CallError) -> StepOutcome {
    StepOutcome::Failed(format!("could not {what}: {error}"))
}

fn no_target(name: &ClusterName, slot: u32, process: &Process) -> StepOutcome {
    let why = match process {
        Process::Silent(why) => why,
        Process::NoPod | Process::Answered(_) => "it has no pod",
    };
    StepOutcome::Failed(format!("{} cannot be called: {why}", name.pod(slot)))
}
