//! The partition's side of a transaction, at the replica that leads: reads, refreshes, and everything that is proposed.
//!
//! A read waits at latches, proves leadership, then opens one view and answers everything from it; whatever it learns of
//! undecided transactions, it reads again. Nothing that holds a latch can be cancelled by a client that goes away.

mod commit;
mod evaluate;
mod eventual;
mod opened;
mod read;
mod replica;
mod settle;
mod sightings;
mod small;
mod together;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::{self as state, CheckTxn, Command, Push, Status, TxnHead, TxnStatus};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::opened::{Opened, Role};
use self::sightings::Sightings;
pub(super) use self::small::{SMALL_KEYS, keys_of};
use self::small::{Size, SmallReads};
use self::together::{Doing, Together};
use self::turns::Turns;
use super::boundary::{Admission, GroupError, PartitionGroup, Partitions, Timestamps};
use super::coordinator::DEADLINE;
use super::latch::{LatchError, Latches};
use super::maintenance;
use super::message::{Failure, Reply, Request, Response};

/// How often a reader waits for the push of another one, before it pushes an open transaction itself.
const PUSHES_OF_OTHERS: usize = 4;

/// Bounds and intervals of a partition's leader.
#[derive(Clone, Debug)]
pub struct LeaderSettings {
    /// How long versions are kept for readers in the past.
    pub history_retention: Duration,
    /// Between two rounds of tidying up.
    pub maintenance_interval: Duration,
    /// An open transaction that was known for so long here, its primary, is rolled back, even where its coordinator carries on.
    pub transaction_lifetime: Duration,
    /// How long outcomes of transactions are kept for those who ask late; longer than a transaction may live.
    pub record_retention: Duration,
    /// The least time between two notes of the state's digest.
    pub digest_interval: Duration,
}

impl Default for LeaderSettings {
    fn default() -> Self {
        LeaderSettings {
            history_retention: Duration::from_secs(600),
            maintenance_interval: Duration::from_secs(5),
            transaction_lifetime: DEADLINE,
            record_retention: Duration::from_secs(30),
            digest_interval: Duration::from_secs(60),
        }
    }
}

/// Serves one partition from this member; it answers only while its replica leads.
pub struct PartitionLeader {
    pub(super) partition: PartitionId,
    pub(super) group: Arc<dyn PartitionGroup>,
    pub(super) timestamps: Arc<dyn Timestamps>,
    pub(super) partitions: Arc<dyn Partitions>,
    admission: Arc<dyn Admission>,
    pub(super) settings: LeaderSettings,
    pub(super) latches: Arc<Latches>,
    turns: Turns,
    /// The newest term of which it is known that all entries of older ones are applied here.
    settled_term: AtomicU64,
    sightings: Sightings,
    small_reads: SmallReads,
    /// What decided transactions left here, as it is cleared.
    clearing: Together,
    /// Open transactions that commit above readers, as they are made to.
    pushing: Together,
    /// The largest snapshot served: later intents commit above it anyway, and say so to readers below.
    max_seen: AtomicU64,
    stop: CancellationToken,
}

impl PartitionLeader {
    /// Starts serving; ends with [`PartitionLeader::stop`].
    pub fn start(
        partition: PartitionId,
        group: Arc<dyn PartitionGroup>,
        timestamps: Arc<dyn Timestamps>,
        partitions: Arc<dyn Partitions>,
        admission: Arc<dyn Admission>,
        settings: LeaderSettings,
    ) -> Arc<Self> {
        let leader = Arc::new(PartitionLeader {
            partition,
            group,
            timestamps,
            partitions,
            admission,
            settings,
            latches: Arc::default(),
            turns: Turns::default(),
            settled_term: AtomicU64::new(0),
            sightings: Sightings::default(),
            small_reads: SmallReads::default(),
            clearing: Together::default(),
            pushing: Together::default(),
            max_seen: AtomicU64::new(0),
            stop: CancellationToken::new(),
        });
        tokio::spawn(
            leader
                .stop
                .clone()
                .run_until_cancelled_owned(leader.clone().watch_step_down()),
        );
        tokio::spawn(
            leader
                .stop
                .clone()
                .run_until_cancelled_owned(maintenance::run(leader.clone())),
        );
        leader
    }

