//! openraft's view of the lanes: one client per target replica.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use kotoba_proto::v1::raft_message::Body;
use kotoba_state::ids::{MemberId, ReplicaId};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption, RPCTypes,
};
use openraft::raft::SnapshotResponse;
use openraft::{OptionalSend, RaftNetworkFactory};

use super::Route;
use super::call::CallError;
use super::transport::{Peer, Transport};
use crate::raft::codec::{Coded, from_bytes, to_bytes};
use crate::raft::snapshot::{self, SnapshotData};
use crate::raft::types::{
    AppendRequest, AppendResult, ReplicaKey, Snapshot, TransferRequest, TransferResponse, TypeConfig, Vote,
    VoteRequest, VoteResponse,
};

type RpcError = RPCError<TypeConfig>;

/// Makes the clients of one replica.
pub struct Network {
    transport: Arc<Transport>,
    from: ReplicaKey,
}

impl Network {
    pub fn new(transport: Arc<Transport>, from: ReplicaKey) -> Self {
        Network { transport, from }
    }

    fn client(&self, to: ReplicaId, member: MemberId, append_by: AppendBy) -> Client {
        let route = Route { from: self.from, to };
        Client {
            peer: self.transport.peer(member),
            transport: self.transport.clone(),
            route,
            append_by,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: ReplicaId, member: &MemberId) -> Client {
        self.client(target, *member, AppendBy::Stream)
    }

    async fn new_heartbeat_client(&mut self, target: ReplicaId, member: &MemberId) -> Client {
        self.client(target, *member, AppendBy::Call)
    }
}

/// How a client carries append requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AppendBy {
    /// Pipelined, on the replicate lane.
    Stream,
    /// One by one, on the control lane: a heartbeat must not queue behind entries.
    Call,
}

/// Speaks to one replica.
pub struct Client {
    transport: Arc<Transport>,
    peer: Arc<Peer>,
    route: Route,
    append_by: AppendBy,
}

impl Client {
    async fn ask<Request: Coded, Answer: Coded>(
        &self,
        request: &Request,
        wrap: fn(Bytes) -> Body,
        unwrap: fn(Body) -> Option<Bytes>,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let body = wrap(to_bytes(request).into());
        let answer = self.peer.control.call(self.route, body, timeout).await?;
        let bytes = unwrap(answer).ok_or_else(|| CallError::Refused("an answer of another kind".to_owned()))?;
        from_bytes(&bytes).map_err(|error| CallError::Refused(error.to_string()))
    }

    async fn append(&self, request: &AppendRequest, timeout: Duration) -> Result<AppendResult, CallError> {
        let unwrap = |body| match body {
            Body::AppendAnswer(bytes) => Some(bytes),
            _other_kind => None,
        };
        self.ask(request, Body::AppendRequest, unwrap, timeout).await
    }

    fn error(&self, error: CallError, action: RPCTypes, timeout: Duration) -> RpcError {
        rpc_error(self.route, error, action, timeout)
    }
}

/// A peer that is down, or does not have the replica yet, is unreachable: openraft then waits before it tries again.
fn rpc_error(route: Route, error: CallError, action: RPCTypes, timeout: Duration) -> RpcError {
    match error {
        CallError::Down | CallError::Refused(_) => RPCError::Unreachable(Unreachable::new(&error)),
        CallError::Lost => RPCError::Network(NetworkError::new(&error)),
        CallError::Timeout => RPCError::Timeout(Timeout {
            action,
            id: route.from.replica,
            target: route.to,
            timeout,
        }),
    }
}

impl NetStreamAppend<TypeConfig> for Client {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<AppendResult, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        let timeout = option.hard_ttl();
        let (client, route) = (&*self, self.route);
        let failed = move |error| rpc_error(route, error, RPCTypes::AppendEntries, timeout);
        Box::pin(async move {
            let answers: BoxStream<'s, _> = match client.append_by {
                AppendBy::Stream => {
                    let answers = client.peer.replicate.stream(route, input).await.map_err(failed)?;
                    Box::pin(answers.map(move |answer| answer.map_err(failed)))
                }
                AppendBy::Call => Box::pin(
                    input.then(move |request| async move { client.append(&request, timeout).await.map_err(failed) }),
                ),
            };
            Ok(answers)
        })
    }
}

impl NetVote<TypeConfig> for Client {
    async fn vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, RpcError> {
        let unwrap = |body| match body {
            Body::VoteAnswer(bytes) => Some(bytes),
            _other_kind => None,
        };
        let answer = self.ask(&rpc, Body::VoteRequest, unwrap, option.hard_ttl()).await;
        answer.map_err(|error| self.error(error, RPCTypes::Vote, option.hard_ttl()))
    }

    async fn pre_vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, RpcError> {
        let unwrap = |body| match body {
            Body::PreVoteAnswer(bytes) => Some(bytes),
            _other_kind => None,
        };
        let answer = self.ask(&rpc, Body::PreVoteRequest, unwrap, option.hard_ttl()).await;
        answer.map_err(|error| self.error(error, RPCTypes::Vote, option.hard_ttl()))
    }
}

impl NetTransferLeader<TypeConfig> for Client {
    async fn transfer_leader(&mut self, req: TransferRequest, option: RPCOption) -> Result<TransferResponse, RpcError> {
        let unwrap = |body| match body {
            Body::TransferLeaderAnswer(bytes) => Some(bytes),
            _other_kind => None,
        };
        let answer = self
            .ask(&req, Body::TransferLeaderRequest, unwrap, option.hard_ttl())
            .await;
        answer.map_err(|error| self.error(error, RPCTypes::TransferLeader, option.hard_ttl()))
    }
}

impl NetSnapshot<TypeConfig> for Client {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let send = snapshot::send(&self.transport, &self.peer.dialer, self.route, vote, snapshot);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = tokio::time::timeout(option.hard_ttl(), send) => match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => {
                    tracing::warn!(replica = %self.route.from, to = %self.route.to, %error, "a snapshot was not sent");
                    Err(StreamingError::Unreachable(Unreachable::new(&error)))
                }
                Err(_) => Err(self.error(CallError::Timeout, RPCTypes::InstallSnapshot, option.hard_ttl()).into()),
            },
        }
    }
}

impl NetBackoff<TypeConfig> for Client {
    /// As the group's configuration says.
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}
