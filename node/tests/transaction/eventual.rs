//! The promise of an Eventual commit: told from the leader's own disk, and never where anything that is in the log already,
//! or may still get there before it, could make it untrue.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kotoba_node::raft::Leadership;
use kotoba_node::transaction::message::{OnePhase, OnePhaseReply};
use kotoba_node::transaction::{
    CallError, GroupError, PartitionGroup, PartitionLeader, Partitions, Reply, Request, Response,
};
use kotoba_state::ids::{MemberId, PartitionId, ReplicaId};
use kotoba_state::machine::{EntryPosition, StateMachine};
use kotoba_state::partition::{
    Condition, ConditionKind, Key, Op, PartitionMachine, Prepare, PrepareAnswer, Refusal, TxnHead, TxnId, slot_key,
};
use kotoba_state::store::{MemoryStore, Read};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::harness::oracle::Oracle;
use crate::harness::*;

/// An entry that has its place in the log and is on the leader's disk, but not with a majority.
type Entry = (Vec<u8>, oneshot::Sender<Vec<u8>>);

/// A log whose majority answers when the test says so.
struct SlowGroup {
    log: Mutex<VecDeque<Entry>>,
    store: Mutex<MemoryStore>,
    term: watch::Sender<Leadership>,
    /// Entries that are applied.
    applied: watch::Sender<u64>,
}

impl SlowGroup {
    fn new() -> Arc<Self> {
        let group = SlowGroup {
            log: Mutex::default(),
            store: Mutex::default(),
            term: watch::channel(Leadership::default()).0,
            applied: watch::channel(0).0,
        };
        group.lead_in(1);
        Arc::new(group)
    }

    fn lead_in(&self, term: u64) {
        self.term.send_replace(Leadership {
            term,
            leader: Some((ReplicaId(1), MemberId(1))),
            leading: true,
        });
    }

    /// A majority has all that is in the log.
    fn apply_all(&self) {
        let term = self.term.borrow().term;
        while let Some((command, answered)) = self.log.lock().expect("no test panics with it").pop_front() {
            let index = *self.applied.borrow() + 1;
            let store = &mut *self.store.lock().expect("no test panics with it");
            let answer = PartitionMachine
                .apply(store, EntryPosition { term, index }, &command)
                .expect("memory does not fail");
            self.applied.send_replace(index);
            let _ = answered.send(answer);
        }
    }

    fn waiting(&self) -> usize {
        self.log.lock().expect("no test panics with it").len()
    }

    /// Waits until so many entries are in the log and not applied.
    async fn has_waiting(&self, entries: usize) {
        until(|| self.waiting() == entries).await;
    }

    fn append(&self, command: Vec<u8>) -> oneshot::Receiver<Vec<u8>> {
        let (answered, answer) = oneshot::channel();
        self.log
            .lock()
            .expect("no test panics with it")
            .push_back((command, answered));
        answer
    }
}

#[async_trait]
impl PartitionGroup for SlowGroup {
    async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, GroupError> {
        self.append(command).await.map_err(|_| GroupError::Unknown)
    }

    async fn propose_told(&self, command: Vec<u8>, on_disk: oneshot::Sender<()>) -> Result<Vec<u8>, GroupError> {
        let answer = self.append(command);
        let _ = on_disk.send(());
        answer.await.map_err(|_| GroupError::Unknown)
    }

    async fn lease_barrier(&self) -> Result<(), GroupError> {
        self.read_barrier().await
    }

    async fn read_barrier(&self) -> Result<(), GroupError> {
        let last = *self.applied.borrow() + self.waiting() as u64;
        let mut applied = self.applied.subscribe();
        let _ = applied.wait_for(|applied| *applied >= last).await;
        Ok(())
    }

    fn is_covered_by_lease(&self) -> bool {
        false
    }

    fn applied_index(&self) -> u64 {
        *self.applied.borrow()
    }

    fn view(&self) -> Result<Box<dyn Read + Send>, GroupError> {
        Ok(Box::new(self.store.lock().expect("no test panics with it").clone()))
    }