    /// Ends the background tasks; requests under way end by themselves.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Answers one request of the protocol.
    pub async fn handle(self: &Arc<Self>, request: Request) -> Response {
        match request {
            Request::Read {
                snapshot,
                reads,
                max_bytes,
            } => self.read(snapshot, reads, max_bytes).await.map(Reply::Read),
            Request::Refresh(refresh) => self.refresh(refresh).await.map(Reply::Refresh),
            Request::OnePhase(one_phase) => {
                self.admit()?;
                self.one_phase(one_phase).await.map(Reply::OnePhase)
            }
            Request::OnePhaseEventual(one_phase) => {
                self.admit()?;
                self.one_phase_eventual(one_phase).await.map(Reply::OnePhase)
            }
            Request::Prepare(prepare) => {
                self.admit()?;
                self.prepare(prepare).await.map(Reply::Prepare)
            }
            Request::CheckTxn { head, push } => self.check_txn(head, push).await.map(Reply::Status),
            Request::Resolve { txn, decided } => {
                self.propose(&Command::ResolveIntents { txn, decided }).await?;
                Ok(Reply::Resolved)
            }
            Request::Forget(resolved) => {
                self.propose(&Command::Forget(resolved)).await?;
                Ok(Reply::Forgotten)
            }
            Request::History { snapshot, key, limit } => self.history(snapshot, key, limit).await,
            Request::Close { at } => self.close(at).await,
            Request::ReadNewest {
                at_least,
                reads,
                max_bytes,
            } => self.read_newest(at_least, reads, max_bytes).await,
            Request::ReadReplica {
                snapshot,
                reads,
                max_bytes,
            } => self.read_replica(snapshot, reads, max_bytes).await,
        }
    }

    /// Only the leader refuses for want of room: elsewhere the request has nothing to do.
    fn admit(&self) -> Result<(), Failure> {
        self.leading_term()?;
        self.admission.admit(self.partition)
    }

    /// A transaction's outcome. It is read, and only what has to change it is proposed; of readers who all want it above them one
    /// proposes for all.
    async fn check_txn(&self, head: TxnHead, push: Push) -> Result<TxnStatus, Failure> {
        let Push::MinCommit(snapshot) = push else {
            return self.check_once(head, push).await;
        };
        self.note_seen(snapshot);
        for _ in 0..PUSHES_OF_OTHERS {
            match self.pushing.begin(head.txn) {
                Doing::Another(another) => another.ended().await,
                Doing::Mine(_mine) => return self.check_once(head, push).await,
            }
        }
        self.check_once(head, push).await
    }

