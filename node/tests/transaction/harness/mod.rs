//! A whole cluster in memory around the real coordinator, leaders and state machines; only Raft, the oracle and the
//! network are replaced, by ones that a test can hold, lose and double.

pub mod chaos;
pub mod gate;
pub mod group;
pub mod oracle;
pub mod router;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kotoba_graph::read::{Answer, Read};
use kotoba_node::clock::SystemClock;
use kotoba_node::transaction::{
    CommitError, Coordinator, LeaderSettings, PartitionLeader, ReadError, ReadFrom, Reply, Request, Response, UnderWay,
    Writes,
};
use kotoba_state::ids::{MemberId, PartitionId, Timestamp};
use kotoba_state::partition::{
    self as state, Condition, ConditionKind, Decided, Key, Op, Push, TxnHead, TxnStatus, slot_key, slot_of,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use gate::run_until;
use group::{REPLICAS, TestGroup};
use oracle::Oracle;
use router::{Has, Route, Router, Served};

pub const SLOTS: u16 = 4_096;
/// Nothing in these tests takes longer unless it hangs.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// What a member that does not die may send.
const FOR_EVER: i64 = i64::MAX;
/// How long something is watched that must not happen.
const WATCHED: Duration = Duration::from_millis(40);

/// Waits for a future that has to come to an end.
pub async fn within<T>(otherwise: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{otherwise} within {DEADLINE:?}"),
    }
}

/// Waits for a task that has to come to an end.
pub async fn joined<T>(task: JoinHandle<T>) -> T {
    within("the task did not end", task)
        .await
        .expect("the task did not panic")
}

/// Sees that a task does not end while what it has to wait for is still there.
pub async fn still_waits<T: std::fmt::Debug>(task: &mut (impl Future<Output = T> + Unpin), why: &str) {
    if let Ok(ended) = tokio::time::timeout(WATCHED, task).await {
        panic!("{why}, but it did not wait: {ended:?}");
    }
}

pub struct Cluster {
    pub router: Arc<Router>,
    pub oracle: Arc<Oracle>,
    members: AtomicU64,
    dead: Mutex<BTreeSet<MemberId>>,
}

/// A member and the moment of its death.
#[derive(Clone)]
pub struct Doom {
    pub member: MemberId,
    pub death: CancellationToken,
}

/// No maintenance: tests say themselves when something is tidied up.
pub fn quiet() -> LeaderSettings {
    LeaderSettings {
        maintenance_interval: Duration::from_secs(3_600),
        ..LeaderSettings::default()
    }
}

impl Cluster {
    /// Partitions without maintenance.
    pub fn new(partitions: usize) -> Arc<Self> {
        Self::with_settings(partitions, &quiet())
    }

    pub fn with_settings(partitions: usize, settings: &LeaderSettings) -> Arc<Self> {
        let router = Arc::new(Router::default());
        let oracle = Arc::new(Oracle::default());
        let served = (0..partitions).map(|number| {
            let group = TestGroup::new();
            let leader = |replica| {
                PartitionLeader::start(
                    PartitionId(number as u32),
                    group.replica(replica),
                    oracle.clone(),
                    Route::new(router.clone(), FOR_EVER),
                    Arc::new(()),
                    settings.clone(),
                )
            };
            let leaders = (0..REPLICAS).map(leader).collect();
            Served { group, leaders }
        });
        router.serve(served.collect());
        Arc::new(Cluster {
            router,
            oracle,
            members: AtomicU64::new(1),
            dead: Mutex::default(),
        })
    }

    pub fn group(&self, partition: usize) -> &TestGroup {
        &self.router.served()[partition].group
    }

    pub fn partitions(&self) -> usize {
        self.router.served().len()
    }

    /// A key in a partition.
    pub fn key(&self, partition: usize, name: &str) -> Key {
        let per = usize::from(SLOTS) / self.partitions();
        slot_key((partition * per) as u16, name.as_bytes())
    }

    /// A coordinator on a member of its own.
    pub fn coordinator(&self) -> Arc<Coordinator> {
        self.doomed_coordinator(FOR_EVER).0
    }

