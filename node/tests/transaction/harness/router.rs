//! The way to the partitions' leaders, with faults: messages that are held, lost, doubled or come late.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use std::time::Duration;

use async_trait::async_trait;
use kotoba_node::transaction::{
    CallError, CoordinatorSays, Failure, Opened, PartitionLeader, Partitions, Reply, Request, Response, UnderWay,
};
use kotoba_state::ids::{MemberId, PartitionId, Timestamp};
use kotoba_state::partition::TxnId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::group::{REPLICAS, TestGroup};
use super::{DEADLINE, SLOTS};

/// What happens to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits at the gate before it is done.
    HoldRequest,
    /// It is done, and its answer waits at the gate.
    HoldAnswer,
    /// The sender hears at once that the outcome is unknown; it is done when the gate opens.
    SendLater,
    /// It is done, and the sender hears that the outcome is unknown.
    LoseAnswer,
    /// It is done twice; the sender hears the second answer.
    Twice,
}

/// Which messages a rule is about.
type Matches = Box<dyn Fn(PartitionId, &Request) -> bool + Send>;

struct Rule {
    matches: Matches,
    fate: Fate,
    gate: Arc<Gate>,
}

/// One partition with a server at each of its replicas.
pub struct Served {
    pub group: Arc<TestGroup>,
    pub leaders: Vec<Arc<PartitionLeader>>,
}

/// Finds leaders; one is shared by all members that are well.
#[derive(Default)]
pub struct Router {
    served: OnceLock<Vec<Served>>,
    rules: Mutex<Vec<Rule>>,
    chaos: Mutex<Option<StdRng>>,
    /// How often leaders were asked how far they are.
    pub indexes_asked: AtomicUsize,
    coordinating: Mutex<BTreeMap<MemberId, Coordinating>>,
    /// How often coordinators were asked whether they carry on.
    pub coordinators_asked: AtomicUsize,
}

/// What a member has under way, and whether it is dead.
struct Coordinating {
    under_way: Arc<UnderWay>,
    death: CancellationToken,
}

impl Router {
    /// From now on some answers are lost.
    pub fn unleash(&self, seed: u64) {
        *self.chaos() = Some(StdRng::seed_from_u64(seed));
    }

    pub fn calm(&self) {
        *self.chaos() = None;
    }

    fn loses_an_answer(&self) -> bool {
        self.chaos().as_mut().is_some_and(|rng| rng.random_ratio(1, 60))
    }

    fn chaos(&self) -> std::sync::MutexGuard<'_, Option<StdRng>> {
        self.chaos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who answers for the transactions of a member; as long as it lives.
    pub fn coordinates(&self, member: MemberId, under_way: Arc<UnderWay>, death: CancellationToken) {
        self.coordinating().insert(member, Coordinating { under_way, death });
    }

    fn coordinating(&self) -> std::sync::MutexGuard<'_, BTreeMap<MemberId, Coordinating>> {
        self.coordinating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn serve(&self, served: Vec<Served>) {
        assert!(self.served.set(served).is_ok(), "served once");
    }

    pub fn served(&self) -> &[Served] {
        self.served
            .get()
            .expect("the partitions are served before the first message")
    }

    /// Gives the next message that matches another fate.
    pub fn on_next(&self, fate: Fate, matches: impl Fn(PartitionId, &Request) -> bool + Send + 'static) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(Rule {
            matches: Box::new(matches),
            fate,
            gate: gate.clone(),
        });
        gate
    }

    fn take_rule(&self, partition: PartitionId, request: &Request) -> Option<Rule> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let found = rules.iter().position(|rule| (rule.matches)(partition, request))?;
        Some(rules.remove(found))
    }

    /// Asks the present leader, and the next one where it does not lead any more.
    pub async fn deliver(&self, partition: PartitionId, request: Request) -> Response {
        let served = &self.served()[partition.0 as usize];
        let deadline = Instant::now() + DEADLINE;
        loop {
            let leader = &served.leaders[served.group.leader()];
            match leader.handle(request.clone()).await {
                Err(Failure::NotLeader { .. }) if Instant::now() < deadline => tokio::task::yield_now().await,
                response => return response,
            }
        }
    }

    async fn fated(self: Arc<Self>, rule: Rule, partition: PartitionId, request: Request) -> Result<Reply, CallError> {
        let lost = || CallError::Unknown("lost by the test".to_owned());
        match rule.fate {
            Fate::HoldRequest => {
                rule.gate.stand().await;
                let response = self.deliver(partition, request).await;
                rule.gate.pass();
                Ok(response?)
            }
            Fate::HoldAnswer => {
                let response = self.deliver(partition, request).await;
                rule.gate.stand().await;
                rule.gate.pass();
                Ok(response?)
            }
            Fate::SendLater => {
                tokio::spawn(async move {
                    rule.gate.stand().await;
                    let _ = self.deliver(partition, request).await;
                    rule.gate.pass();
                });
                Err(lost())
            }
            Fate::LoseAnswer => {
                let _ = self.deliver(partition, request).await;
                Err(lost())
            }
            Fate::Twice => {
                let _ = self.deliver(partition, request.clone()).await;
                Ok(self.deliver(partition, request).await?)
            }
        }
    }

    fn per_partition(&self) -> u16 {
        SLOTS / u16::try_from(self.served().len()).expect("few partitions")
    }
}

