//! A database of memory behind the real gRPC services: disks, members, one join at a time, moves and drains that end one by one.
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
/// Copies on each first member.
const FIRST_REPLICAS: u32 = 3;
/// Moves that a rebalance opens for each new member.
const MOVES_PER_MEMBER: u32 = 2;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disk {
    pub id: String,
    pub cluster_id: String,
    pub member_id: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Joining,
    Active,
    Draining { before_joined: bool, then_remove: bool },
    Removed,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub name: String,
    pub peer_address: String,
    pub disk_id: String,
    pub zone: String,
    pub standing: Standing,
    pub replicas: u32,
    pub disk_full: bool,
}

#[derive(Debug, Default)]
pub struct State {
    /// By the name of the pod whose process runs on it.
    pub disks: BTreeMap<String, Disk>,
    pub cluster_id: String,
    pub replication_factor: usize,
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
    /// Says no to every drain.
    pub refuses_drains: bool,
    /// Nothing moves.
    pub stuck: bool,
    /// Drains that were begun.
    pub drains: usize,
    /// Most members that were drained at the same time.
    pub drained_at_once: usize,
    rebalancing: bool,
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

    /// Lets time pass: a joining member becomes active, one move ends, one copy leaves each drained member, and who is
    /// empty and shall be removed is.
    pub fn tick(&self) {
        let mut state = self.state();
        if state.stuck {
            return;
        }
        state.end_joins();
        state.end_a_move();
        state.move_off();
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
        self.disks.get(pod).is_some_and(|disk| {
            let member = self.members.get(&disk.member_id);
            !disk.cluster_id.is_empty() && member.is_none_or(|member| member.standing != Standing::Removed)
        })
    }

    /// Members that were not removed.
    pub fn current(&self) -> impl Iterator<Item = (&u64, &Listed)> {
        self.members
            .iter()
            .filter(|(_, member)| member.standing != Standing::Removed)
    }

    fn runs(&self, member: &Listed) -> bool {
        self.disks.values().any(|disk| disk.id == member.disk_id)
    }

    fn has_majority(&self) -> bool {
        let running = self.current().filter(|(_, member)| self.runs(member)).count();
        running * 2 > self.current().count()
    }

    fn end_joins(&mut self) {
        let running: Vec<String> = self.disks.values().map(|disk| disk.id.clone()).collect();
        for member in self.members.values_mut() {
            if member.standing == Standing::Joining && running.contains(&member.disk_id) {
                member.standing = Standing::Active;
            }
        }
    }

    fn end_a_move(&mut self) {
        if self.moves_open > 0 {
            self.moves_open -= 1;
            self.moves_finished += 1;
        }
        if self.moves_open == 0 && self.rebalancing {
            self.rebalancing = false;
            let active = self
                .members
                .values_mut()
                .filter(|member| member.standing == Standing::Active);
            active.for_each(|member| member.replicas = member.replicas.max(1));
        }
    }