    fn leadership(&self) -> Leadership {
        *self.term.borrow()
    }

    fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.term.subscribe()
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within("it did not come to that", look).await;
}

/// There are no others.
struct Alone;

#[async_trait]
impl Partitions for Alone {
    async fn call(&self, _: PartitionId, _: Request) -> Result<Reply, CallError> {
        Err(CallError::Unavailable("there are no others".to_owned()))
    }

    async fn call_replica(&self, _: PartitionId, _: Request) -> Option<Reply> {
        None
    }

    fn partition_of(&self, _: u16) -> PartitionId {
        PartitionId(0)
    }

    fn slots_of(&self, _: PartitionId) -> (u16, u16) {
        (0, SLOTS - 1)
    }

    fn all(&self) -> Vec<PartitionId> {
        vec![PartitionId(0)]
    }
}

/// One partition in which `n` exists.
struct Fixture {
    group: Arc<SlowGroup>,
    leader: Arc<PartitionLeader>,
    oracle: Arc<Oracle>,
}

const N: &str = "n";

impl Fixture {
    async fn new() -> Self {
        let (group, oracle) = (SlowGroup::new(), Arc::new(Oracle::default()));
        let leader = PartitionLeader::start(
            PartitionId(0),
            group.clone(),
            oracle.clone(),
            Arc::new(Alone),
            Arc::new(()),
            quiet(),
        );
        let fixture = Fixture { group, leader, oracle };
        // The first of a leadership sees to it that older entries are settled.
        let created = fixture.commit(1, [put(&name(N), "a node")], []);
        let created = joined(fixture.start(Request::OnePhaseEventual(created))).await;
        assert!(is_committed(&created));
        fixture.group.apply_all();
        fixture
    }

    fn head(&self, counter: u64, primary: &Key) -> TxnHead {
        let txn = TxnId {
            member: MemberId(7),
            incarnation: 1,
            counter,
        };
        TxnHead {
            txn,
            start_ts: self.oracle.issue(),
            primary: primary.clone(),
            deadline_ms: u64::MAX,
        }
    }

    fn commit<const W: usize, const C: usize>(
        &self,
        counter: u64,
        writes: [(Key, Op); W],
        conditions: [Condition; C],
    ) -> OnePhase {
        OnePhase {
            head: self.head(counter, &writes[0].0),
            writes: writes.into(),
            reads: Vec::new(),
            conditions: conditions.into(),
            elsewhere: Vec::new(),
            prepared: Default::default(),
        }
    }

    /// An edge at `n`, told as early as may be.
    fn connect(&self, counter: u64) -> JoinHandle<Response> {
        let edge = put(&name(&format!("edge {counter}")), "an edge");
        self.start(Request::OnePhaseEventual(self.commit(counter, [edge], [exists(N)])))
    }

    /// The deletion of `n`, as a part of a transaction over several partitions.
    fn prepare_deletion(&self, counter: u64) -> Request {
        Request::Prepare(Prepare {
            head: self.head(counter, &name(N)),
            writes: [(name(N), Op::Delete)].into(),
            reads: Vec::new(),
            conditions: Vec::new(),
            min_commit_hint: Default::default(),
        })
    }

    fn start(&self, request: Request) -> JoinHandle<Response> {
        let leader = self.leader.clone();
        tokio::spawn(async move { leader.handle(request).await })
    }
}

fn name(name: &str) -> Key {
    slot_key(0, name.as_bytes())
}

fn exists(key: &str) -> Condition {
    Condition {
        key: name(key),
        kind: ConditionKind::Exists,
        guarded: true,
    }
}

fn is_committed(response: &Response) -> bool {
    matches!(response, Ok(Reply::OnePhase(OnePhaseReply::Committed(_))))
}

fn is_refused(response: &Response) -> bool {
    matches!(
        response,
        Ok(Reply::OnePhase(
            OnePhaseReply::Refused(_) | OnePhaseReply::NotProposed(_)
        ))
    )
}