/// The replicas that a member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    Nothing,
    /// Those that lead.
    Leaders,
    /// Those that follow.
    Followers,
    /// Those of this number.
    Replicas(usize),
}

/// A member's own way to the partitions; the member can die.
pub struct Route {
    router: Arc<Router>,
    /// Messages this member still sends. Very many for one that stays alive.
    left: AtomicI64,
    has: Has,
    /// Cancelled when the member dies.
    pub death: CancellationToken,
}

impl Route {
    pub fn new(router: Arc<Router>, messages: i64) -> Arc<Self> {
        Arc::new(Route {
            router,
            left: AtomicI64::new(messages),
            has: Has::Nothing,
            death: CancellationToken::new(),
        })
    }

    /// Of a member that has a replica of each partition.
    pub fn of_member_with(has: Has, router: Arc<Router>) -> Arc<Self> {
        Arc::new(Route {
            router,
            left: AtomicI64::new(i64::MAX),
            has,
            death: CancellationToken::new(),
        })
    }
}

impl Route {
    fn here(&self, partition: PartitionId) -> Option<&Arc<PartitionLeader>> {
        let served = &self.router.served()[partition.0 as usize];
        let number = match self.has {
            Has::Nothing => return None,
            Has::Leaders => served.group.leader(),
            Has::Followers => (served.group.leader() + 1) % REPLICAS,
            Has::Replicas(number) => number,
        };
        served.leaders.get(number)
    }
}

#[async_trait]
impl Partitions for Route {
    async fn call(&self, partition: PartitionId, request: Request) -> Result<Reply, CallError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.death.cancel();
        }
        // The dead say nothing more and hear nothing more.
        if self.death.is_cancelled() {
            std::future::pending::<()>().await;
        }
        let answer = match self.router.take_rule(partition, &request) {
            Some(rule) => self.router.clone().fated(rule, partition, request).await,
            None if self.router.loses_an_answer() => {
                let _ = self.router.deliver(partition, request).await;
                Err(CallError::Unknown("lost in the chaos".to_owned()))
            }
            None => Ok(self.router.deliver(partition, request).await?),
        };
        if self.death.is_cancelled() {
            std::future::pending::<()>().await;
        }
        answer
    }

    async fn call_replica(&self, partition: PartitionId, request: Request) -> Option<Reply> {
        match self.here(partition) {
            Some(here) => here.handle(request).await.ok(),
            None => self.router.deliver(partition, request).await.ok(),
        }
    }

    fn open(&self, partition: PartitionId, at: Timestamp) -> Option<Opened> {
        self.here(partition)?.open(at)
    }

    async fn read_indexes(&self, at_least: Timestamp, partitions: &[PartitionId]) -> Vec<Option<u64>> {
        self.router.indexes_asked.fetch_add(1, Ordering::SeqCst);
        let mut indexes = Vec::new();
        for partition in partitions {
            let served = &self.router.served()[partition.0 as usize];
            let index = served.leaders[served.group.leader()].read_index(at_least).await;
            indexes.push(index.filter(|_| !self.router.loses_an_answer()));
        }
        indexes
    }

    async fn ask_coordinator(&self, txn: TxnId) -> CoordinatorSays {
        self.router.coordinators_asked.fetch_add(1, Ordering::SeqCst);
        let coordinating = self.router.coordinating();
        match coordinating
            .get(&txn.member)
            .filter(|member| !member.death.is_cancelled())
        {
            Some(member) if member.under_way.has(txn) => CoordinatorSays::UnderWay,
            Some(_) => CoordinatorSays::Ended,
            None => CoordinatorSays::Nothing {
                silent_for: Duration::ZERO,
            },
        }
    }

    fn is_followed_here(&self, _: PartitionId) -> bool {
        self.has == Has::Followers
    }

    fn partition_of(&self, slot: u16) -> PartitionId {
        PartitionId(u32::from(slot / self.router.per_partition()))
    }

    fn slots_of(&self, partition: PartitionId) -> (u16, u16) {
        let per = self.router.per_partition();
        let first = u16::try_from(partition.0).expect("few partitions") * per;
        (first, first + per - 1)
    }

    fn all(&self) -> Vec<PartitionId> {
        (0..self.router.served().len())
            .map(|at| PartitionId(at as u32))
            .collect()
    }
}
