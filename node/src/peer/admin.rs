//! What an operator or a person at the shell asks of one process: who it is, founding, rebalancing, members that leave.

use std::sync::Arc;
use std::time::Duration;

use kotoba_proto::error::status;
use kotoba_proto::v1::admin_service_server::AdminService;
use kotoba_proto::v1::error_detail::Kind;
use kotoba_proto::v1::{
    Assignment, BootstrapRequest, BootstrapResponse, CancelDrainRequest, CancelDrainResponse, DrainRequest,
    DrainResponse, PlannedMove, RebalanceRequest, RebalanceResponse, RemoveMemberRequest, RemoveMemberResponse,
    WhoAmIRequest, WhoAmIResponse,
};
use kotoba_state::ids::MemberId;
use kotoba_state::meta::{Answer, Command, FirstMember};
use tonic::{Request, Response, Status};

use crate::gateway::leaving;
use crate::gateway::service::not_running;
use crate::member::running::Running;
use crate::member::{FoundError, FoundingRequest, Process};

const PLAN_TIMEOUT: Duration = Duration::from_secs(10);

/// The admin service on the peer port.
#[derive(Clone)]
pub struct AdminEndpoint {
    pub process: Arc<Process>,
}

#[tonic::async_trait]
impl AdminService for AdminEndpoint {
    async fn who_am_i(&self, _: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        Ok(Response::new(who_am_i(&self.process)))
    }

    async fn bootstrap(&self, request: Request<BootstrapRequest>) -> Result<Response<BootstrapResponse>, Status> {
        let request = request.into_inner();
        let members = request.members.into_iter().map(|member| FirstMember {
            peer_address: member.peer_address,
            client_address: member.client_address,
            zone: member.zone,
            disk_id: member.disk_id,
            name: member.name,
            meta_voter: false,
        });
        let founding = FoundingRequest {
            cluster_id: request.cluster_id.clone(),
            members: members.collect(),
            replication_factor: request.replication_factor,
            partition_count: request.partition_count,
        };
        // Goes on where the caller does not wait: what is on disk already has to be finished.
        let process = self.process.clone();
        let founded = tokio::spawn(async move { process.found(founding).await }).await;
        let member = founded
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| founding_status(&error))?;
        Ok(Response::new(BootstrapResponse {
            cluster_id: request.cluster_id,
            member_id: member.0,
        }))
    }

    async fn rebalance(&self, request: Request<RebalanceRequest>) -> Result<Response<RebalanceResponse>, Status> {
        let running = self.process.running().ok_or_else(|| not_running(&self.process))?;
        if request.into_inner().dry_run {
            let replacements = running.catalogue.get().replacements();
            let moves = replacements
                .into_iter()
                .map(|replacement| planned(replacement.partition.0, replacement.from, replacement.to));
            return Ok(Response::new(RebalanceResponse { moves: moves.collect() }));
        }
        let command = Command::PlanRebalance {
            now_ms: self.process.config.clock.now_ms(),
        };
        match running.meta_client.propose(&command, PLAN_TIMEOUT).await {
            Ok(Answer::Planned { moves, .. }) => {
                let moves = moves.into_iter().map(|row| planned(row.partition.0, row.from, row.to));
                Ok(Response::new(RebalanceResponse { moves: moves.collect() }))
            }
            Ok(Answer::Refused(reason)) => Err(status(Kind::Refused, reason)),
            Ok(other) => Err(Status::internal(format!("the plan was answered {other:?}"))),
            Err(error) => Err(status(Kind::NoLeader, error.to_string())),
        }
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        let (running, member) = self.about(request.into_inner().member_id)?;
        let then_remove = false;
        leaving::propose(&running, &Command::Drain { member, then_remove }).await?;
        let progress = Some(leaving::progress(&running, member).await?);
        Ok(Response::new(DrainResponse { progress }))
    }

    async fn cancel_drain(
        &self,
        request: Request<CancelDrainRequest>,
    ) -> Result<Response<CancelDrainResponse>, Status> {
        let (running, member) = self.about(request.into_inner().member_id)?;
        leaving::propose(&running, &Command::CancelDrain { member }).await?;
        let progress = Some(leaving::progress(&running, member).await?);
        Ok(Response::new(CancelDrainResponse { progress }))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let (running, member) = self.about(request.into_inner().member_id)?;
        leaving::propose(&running, &Command::AskRemoval { member }).await?;
        let progress = Some(leaving::progress(&running, member).await?);
        Ok(Response::new(RemoveMemberResponse { progress }))
    }
}

impl AdminEndpoint {
    fn about(&self, member_id: u64) -> Result<(Arc<Running>, MemberId), Status> {
        let running = self.process.running().ok_or_else(|| not_running(&self.process))?;
        Ok((running, MemberId(member_id)))
    }
}

/// What this process says of itself, in every state.
pub fn who_am_i(process: &Process) -> WhoAmIResponse {
    let assignment = process.assignment();
    let config = &process.config;
    WhoAmIResponse {
        assignment: match assignment {
            Some(_) => Assignment::Assigned.into(),
            None => Assignment::Unassigned.into(),
        },
        disk_id: process.disk_id(),
        cluster_id: assignment
            .as_ref()
            .map(|assignment| assignment.cluster_id.clone())
            .unwrap_or_default(),
        member_id: assignment.as_ref().map_or(0, |assignment| assignment.member.0),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        peer_address: config.peer_advertise.clone(),
        client_address: config.client_advertise.clone(),
        zone: config.zone.clone(),
        name: config.name.clone(),
        ready: process.ready().is_ok(),
    }
}

fn planned(partition: u32, from: Option<MemberId>, to: Option<MemberId>) -> PlannedMove {
    PlannedMove {
        partition,
        from_member_id: from.map_or(0, |member| member.0),
        to_member_id: to.map_or(0, |member| member.0),
    }
}

fn founding_status(error: &FoundError) -> Status {
    let text = error.to_string();
    match error {
        FoundError::OtherCluster { .. } => Status::already_exists(text),
        FoundError::Invalid(_) => status(Kind::Invalid, text),
        FoundError::Assign { .. } | FoundError::Pending => status(Kind::Transient, text),
        FoundError::Process(_) => Status::internal(text),
    }
}