    async fn check_once(&self, head: TxnHead, push: Push) -> Result<TxnStatus, Failure> {
        self.group.read_barrier().await.map_err(failure)?;
        let view = self.group.view().map_err(failure)?;
        let asked = head.clone();
        let look = move || state::status(view.as_ref(), &asked);
        let status = self.look_at(Size::Small, look).await?;
        let snapshot = match push {
            Push::MinCommit(snapshot) => snapshot,
            Push::None | Push::AbortExpired | Push::Abort => Timestamp(u64::MAX),
        };
        let answer = status.answer(snapshot);
        let deadline_ms = match status {
            Status::Pending { deadline_ms, .. } => deadline_ms,
            Status::Absent => head.deadline_ms,
            Status::Committed(_) | Status::Aborted | Status::Gone => return Ok(answer),
        };
        self.note_open(&head);
        let is_pushed = match push {
            Push::None => false,
            Push::AbortExpired => !self.is_live(&head).await,
            Push::MinCommit(_) | Push::Abort => true,
        };
        if answer != TxnStatus::Pending || !is_pushed {
            return Ok(answer);
        }
        let push = match push {
            Push::MinCommit(snapshot) => Push::MinCommit(self.seen().max(snapshot)),
            Push::None | Push::AbortExpired | Push::Abort => push,
        };
        let check = CheckTxn {
            head,
            // It is over because it was seen for so long; no clock on a wall is asked.
            now_ms: deadline_ms.saturating_add(1),
            push,
        };
        match self.propose(&Command::CheckTxn(check)).await? {
            state::Answer::CheckTxn(status) => Ok(status),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Whether an open transaction may still end by itself: it has some of its time left, and its coordinator carries on, as
    /// far as is known.
    pub(super) async fn is_live(&self, head: &TxnHead) -> bool {
        let is_live = self.note_open(head);
        if !is_live || !self.sightings.is_to_ask(head.txn, Instant::now()) {
            return is_live;
        }
        let says = self.partitions.ask_coordinator(head.txn).await;
        self.sightings.hear(head.txn, says, Instant::now());
        self.note_open(head)
    }

    /// Notes that a transaction is open; tells whether it is live, as far as is known.
    fn note_open(&self, head: &TxnHead) -> bool {
        let lifetime = self.settings.transaction_lifetime;
        self.sightings.is_live(head.txn, Instant::now(), lifetime)
    }

    /// Proposes anything but a one-phase commit, whose keys are latched.
    pub(super) async fn propose(&self, command: &Command) -> Result<state::Answer, Failure> {
        let turn = self.turns.unlatched().await;
        let answer = self.propose_latched(command).await;
        match &answer {
            Ok(_) => turn.applied(),
            Err(
                Failure::NotLeader { .. }
                | Failure::Busy(_)
                | Failure::TooOld
                | Failure::TooLarge(_)
                | Failure::DiskFull(_),
            ) => turn.not_proposed(),
            // It may still be under way.
            Err(Failure::Unknown | Failure::Broken(_)) => drop(turn),
        }
        answer
    }

    async fn propose_latched(&self, command: &Command) -> Result<state::Answer, Failure> {
        let answer = self.group.propose(command.encode()).await.map_err(failure)?;
        state::Answer::decode(&answer).map_err(|error| Failure::Broken(error.to_string()))
    }

    /// The term in which this replica leads.
    pub(super) fn leading_term(&self) -> Result<u64, Failure> {
        let leadership = self.group.leadership();
        match leadership.leading {
            true => Ok(leadership.term),
            false => Err(Failure::NotLeader {
                leader: leadership.leader.map(|(_, member)| member),
            }),
        }
    }

    /// The largest snapshot served.
    pub(super) fn seen(&self) -> Timestamp {
        Timestamp(self.max_seen.load(Ordering::Acquire))
    }

    pub(super) fn note_seen(&self, snapshot: Timestamp) {
        self.max_seen.fetch_max(snapshot.0, Ordering::AcqRel);
    }

    /// Voids the latches of every term that ends, so that waiting readers fail.
    async fn watch_step_down(self: Arc<Self>) {
        let mut changes = self.group.watch_leadership();
        let mut leading: Option<u64> = None;
        loop {
            let now = *changes.borrow_and_update();
            let current = now.leading.then_some(now.term);
            if let Some(ended) = leading.filter(|term| Some(*term) != current) {
                self.latches.step_down(ended);
            }
            leading = current;
            if changes.changed().await.is_err() {
                self.latches.step_down(u64::MAX);
                return;
            }
        }
    }
}

pub(super) fn failure(error: GroupError) -> Failure {
    match error {
        GroupError::NotLeader { leader } => Failure::NotLeader { leader },
        GroupError::Unknown => Failure::Unknown,
        GroupError::TooLarge { .. } => Failure::TooLarge(error.to_string()),
        GroupError::State(cause) => Failure::Broken(cause),
    }
}

pub(super) fn latch_failure(error: LatchError) -> Failure {
    match error {
        LatchError::Timeout => Failure::Busy(error.to_string()),
        LatchError::SteppedDown => Failure::NotLeader { leader: None },
    }
}

pub(super) fn wrong_answer(answer: &state::Answer) -> Failure {
    Failure::Broken(format!("the state machine answered {answer:?} to another question"))
}

/// Runs a read of the store where it may block.
pub(super) async fn blocking<T: Send + 'static, E: std::fmt::Debug + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::Broken(format!("{error:?}"))),
        Err(error) => Err(Failure::Broken(error.to_string())),
    }
}