    /// A coordinator whose member dies after so many messages.
    pub fn doomed_coordinator(&self, messages: i64) -> (Arc<Coordinator>, Doom) {
        let member = MemberId(self.members.fetch_add(1, Ordering::SeqCst));
        let route = Route::new(self.router.clone(), messages);
        let doom = Doom {
            member,
            death: route.death.clone(),
        };
        (self.coordinator_on(member, route), doom)
    }

    /// A coordinator on a member that has the replicas which follow.
    pub fn following_coordinator(&self) -> Arc<Coordinator> {
        self.coordinator_with(Has::Followers)
    }

    /// A coordinator on a member that has the replicas which lead.
    pub fn leading_coordinator(&self) -> Arc<Coordinator> {
        self.coordinator_with(Has::Leaders)
    }

    pub fn coordinator_with(&self, has: Has) -> Arc<Coordinator> {
        let member = MemberId(self.members.fetch_add(1, Ordering::SeqCst));
        self.coordinator_on(member, Route::of_member_with(has, self.router.clone()))
    }

    fn coordinator_on(&self, member: MemberId, route: Arc<Route>) -> Arc<Coordinator> {
        let under_way: Arc<UnderWay> = Arc::default();
        let death = route.death.clone();
        self.router.coordinates(member, under_way.clone(), death);
        let (oracle, clock) = (self.oracle.clone(), Arc::new(SystemClock));
        Arc::new(Coordinator::new(member, 1, oracle, route, under_way, clock))
    }

    /// The process of a dead member is started again: it answers, and knows of nothing.
    pub fn restart(&self, doom: &Doom) {
        self.router
            .coordinates(doom.member, Arc::default(), CancellationToken::new());
    }

    /// A message straight to a partition's leader.
    pub async fn send(&self, partition: usize, request: Request) -> Response {
        within("no answer", self.router.deliver(PartitionId(partition as u32), request)).await
    }

    /// The leader loses its leadership and has it again two terms later; its latches are lost.
    pub fn lose_and_regain_leadership(&self, partition: usize) {
        let group = self.group(partition);
        let leader = group.leader();
        group.elect((leader + 1) % REPLICAS);
        group.elect(leader);
    }

    /// Another replica leads from now on.
    pub fn move_leadership(&self, partition: usize) {
        let group = self.group(partition);
        group.elect((group.leader() + 1) % REPLICAS);
    }

    /// The value of a key at a snapshot, by a reader of its own.
    pub async fn read(&self, key: &Key, snapshot: Timestamp) -> Option<String> {
        let read = self.coordinator().read_value(key, snapshot);
        within("a read did not end", read)
            .await
            .expect("a read of a living cluster")
    }

    pub async fn read_now(&self, key: &Key) -> Option<String> {
        self.read(key, self.oracle.issue()).await
    }

    /// A reader that runs beside the test.
    pub fn reader(self: &Arc<Self>, key: &Key, snapshot: Timestamp) -> JoinHandle<Option<String>> {
        let (cluster, key) = (self.clone(), key.clone());
        tokio::spawn(async move { cluster.read(&key, snapshot).await })
    }

    /// Commits writes with nothing in their way.
    pub async fn wrote(&self, writes: impl IntoIterator<Item = (Key, Op)>) -> Timestamp {
        let coordinator = self.coordinator();
        let commit = coordinator.begin().commit(only(writes));
        within("a commit did not end", commit)
            .await
            .expect("nothing is in the way")
    }

    /// A transaction that writes without reading, beside the test.
    pub fn committing(&self, writes: Writes) -> JoinHandle<Result<Timestamp, CommitError>> {
        let coordinator = self.coordinator();
        tokio::spawn(async move { coordinator.begin().commit(writes).await })
    }

    /// Ends everything that is undecided, as recovery does when all coordinators are dead (invariant I7).
    pub async fn recover(&self) {
        self.end_where(|_| true).await;
        for partition in 0..self.partitions() {
            assert_eq!(self.heads_of_intents(partition), [], "intents are left");
        }
    }

    pub fn members_that_died(&self) -> MutexGuard<'_, BTreeSet<MemberId>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the transactions of dead members, as their deadline would.
    pub async fn bury_the_dead(&self) {
        let dead = self.members_that_died().clone();
        self.end_where(|head| dead.contains(&head.txn.member)).await;
    }