    fn move_off(&mut self) {
        let leaving: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, member)| matches!(member.standing, Standing::Draining { .. }))
            .map(|(id, _)| *id)
            .collect();
        for id in leaving {
            let has_room = self.well_without(id) >= self.replication_factor;
            let member = self.members.get_mut(&id).unwrap();
            match member.standing {
                Standing::Draining { then_remove: true, .. } if member.replicas == 0 => {
                    member.standing = Standing::Removed;
                }
                Standing::Draining { .. } if member.replicas > 0 && has_room => {
                    member.replicas -= 1;
                    self.moves_finished += 1;
                }
                Standing::Joining | Standing::Active | Standing::Draining { .. } | Standing::Removed => {}
            }
        }
    }

    /// Members that could hold copies if this one were gone.
    fn well_without(&self, id: u64) -> usize {
        let others = self.members.iter().filter(|(other, _)| **other != id);
        others
            .filter(|(_, member)| member.standing == Standing::Active && self.runs(member))
            .count()
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
        self.replication_factor = match request.replication_factor {
            0 => request.members.len().min(3),
            given => given as usize,
        };
        for member in request.members {
            self.take_in(Listed {
                name: member.name,
                peer_address: member.peer_address,
                disk_id: member.disk_id,
                zone: member.zone,
                standing: Standing::Active,
                replicas: FIRST_REPLICAS,
                disk_full: false,
            });
        }
        Ok(self.disks[pod].member_id)
    }

    fn join(&mut self, request: v1::JoinClusterRequest) -> Result<(u64, Standing), Status> {
        let known = self
            .members
            .iter()
            .find(|(_, member)| member.disk_id == request.disk_id);
        if let Some((id, member)) = known {
            return match member.standing {
                Standing::Removed => Err(refused("this disk was a member that was removed")),
                Standing::Joining | Standing::Active | Standing::Draining { .. } => Ok((*id, member.standing)),
            };
        }
        if self.refuses_joins {
            return Err(refused("no room"));
        }
        let holds = |member: &Listed| member.peer_address == request.peer_address && self.runs(member);
        if self.current().any(|(_, member)| holds(member)) {
            return Err(refused(
                "that is the address of another member: wait until it counts as failed",
            ));
        }
        if self.current().any(|(_, member)| member.standing == Standing::Joining) {
            return Err(refused("another member is joining"));
        }
        let id = self.take_in(Listed {
            name: request.name,
            peer_address: request.peer_address,
            disk_id: request.disk_id,
            zone: request.zone,
            standing: Standing::Joining,
            replicas: 0,
            disk_full: false,
        });
        Ok((id, Standing::Joining))
    }

    fn drain(&mut self, id: u64, then_remove: bool) -> Result<(), Status> {
        if self.refuses_drains {
            return Err(refused("a rule says no"));
        }
        let enough = self.well_without(id) >= self.replication_factor;
        let factor = self.replication_factor;
        let member = self
            .members
            .get_mut(&id)
            .ok_or_else(|| Status::not_found("no such member"))?;
        match &mut member.standing {
            Standing::Removed if then_remove => {}
            Standing::Removed => return Err(refused("it was removed")),
            Standing::Draining { then_remove: asked, .. } => *asked |= then_remove,
            Standing::Active if !enough => {
                return Err(refused(&format!(
                    "there are not enough members to hold {factor} replicas: add a member first"
                )));
            }
            Standing::Joining | Standing::Active => {
                let before_joined = member.standing == Standing::Joining;
                member.standing = Standing::Draining {
                    before_joined,
                    then_remove,
                };
                self.drains += 1;
            }
        }
        let draining = self
            .members
            .values()
            .filter(|member| matches!(member.standing, Standing::Draining { .. }));
        self.drained_at_once = self.drained_at_once.max(draining.count());
        Ok(())
    }

    fn cancel_drain(&mut self, id: u64) -> Result<(), Status> {
        let member = self
            .members
            .get_mut(&id)
            .ok_or_else(|| Status::not_found("no such member"))?;
        member.standing = match member.standing {
            Standing::Removed => return Err(refused("it was removed: add a new one")),
            Standing::Draining {
                before_joined: true, ..
            } => Standing::Joining,
            Standing::Draining { .. } | Standing::Active => Standing::Active,
            Standing::Joining => Standing::Joining,
        };
        Ok(())
    }

    fn ask_removal(&mut self, id: u64) -> Result<(), Status> {
        let member = self
            .members
            .get(&id)
            .ok_or_else(|| Status::not_found("no such member"))?;
        match member.standing {
            Standing::Active if self.runs(member) => Err(refused("it is active: drain it first")),
            Standing::Active if member.replicas > 0 => {
                Err(refused("it has failed and replicas are left on it: drain it"))
            }
            Standing::Joining | Standing::Active | Standing::Draining { .. } | Standing::Removed => {
                self.drain(id, true)
            }
        }
    }

    fn progress(&self, id: u64) -> v1::MemberProgress {
        let status = self.member_status(id, &self.members[&id]);
        v1::MemberProgress {
            member_id: id,
            state: status.state,
            replicas: status.replicas,
            drained: status.drained,
            waiting_for: status.waiting_for,
            linearizable: self.has_majority(),
            ..v1::MemberProgress::default()
        }
    }

    fn balanced(&self) -> bool {
        let mut active = self
            .members
            .values()
            .filter(|member| member.standing == Standing::Active);
        self.moves_open == 0 && active.all(|member| member.replicas > 0)
    }

    fn rebalance(&mut self) {
        let active = self
            .members
            .values()
            .filter(|member| member.standing == Standing::Active);
        let empty = active.filter(|member| member.replicas == 0).count();
        if self.moves_open == 0 && empty > 0 {
            self.rebalances += 1;
            self.rebalancing = true;
            self.moves_open = MOVES_PER_MEMBER * u32::try_from(empty).unwrap();
        }
    }

    fn member_status(&self, id: u64, member: &Listed) -> v1::MemberStatus {
        let state = match member.standing {
            Standing::Joining => v1::MemberState::Joining,
            Standing::Active => v1::MemberState::Active,
            Standing::Draining { .. } => v1::MemberState::Draining,
            Standing::Removed => v1::MemberState::Removed,
        };
        let health = if self.runs(member) {
            v1::MemberHealth::Alive
        } else {
            v1::MemberHealth::Failed
        };
        let draining = matches!(member.standing, Standing::Draining { .. });
        let waiting_for = match (draining, member.replicas) {
            (false, _) => String::new(),
            (true, 0) => "it is being removed".to_owned(),
            (true, left) => format!("{left} replicas are left"),
        };
        v1::MemberStatus {
            id,
            peer_address: member.peer_address.clone(),
            disk_id: member.disk_id.clone(),
            name: member.name.clone(),
            zone: member.zone.clone(),
            state: state.into(),
            health: health.into(),
            replicas: member.replicas,
            drained: draining && member.replicas == 0,
            waiting_for,
            disk_full: member.disk_full,
            ..v1::MemberStatus::default()
        }
    }

    fn status(&self, pod: &str) -> v1::GetStatusResponse {
        let failed = self.current().filter(|(_, member)| !self.runs(member)).count();
        let of = |bad: bool| if bad { PARTITIONS } else { 0 };
        let leader = self.current().find(|(_, member)| self.runs(member));
        v1::GetStatusResponse {
            cluster_id: self.cluster_id.clone(),
            member_id: self.disks[pod].member_id,
            leader_member_id: leader.map_or(0, |(id, _)| *id),
            linearizable: self.has_majority(),
            members: self
                .members
                .iter()
                .map(|(id, member)| self.member_status(*id, member))
                .collect(),
            membership: Some(v1::ClusterStats {
                partition_count: PARTITIONS,
                replication_factor: u32::try_from(self.replication_factor).unwrap(),
                ..v1::ClusterStats::default()
            }),
            replication: Some(v1::ReplicationHealth {
                under_replicated_partitions: of(failed > 0),
                leaderless_partitions: of(failed * 2 > self.replication_factor),
                quorum_critical_partitions: (0..of(failed > 0)).collect(),
                ..v1::ReplicationHealth::default()
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

/// A rule says no, as the database says it.
fn refused(why: &str) -> Status {
    kotoba_proto::error::status(v1::error_detail::Kind::Refused, why)
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
