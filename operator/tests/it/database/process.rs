//! One process of the database, behind the real gRPC services.

use std::sync::MutexGuard;

use kotoba_proto::v1;
use kotoba_proto::v1::admin_service_server::AdminService;
use kotoba_proto::v1::cluster_service_server::ClusterService;
use tonic::{Request, Response, Status};

use super::Database;
use super::catalogue::{Standing, State};

/// One process, as it is called.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) database: Database,
    pub(super) pod: String,
    pub(super) peer_address: String,
}

impl Process {
    /// The state, if this process serves clients.
    fn serving(&self) -> Result<MutexGuard<'_, State>, Status> {
        let state = self.database.state();
        if state.mute || !state.is_ready(&self.pod) {
            return Err(Status::unavailable("not serving"));
        }
        Ok(state)
    }
}

#[tonic::async_trait]
impl AdminService for Process {
    async fn who_am_i(&self, _: Request<v1::WhoAmIRequest>) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let state = self.database.state();
        let disk = state
            .disks
            .get(&self.pod)
            .ok_or_else(|| Status::unavailable("no process"))?;
        let assignment = if disk.cluster_id.is_empty() {
            v1::Assignment::Unassigned
        } else {
            v1::Assignment::Assigned
        };
        Ok(Response::new(v1::WhoAmIResponse {
            assignment: assignment.into(),
            disk_id: disk.id.clone(),
            cluster_id: disk.cluster_id.clone(),
            member_id: disk.member_id,
            version: "1".into(),
            peer_address: self.peer_address.clone(),
            name: self.pod.clone(),
            ready: state.is_ready(&self.pod),
            ..v1::WhoAmIResponse::default()
        }))
    }

    async fn bootstrap(
        &self,
        request: Request<v1::BootstrapRequest>,
    ) -> Result<Response<v1::BootstrapResponse>, Status> {
        let request = request.into_inner();
        let cluster_id = request.cluster_id.clone();
        let member_id = self.database.write(|state| state.found(&self.pod, request))?;
        Ok(Response::new(v1::BootstrapResponse { cluster_id, member_id }))
    }

    async fn rebalance(&self, _: Request<v1::RebalanceRequest>) -> Result<Response<v1::RebalanceResponse>, Status> {
        drop(self.serving()?);
        self.database.write(|state| {
            state.rebalance();
            Ok(())
        })?;
        Ok(Response::new(v1::RebalanceResponse::default()))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        drop(self.serving()?);
        let id = request.into_inner().member_id;
        self.database.write(|state| state.drain(id, false))?;
        let progress = Some(self.database.state().progress(id));
        Ok(Response::new(v1::DrainResponse { progress }))
    }

    async fn cancel_drain(
        &self,
        request: Request<v1::CancelDrainRequest>,
    ) -> Result<Response<v1::CancelDrainResponse>, Status> {
        drop(self.serving()?);
        let id = request.into_inner().member_id;
        self.database.write(|state| state.cancel_drain(id))?;
        let progress = Some(self.database.state().progress(id));
        Ok(Response::new(v1::CancelDrainResponse { progress }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        drop(self.serving()?);
        let id = request.into_inner().member_id;
        self.database.write(|state| state.ask_removal(id))?;
        let progress = Some(self.database.state().progress(id));
        Ok(Response::new(v1::RemoveMemberResponse { progress }))
    }
}

type Stream<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

#[tonic::async_trait]
impl ClusterService for Process {
    type ExecuteQueryStream = Stream<v1::ExecuteQueryResponse>;
    type SubscribeEventsStream = Stream<v1::ClusterEvent>;

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(self.serving()?.status(&self.pod)))
    }

    async fn join_cluster(
        &self,
        request: Request<v1::JoinClusterRequest>,
    ) -> Result<Response<v1::JoinClusterResponse>, Status> {
        drop(self.serving()?);
        let (member_id, standing) = self.database.write(|state| state.join(request.into_inner()))?;
        let state = match standing {
            Standing::Joining => v1::MemberState::Joining,
            Standing::Active | Standing::Draining { .. } | Standing::Removed => v1::MemberState::Active,
        };
        let cluster_id = self.database.state().cluster_id.clone();
        Ok(Response::new(v1::JoinClusterResponse {
            cluster_id,
            member_id,
            state: state.into(),
        }))
    }

    async fn get_history(&self, _: Request<v1::GetHistoryRequest>) -> Result<Response<v1::GetHistoryResponse>, Status> {
        Err(Status::unimplemented("the operator has no business here"))
    }

    async fn execute_operation(
        &self,
        _: Request<v1::ExecuteOperationRequest>,
    ) -> Result<Response<v1::ExecuteOperationResponse>, Status> {
        Err(Status::unimplemented("the operator has no business here"))
    }

    async fn execute_query(
        &self,
        _: Request<v1::ExecuteQueryRequest>,
    ) -> Result<Response<Self::ExecuteQueryStream>, Status> {
        Err(Status::unimplemented("the operator has no business here"))
    }

    async fn check_health(
        &self,
        _: Request<v1::CheckHealthRequest>,
    ) -> Result<Response<v1::CheckHealthResponse>, Status> {
        Err(Status::unimplemented("the operator has no business here"))
    }

    async fn subscribe_events(
        &self,
        _: Request<v1::SubscribeEventsRequest>,
    ) -> Result<Response<Self::SubscribeEventsStream>, Status> {
        Err(Status::unimplemented("the operator has no business here"))
    }

    async fn leave_cluster(
        &self,
        _: Request<v1::LeaveClusterRequest>,
    ) -> Result<Response<v1::LeaveClusterResponse>, Status> {
        Err(Status::unimplemented("the operator has no business here"))
    }

    async fn get_cluster_config(
        &self,
        _: Request<v1::GetClusterConfigRequest>,
    ) -> Result<Response<v1::GetClusterConfigResponse>, Status> {
        Err(Status::unimplemented("the operator has no business here"))
    }
}