    async fn end_where(&self, is_over: impl Fn(&TxnHead) -> bool) {
        for partition in 0..self.partitions() {
            for head in self.heads_of_intents(partition).into_iter().filter(&is_over) {
                let decided = self.decide(&head).await;
                let txn = head.txn;
                let resolved = || self.send(partition, Request::Resolve { txn, decided });
                while resolved().await != Ok(Reply::Resolved) {}
            }
        }
    }

    /// Rolls a transaction back unless it is committed, as often as it takes to hear the answer.
    async fn decide(&self, head: &TxnHead) -> Decided {
        let home = self.partition_of(&head.primary);
        loop {
            let check = Request::CheckTxn {
                head: head.clone(),
                push: Push::Abort,
            };
            match self.send(home, check).await {
                Ok(Reply::Status(TxnStatus::Committed(at))) => return Decided::Committed(at),
                Ok(Reply::Status(TxnStatus::Aborted | TxnStatus::Gone)) => return Decided::Aborted,
                Err(_) => {}
                other => panic!("{head:?} cannot be decided: {other:?}"),
            }
        }
    }

    pub fn partition_of(&self, key: &[u8]) -> usize {
        usize::from(slot_of(key)) / (usize::from(SLOTS) / self.partitions())
    }

    /// The transactions that have intents on a partition.
    pub fn heads_of_intents(&self, partition: usize) -> Vec<TxnHead> {
        let store = self.group(partition).store();
        let (met, _) = state::expired_intents(&store, &[], u64::MAX, usize::MAX).expect("memory does not fail");
        let heads: BTreeMap<_, _> = met
            .into_iter()
            .map(|met| (met.intent.head.txn, met.intent.head))
            .collect();
        heads.into_values().collect()
    }
}

/// Reading one key, which most tests do.
pub trait ReadValue {
    fn read_value(
        self: Arc<Self>,
        key: &Key,
        snapshot: Timestamp,
    ) -> impl Future<Output = Result<Option<String>, ReadError>> + Send;
}

impl ReadValue for Coordinator {
    async fn read_value(self: Arc<Self>, key: &Key, snapshot: Timestamp) -> Result<Option<String>, ReadError> {
        let answers = self
            .read_at(snapshot, ReadFrom::Leaders, vec![get(key)], usize::MAX)
            .await?;
        Ok(value(answers.into_iter().next().expect("one answer to one read")))
    }
}

pub fn get(key: &Key) -> Read {
    Read::Get { key: key.clone() }
}

pub fn scan(from: &Key, to: &Key) -> Read {
    Read::Scan {
        from: from.clone(),
        to: to.clone(),
        limit: None,
        keys_only: false,
    }
}

pub fn value(answer: Answer) -> Option<String> {
    let value = answer.into_value().expect("a get");
    value.map(|bytes| String::from_utf8(bytes.into()).expect("tests write text"))
}

pub fn pairs(answer: Answer) -> Vec<(Key, Vec<u8>)> {
    let (pairs, more) = answer.into_pairs().expect("a scan");
    assert!(more.is_empty(), "tests read short ranges");
    let pairs = pairs.into_iter().map(|(key, value)| (key.into(), value.into()));
    pairs.collect()
}

pub fn put(key: &Key, value: &str) -> (Key, Op) {
    (key.clone(), Op::Put(value.as_bytes().to_vec()))
}

pub fn delete(key: &Key) -> (Key, Op) {
    (key.clone(), Op::Delete)
}

/// Writes without conditions.
pub fn only(writes: impl IntoIterator<Item = (Key, Op)>) -> Writes {
    Writes {
        writes: writes.into_iter().collect(),
        conditions: Vec::new(),
    }
}

pub fn condition(key: &Key, kind: ConditionKind, guarded: bool) -> Condition {
    Condition {
        key: key.clone(),
        kind,
        guarded,
    }
}

pub fn is_conflict<T: std::fmt::Debug>(result: &Result<T, CommitError>) -> bool {
    matches!(result, Err(CommitError::Conflict(_)))
}