#[tokio::test]
async fn it_is_told_before_a_majority_has_it_and_a_strong_one_is_not() {
    let fixture = Fixture::new().await;
    assert!(is_committed(&joined(fixture.connect(2)).await));
    assert_eq!(fixture.group.waiting(), 1);
    let strong = fixture.commit(3, [put(&name("edge 3"), "an edge")], [exists(N)]);
    let mut strong = fixture.start(Request::OnePhase(strong));
    fixture.group.has_waiting(2).await;
    still_waits(&mut strong, "no majority has it").await;
    fixture.group.apply_all();
    assert!(is_committed(&joined(strong).await));
}

#[tokio::test]
async fn it_is_not_told_while_an_intent_may_come_before_it() {
    let fixture = Fixture::new().await;
    let deletion = fixture.start(fixture.prepare_deletion(2));
    fixture.group.has_waiting(1).await;
    let mut edge = fixture.connect(3);
    fixture.group.has_waiting(2).await;
    still_waits(&mut edge, "the deletion was proposed first").await;
    fixture.group.apply_all();
    let prepared = joined(deletion).await;
    assert!(matches!(prepared, Ok(Reply::Prepare(PrepareAnswer::Prepared))));
    let told = joined(edge).await;
    let Ok(Reply::OnePhase(OnePhaseReply::Refused(Refusal::Intent { .. }))) = told else {
        panic!("the deletion is in its way: {told:?}");
    };
}

#[tokio::test]
async fn a_proposal_that_nobody_waits_for_any_more_is_still_in_its_way() {
    let fixture = Fixture::new().await;
    let deletion = fixture.start(fixture.prepare_deletion(2));
    fixture.group.has_waiting(1).await;
    deletion.abort();
    let _ = deletion.await;
    let mut edge = fixture.connect(3);
    fixture.group.has_waiting(2).await;
    still_waits(&mut edge, "the deletion is in the log").await;
    fixture.group.apply_all();
    assert!(is_refused(&joined(edge).await));
}

#[tokio::test]
async fn what_an_older_leadership_proposed_is_in_its_way() {
    let fixture = Fixture::new().await;
    let deletion = fixture.start(fixture.prepare_deletion(2));
    fixture.group.has_waiting(1).await;
    deletion.abort();
    let _ = deletion.await;
    // As after a restart, nothing is remembered of it.
    let leader = PartitionLeader::start(
        PartitionId(0),
        fixture.group.clone(),
        fixture.oracle.clone(),
        Arc::new(Alone),
        Arc::new(()),
        quiet(),
    );
    fixture.group.lead_in(2);
    let fixture = Fixture { leader, ..fixture };
    let mut edge = fixture.connect(3);
    still_waits(&mut edge, "older entries are not applied").await;
    fixture.group.apply_all();
    edge.abort();
    assert!(!edge.await.is_ok_and(|told| is_committed(&told)));
}

#[tokio::test]
async fn what_it_requires_is_not_changed_by_a_latched_commit_before_it() {
    let fixture = Fixture::new().await;
    let deletion = fixture.start(Request::OnePhase(fixture.commit(2, [(name(N), Op::Delete)], [])));
    fixture.group.has_waiting(1).await;
    let mut edge = fixture.connect(3);
    still_waits(&mut edge, "the deletion is latched").await;
    fixture.group.apply_all();
    assert!(is_committed(&joined(deletion).await));
    until(|| {
        fixture.group.apply_all();
        edge.is_finished()
    })
    .await;
    assert!(is_refused(&joined(edge).await));
}

#[tokio::test]
async fn what_it_requires_is_not_changed_after_it_was_told_before_it_is_applied() {
    let fixture = Fixture::new().await;
    assert!(is_committed(&joined(fixture.connect(2)).await));
    let mut deletion = fixture.start(Request::OnePhase(fixture.commit(3, [(name(N), Op::Delete)], [])));
    still_waits(&mut deletion, "the edge guards its node").await;
    assert_eq!(fixture.group.waiting(), 1, "the deletion must not get in before it");
    fixture.group.apply_all();
    fixture.group.has_waiting(1).await;
    fixture.group.apply_all();
    assert!(is_committed(&joined(deletion).await));
}
