//! From a key to the leader of its partition: slot, partition, replicas, whoever leads them now.
//!
//! Places come from the local copy of the catalogue, leaders from the replicas here, from the last answers, and by
//! asking. A call is made again only where nothing was done, or where doing it twice does no harm.

mod batch;
mod coordinators;
mod indexes;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use kotoba_proto::cluster::route;
use kotoba_proto::v1::PartitionRequest;
use kotoba_state::ids::{MemberId, PartitionId, Timestamp};
use kotoba_state::meta::ReplicaRole;
use kotoba_state::partition::TxnId;
use kotoba_state::placement;
use tokio::time::Instant;
use tonic::Status;

use crate::catalogue::local::LocalCatalogue;
use crate::member::replicas::LocalPartitions;
use crate::peer::clients::PeerClients;
use crate::raft::{Groups, LeaderSearch};
use crate::transaction::{
    CallError, CoordinatorSays, Failure, Opened, Partitions, Reply, Request, Response, UnderWay, message,
};

/// Longer than an election takes, so that a change of leader is waited out here and not by the client.
const FIND_LEADER_FOR: Duration = Duration::from_secs(10);

/// Finds and asks the leaders of partitions.
pub struct Router {
    pub catalogue: LocalCatalogue,
    pub local: LocalPartitions,
    pub peers: Arc<PeerClients>,
    /// Whose links tell who is away.
    groups: Groups,
    /// What this member coordinates.
    pub under_way: Arc<UnderWay>,
    leaders: Mutex<BTreeMap<PartitionId, MemberId>>,
    turn: AtomicUsize,
    sent: AtomicU64,
}

/// What came of one attempt at one member.
enum Attempt {
    Answered(Reply),
    /// Nothing was done there.
    Elsewhere(Option<MemberId>, String),
    /// It may have been done.
    Unknown(String),
    Failed(Failure),
}

impl Router {
    pub fn new(catalogue: LocalCatalogue, local: LocalPartitions, peers: Arc<PeerClients>, groups: Groups) -> Self {
        Router {
            catalogue,
            local,
            peers,
            groups,
            under_way: Arc::default(),
            leaders: Mutex::default(),
            turn: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
        }
    }

    fn partition_count(&self) -> u32 {
        let catalogue = self.catalogue.get();
        catalogue
            .settings
            .as_ref()
            .map_or(1, |settings| settings.partition_count)
    }

    /// The member that leads a partition, as far as this one knows.
    pub fn known_leader(&self, partition: PartitionId) -> Option<MemberId> {
        let here = self
            .local
            .get(partition)
            .and_then(|local| local.group.leadership().leader);
        here.map(|(_, member)| member)
            .or_else(|| self.hints().get(&partition).copied())
    }

    /// Who else leads a slot, and which slots go with it; none where that is this member, or is not known.
    pub fn way(&self, slot: u16) -> Option<String> {
        let partition = self.partition_of(slot);
        let leader = self
            .known_leader(partition)
            .filter(|leader| *leader != self.peers.me())?;
        let catalogue = self.catalogue.get();
        let address = &catalogue.members.get(&leader)?.client_address;
        let (first, last) = self.slots_of(partition);
        Some(route(first, last, address))
    }

    /// Messages of the transaction protocol sent to other members since the start.
    pub fn messages_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Members to ask, the likeliest first, each once.
    fn candidates(&self, partition: PartitionId) -> Vec<MemberId> {
        let catalogue = self.catalogue.get();
        let replicas = catalogue
            .partitions
            .get(&partition)
            .map(|partition| &partition.replicas);
        let holders = replicas.into_iter().flat_map(|replicas| replicas.values());
        let voters = holders
            .filter(|replica| replica.role == ReplicaRole::Voter)
            .map(|replica| replica.member);
        let mut candidates: Vec<MemberId> = Vec::new();
        for member in self
            .known_leader(partition)
            .into_iter()
            .chain(self.hints().get(&partition).copied())
            .chain(voters)
        {
            if !candidates.contains(&member) {
                candidates.push(member);
            }
        }
        candidates
    }

    /// The voters in turn, so that those who do not lead have their part of the reads.
    fn any_voter(&self, partition: PartitionId) -> Option<MemberId> {
        let candidates = self.candidates(partition);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        candidates.get(turn % candidates.len().max(1)).copied()
    }

    async fn attempt(&self, member: MemberId, partition: PartitionId, request: &Request) -> Attempt {
        if member == self.peers.me() {
            return match self.local.get(partition) {
                Some(local) => of_response(local.leader.handle(request.clone()).await),
                None => Attempt::Elsewhere(None, format!("member {member} has no replica of partition {partition}")),
            };
        }
        let message = PartitionRequest {
            envelope: self.peers.envelope(member),
            partition: partition.0,
            replica_id: 0,
            body: message::encode(request).into(),
        };
        let mut client = match self.peers.client(member) {
            Ok(client) => client,
            Err(error) => return Attempt::Elsewhere(None, error.to_string()),
        };
        self.sent.fetch_add(1, Ordering::Relaxed);
        match client.partition(message).await {
            Ok(answer) => match message::decode::<Response>(&answer.into_inner().body) {
                Ok(response) => of_response(response),
                Err(error) => Attempt::Failed(Failure::Broken(error.to_string())),
            },
            Err(status) if never_sent(&status) => Attempt::Elsewhere(None, status.message().to_owned()),
            Err(status) => Attempt::Unknown(status.message().to_owned()),
        }
    }

