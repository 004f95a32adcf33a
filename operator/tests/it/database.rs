//! A database of memory behind the real gRPC services: disks, members, one join at a time, moves that end one by one.
//! It keeps count of what must happen once, and refuses what a real one would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use kotoba_proto::v1;
use kotoba_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use kotoba_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::tripwire::{Tripwire, Verdict};

const PARTITIONS: u32 = 16;
/// Moves that a rebalance opens for each new member.
const MOVES_PER_MEMBER: u32 = 2;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disk {
    pub id: String,
    pub cluster_id: String,
    pub member_id: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub name: String,
    pub disk_id: String,
    pub zone: String,
    pub joining: bool,
    pub holds_partitions: bool,
}

#[derive(Debug, Default)]
pub struct State {
    /// By the name of the pod whose process runs on it.
    pub disks: BTreeMap<String, Disk>,
    pub cluster_id: String,
    pub members: BTreeMap<u64, Listed>,
    pub foundings: usize,
    pub rebalances: usize,
    pub moves_open: u32,
    pub moves_finished: u64,
    /// Answers nobody but to WhoAmI.
    pub mute: bool,
    /// Does what it is told, and its answers are lost on the way.
    pub loses_answers: bool,
    /// Takes nobody in.
    pub refuses_joins: bool,
    /// The last member id that was given; ids are never used twice.
    last_member_id: u64,
}

#[derive(Clone, Default)]
pub struct Database {
    state: Arc<Mutex<State>>,
    tripwire: Tripwire,
}

impl Database {
    pub fn new(tripwire: Tripwire) -> Self {
        Database {
            state: Arc::default(),
            tripwire,
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Serves the process of a pod on a port of its own, until the test's runtime ends.
    pub async fn serve(&self, pod: &str, peer_address: &str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let process = Process {
            database: self.clone(),
            pod: pod.to_owned(),
            peer_address: peer_address.to_owned(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(AdminServiceServer::new(process.clone()))
            .add_service(ClusterServiceServer::new(process))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        address
    }

    /// Lets time pass: a joining member becomes active, one move ends.
    pub fn tick(&self) {
        let mut state = self.state();
        for member in state.members.values_mut() {
            member.joining = false;
        }
        if state.moves_open > 0 {
            state.moves_open -= 1;
            state.moves_finished += 1;
            if state.moves_open == 0 {
                state
                    .members
                    .values_mut()
                    .for_each(|member| member.holds_partitions = true);
            }
        }
    }

    /// A write of the operator: it may die before or after it.
    fn write<T>(&self, change: impl FnOnce(&mut State) -> Result<T, Status>) -> Result<T, Status> {
        let dead = || Err(Status::unavailable("the operator is dead"));
        match self.tripwire.write() {
            Verdict::Go => {
                let done = change(&mut self.state());
                if self.state().loses_answers { dead() } else { done }
            }
            Verdict::DieAfter => change(&mut self.state()).and_then(|_| dead()),
            Verdict::DieBefore | Verdict::Dead => dead(),
        }
    }
}

impl State {
    pub fn is_ready(&self, pod: &str) -> bool {
        self.disks.get(pod).is_some_and(|disk| !disk.cluster_id.is_empty())
    }

    fn take_in(&mut self, listed: Listed) -> u64 {
        self.last_member_id += 1;
        let member_id = self.last_member_id;
        let disk = self.disks.values_mut().find(|disk| disk.id == listed.disk_id);
        if let Some(disk) = disk {
            disk.cluster_id.clone_from(&self.cluster_id);
            disk.member_id = member_id;
        }
        self.members.insert(member_id, listed);
        member_id
    }

    fn found(&mut self, pod: &str, request: v1::BootstrapRequest) -> Result<u64, Status> {
        let seed = self.disks[pod].clone();
        if !seed.cluster_id.is_empty() {
            let same = seed.cluster_id == request.cluster_id;
            return same
                .then_some(seed.member_id)
                .ok_or_else(|| Status::already_exists("this disk is in use"));
        }
        self.foundings += 1;
        self.cluster_id = request.cluster_id;
        for member in request.members {
            self.take_in(Listed {
                name: member.name,
                disk_id: member.disk_id,
                zone: member.zone,
                joining: false,
                holds_partitions: true,
            });
        }
        Ok(self.disks[pod].member_id)
    }

    fn join(&mut self, request: v1::JoinClusterRequest) -> Result<(u64, bool), Status> {
        let known = self
            .members
            .iter()
            .find(|(_, member)| member.disk_id == request.disk_id);
        if let Some((id, member)) = known {
            return Ok((*id, member.joining));
        }
        if self.refuses_joins {
            return Err(Status::failed_precondition("no room"));
        }
        if self.members.values().any(|member| member.joining) {
            return Err(Status::failed_precondition("another member is joining"));
        }
        let id = self.take_in(Listed {
            name: request.name,
            disk_id: request.disk_id,
            zone: request.zone,
            joining: true,
            holds_partitions: false,
        });
        Ok((id, true))
    }

    fn balanced(&self) -> bool {
        self.moves_open == 0 && self.members.values().all(|member| member.holds_partitions)
    }

    fn rebalance(&mut self) {
        let empty = self.members.values().filter(|member| !member.holds_partitions).count();
        if self.moves_open == 0 && empty > 0 {
            self.rebalances += 1;
            self.moves_open = MOVES_PER_MEMBER * u32::try_from(empty).unwrap();
        }
    }

    fn status(&self, pod: &str) -> v1::GetStatusResponse {
        let alive = |disk_id: &str| self.disks.values().any(|disk| disk.id == disk_id);
        let members = self.members.iter().map(|(id, member)| {
            let state = if member.joining {
                v1::MemberState::Joining
            } else {
                v1::MemberState::Active
            };
            let health = if alive(&member.disk_id) {
                v1::MemberHealth::Alive
            } else {
                v1::MemberHealth::Failed
            };
            v1::MemberStatus {
                id: *id,
                disk_id: member.disk_id.clone(),
                name: member.name.clone(),
                zone: member.zone.clone(),
                state: state.into(),
                health: health.into(),
                ..v1::MemberStatus::default()
            }
        });
        v1::GetStatusResponse {
            cluster_id: self.cluster_id.clone(),
            member_id: self.disks[pod].member_id,
            leader_member_id: 1,
            linearizable: true,
            members: members.collect(),
            membership: Some(v1::ClusterStats {
                partition_count: PARTITIONS,
                ..v1::ClusterStats::default()
            }),
            rebalance: Some(v1::RebalanceStatus {
                balanced: self.balanced(),
                moves_open: self.moves_open,
                moves_finished: self.moves_finished,
                ..v1::RebalanceStatus::default()
            }),
            ..v1::GetStatusResponse::default()
        }
    }
}

/// One process, as it is called.
#[derive(Clone)]
struct Process {
    database: Database,
    pod: String,
    peer_address: String,
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

    async fn drain(&self, _: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        Err(Status::unimplemented("not asked for yet"))
    }

    async fn cancel_drain(
        &self,
        _: Request<v1::CancelDrainRequest>,
    ) -> Result<Response<v1::CancelDrainResponse>, Status> {
        Err(Status::unimplemented("not asked for yet"))
    }

    async fn remove_member(
        &self,
        _: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        Err(Status::unimplemented("not asked for yet"))
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
        let (member_id, joining) = self.database.write(|state| state.join(request.into_inner()))?;
        let state = if joining {
            v1::MemberState::Joining
        } else {
            v1::MemberState::Active
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