    fn search(&self, partition: PartitionId) -> LeaderSearch {
        LeaderSearch::new(self.local.get(partition).as_ref().map(|local| &local.group))
    }

    fn hints(&self) -> MutexGuard<'_, BTreeMap<PartitionId, MemberId>> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hint(&self, partition: PartitionId, leader: Option<MemberId>) {
        let mut hints = self.hints();
        match leader {
            Some(member) => hints.insert(partition, member),
            None => hints.remove(&partition),
        };
    }
}

#[async_trait]
impl Partitions for Router {
    async fn call(&self, partition: PartitionId, request: Request) -> Result<Reply, CallError> {
        let again = may_be_done_twice(&request);
        let deadline = Instant::now() + FIND_LEADER_FOR;
        let mut search = None;
        let mut last = String::new();
        while Instant::now() < deadline {
            let mut candidates = self.candidates(partition);
            candidates.reverse();
            let mut asked = Vec::new();
            while let Some(member) = candidates.pop() {
                if asked.contains(&member) {
                    continue;
                }
                asked.push(member);
                match self.attempt(member, partition, &request).await {
                    Attempt::Answered(reply) => {
                        self.hint(partition, Some(member));
                        return Ok(reply);
                    }
                    Attempt::Failed(failure) => return Err(failure.into()),
                    Attempt::Unknown(cause) if !again => return Err(CallError::Unknown(cause)),
                    Attempt::Unknown(cause) => last = cause,
                    Attempt::Elsewhere(leader, cause) => {
                        self.hint(partition, leader);
                        candidates.extend(leader);
                        last = cause;
                    }
                }
            }
            search.get_or_insert_with(|| self.search(partition)).pause().await;
        }
        Err(CallError::Unavailable(format!(
            "partition {partition} has no leader that answers: {last}"
        )))
    }

    /// One message to each member, for all that it leads; whatever is not answered that way is asked for by itself.
    async fn call_all(&self, requests: Vec<(PartitionId, Request)>) -> Vec<Result<Reply, CallError>> {
        let batches = self.batches(&requests);
        let answered = join_all(batches.iter().map(|batch| self.ask_at_once(batch, &requests))).await;
        let mut answers: BTreeMap<usize, Result<Reply, CallError>> = answered.into_iter().flatten().collect();
        let ask = |(position, (partition, request))| {
            let answer = answers.remove(&position);
            async move {
                match answer {
                    Some(answer) => answer,
                    None => self.call(partition, request).await,
                }
            }
        };
        let asked: Vec<_> = requests.into_iter().enumerate().map(ask).collect();
        join_all(asked).await
    }

    async fn call_replica(&self, partition: PartitionId, request: Request) -> Option<Reply> {
        let member = match self.local.get(partition) {
            Some(_) => self.peers.me(),
            None => self.any_voter(partition)?,
        };
        match self.attempt(member, partition, &request).await {
            Attempt::Answered(reply) => Some(reply),
            Attempt::Elsewhere(..) | Attempt::Unknown(_) | Attempt::Failed(_) => None,
        }
    }

    fn open(&self, partition: PartitionId, at: Timestamp) -> Option<Opened> {
        self.local.get(partition)?.leader.open(at)
    }

    async fn read_indexes(&self, at_least: Timestamp, partitions: &[PartitionId]) -> Vec<Option<u64>> {
        self.ask_indexes(at_least, partitions).await
    }

    async fn ask_coordinator(&self, txn: TxnId) -> CoordinatorSays {
        self.ask_who_coordinates(txn).await
    }

    fn is_followed_here(&self, partition: PartitionId) -> bool {
        let here = self.local.get(partition);
        here.is_some_and(|local| !local.group.leadership().leading)
    }

    fn follows(&self) -> bool {
        self.local.any(|local| !local.group.leadership().leading)
    }

    fn partition_of(&self, slot: u16) -> PartitionId {
        // Keys are made here and begin with a slot; another number would be a bug that must not stop the process.
        placement::partition_of_slot(slot.min(placement::SLOTS - 1), self.partition_count())
    }

    fn slots_of(&self, partition: PartitionId) -> (u16, u16) {
        placement::slots_of(partition, self.partition_count()).into_inner()
    }

    fn all(&self) -> Vec<PartitionId> {
        (0..self.partition_count()).map(PartitionId).collect()
    }
}

fn of_response(response: Response) -> Attempt {
    match response {
        Ok(reply) => Attempt::Answered(reply),
        Err(Failure::NotLeader { leader }) => Attempt::Elsewhere(leader, "its replica does not lead".to_owned()),
        Err(Failure::Unknown) => Attempt::Unknown("the leader lost its leadership meanwhile".to_owned()),
        Err(
            failure @ (Failure::Busy(_)
            | Failure::TooOld
            | Failure::TooLarge(_)
            | Failure::Broken(_)
            | Failure::DiskFull(_)),
        ) => Attempt::Failed(failure),
    }
}

/// Every step of the protocol is idempotent by its transaction; but those that commit are asked about, not repeated.
fn may_be_done_twice(request: &Request) -> bool {
    match request {
        Request::Read { .. }
        | Request::Refresh(_)
        | Request::Prepare(_)
        | Request::CheckTxn { .. }
        | Request::Resolve { .. }
        | Request::Forget(_)
        | Request::History { .. }
        | Request::Close { .. }
        | Request::ReadReplica { .. }
        | Request::ReadNewest { .. } => true,
        Request::OnePhase(_) | Request::OnePhaseEventual(_) => false,
    }
}

/// The connection could not be made: the request cannot have arrived.
fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
