//! Queries over a cluster that has ever more nodes, or that says it forgot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock::SystemClock;
use async_trait::async_trait;
use bytes::Bytes;
use kotoba_graph::id::EntityId;
use kotoba_graph::key;
use kotoba_graph::query::CursorError;
use kotoba_graph::read::{Answer, Read};
use kotoba_graph::record::NodeRecord;
use kotoba_graph::value::{Properties, Value};
use kotoba_state::ids::{MemberId, PartitionId};

use super::*;
use crate::gateway::Level;
use crate::transaction::{
    CallError, ClosedSnapshots, Coordinator, Failure, Newest, Partitions, Reply, Request, Timestamps,
};

const NOW: Timestamp = Timestamp(1_000);
const AMPLE: Duration = Duration::from_secs(600);

/// One partition whose scans never end; counts what it is asked.
#[derive(Default)]
struct Endless {
    calls: AtomicUsize,
    /// Snapshots below this are refused.
    floor: Timestamp,
}

impl Endless {
    fn page(read: Read) -> Answer {
        let Read::ScanSlots(scan) = read else {
            panic!("only scans are expected: {read:?}")
        };
        let before = scan.after.as_ref().map_or(0, |after| {
            u64::from_be_bytes(after[3..11].try_into().unwrap()) & kotoba_graph::id::MAX_SEQUENCE
        });
        let node = |number| {
            let id = EntityId::for_edge(before + number, scan.first);
            let record = NodeRecord::new(id, BTreeSet::new(), Properties::new()).unwrap();
            (Bytes::from(key::node(id)), Bytes::from(record.encode()))
        };
        let pairs: Vec<_> = (1..=scan.limit.unwrap() as u64).map(node).collect();
        let rest = scan.continued_after(&pairs.last().unwrap().0).unwrap();
        Answer::Pairs {
            pairs,
            more: vec![Read::ScanSlots(rest)],
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Partitions for Endless {
    async fn call(&self, _: PartitionId, request: Request) -> Result<Reply, CallError> {
        let Request::Read { snapshot, reads, .. } = request else {
            panic!("only reads are expected: {request:?}")
        };
        self.calls.fetch_add(1, Ordering::SeqCst);
        // As a call over a wire does.
        tokio::task::yield_now().await;
        if snapshot < self.floor {
            return Err(Failure::TooOld.into());
        }
        Ok(Reply::Read(reads.into_iter().map(Endless::page).collect()))
    }

    async fn call_replica(&self, _: PartitionId, request: Request) -> Option<Reply> {
        panic!("only leaders are to be asked: {request:?}")
    }

    fn partition_of(&self, _: u16) -> PartitionId {
        PartitionId(0)
    }

    fn slots_of(&self, _: PartitionId) -> (u16, u16) {
        (0, kotoba_graph::id::SLOTS - 1)
    }

    fn all(&self) -> Vec<PartitionId> {
        vec![PartitionId(0)]
    }
}

struct Clock {
    recent: Option<Timestamp>,
}

#[async_trait]
impl Timestamps for Clock {
    async fn take(&self) -> Result<Timestamp, CallError> {
        Ok(NOW)
    }

    fn recent(&self) -> Option<Timestamp> {
        self.recent
    }
}

fn all_nodes(limit: Option<u64>) -> Ask {
    Ask {
        query: Query::FindNodes {
            label: None,
            filters: Vec::new(),
            limit,
        },
        order: Vec::new(),
        cursor: Vec::new(),
        reading: Reading {
            level: Level::Strong,
            bookmark: Timestamp(0),
            as_of: None,
            max_staleness: None,
        },
        count_only: false,
    }
}

type Answers = mpsc::Receiver<Result<RowBatch, QueryError>>;

fn start(partitions: &Arc<impl Partitions>, limits: QueryLimits, ask: Ask) -> (tokio::task::JoinHandle<()>, Answers) {
    let clock = Arc::new(Clock { recent: None });
    start_with(clock, partitions, limits, ask)
}

fn start_with(
    clock: Arc<Clock>,
    partitions: &Arc<impl Partitions>,
    limits: QueryLimits,
    ask: Ask,
) -> (tokio::task::JoinHandle<()>, Answers) {
    let coordinator = Coordinator::new(
        MemberId(1),
        1,
        clock.clone(),
        partitions.clone(),
        Arc::default(),
        Arc::new(SystemClock),
    );
    let closed = ClosedSnapshots::new(clock, partitions.clone());
    let (sender, answers) = mpsc::channel(PARTS_IN_FLIGHT);
    let task = tokio::spawn(async move {
        let snapshots = Snapshots {
            coordinator: &coordinator,
            closed: &closed,
        };
        answer(snapshots, &limits, AMPLE, ask, sender).await;
    });
    (task, answers)
}

/// All parts of an answer.
async fn run(partitions: &Arc<Endless>, limits: QueryLimits, ask: Ask) -> Result<Vec<RowBatch>, QueryError> {
    let (_task, mut answers) = start(partitions, limits, ask);
    let mut parts = Vec::new();
    while let Some(part) = answers.recv().await {
        parts.push(part?);
    }
    Ok(parts)
}

/// Lets every other task run until it waits for something.
async fn settle() {
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_query_stops_reading_when_its_client_is_gone() {
    let endless = Arc::new(Endless::default());
    for count_only in [false, true] {
        let ask = Ask {
            count_only,
            ..all_nodes(None)
        };
        let (task, answers) = start(&endless, QueryLimits::default(), ask);
        let before = endless.calls();
        while endless.calls() < before + 3 {
            tokio::task::yield_now().await;
        }
        drop(answers);
        let asked = endless.calls();
        task.await.unwrap();
        assert!(
            endless.calls() <= asked + 1,
            "{} reads after the end",
            endless.calls() - asked
        );
    }
}

#[tokio::test]
async fn a_slow_client_slows_the_reads_down() {
    let endless = Arc::new(Endless::default());
    let (_task, mut answers) = start(&endless, QueryLimits::default(), all_nodes(None));
    settle().await;
    let waiting = endless.calls();
    assert!(
        waiting <= PARTS_IN_FLIGHT + 1,
        "{waiting} reads for a client that takes nothing"
    );
    settle().await;
    assert_eq!(endless.calls(), waiting);
    for _ in 0..PARTS_IN_FLIGHT {
        answers.recv().await.unwrap().unwrap();
    }
    settle().await;
    assert!(endless.calls() > waiting);
}

#[tokio::test]
async fn an_answer_of_too_many_rows_says_what_to_do_and_a_limit_within_is_answered() {
    let endless = Arc::new(Endless::default());
    let limits = QueryLimits {
        max_rows: 1_000,
        ..QueryLimits::default()
    };
    let error = run(&endless, limits.clone(), all_nodes(None)).await.unwrap_err();
    assert!(matches!(error, QueryError::TooManyRows(1_000)), "{error}");
    let parts = run(&endless, limits, all_nodes(Some(1_000))).await.unwrap();
    let last = parts.last().unwrap();
    assert_eq!(last.total, Some(1_000));
    assert!(!last.cursor.is_empty());
}

#[tokio::test]
async fn a_query_without_an_end_runs_into_its_time() {
    let endless = Arc::new(Endless::default());
    let ask = Ask {
        count_only: true,
        ..all_nodes(None)
    };
    let clock = Arc::new(Clock { recent: None });
    let coordinator = Coordinator::new(
        MemberId(1),
        1,
        clock.clone(),
        endless.clone(),
        Arc::default(),
        Arc::new(SystemClock),
    );
    let (sender, mut answers) = mpsc::channel(PARTS_IN_FLIGHT);
    let closed = ClosedSnapshots::new(clock, endless);
    let snapshots = Snapshots {
        coordinator: &coordinator,
        closed: &closed,
    };
    answer(snapshots, &QueryLimits::default(), Duration::ZERO, ask, sender).await;
    assert!(matches!(answers.recv().await, Some(Err(QueryError::Timeout))));
}

#[tokio::test]
async fn the_next_page_is_read_at_the_snapshot_of_the_first() {
    let endless = Arc::new(Endless::default());
    let first = run(&endless, QueryLimits::default(), all_nodes(Some(10)))
        .await
        .unwrap();
    let cursor = Cursor::decode(&first.last().unwrap().cursor, &all_nodes(None).query, &[]).unwrap();
    assert_eq!(cursor.snapshot, NOW.0);
    let at = |snapshot| Ask {
        cursor: Cursor::new(snapshot, &all_nodes(None).query, &[], cursor.position.clone()).encode(),
        ..all_nodes(Some(10))
    };
    let second = run(&endless, QueryLimits::default(), at(NOW.0 - 5)).await.unwrap();
    assert!(second.iter().all(|part| part.snapshot.at == Timestamp(NOW.0 - 5)));
    assert!(!second[0].rows.is_empty() && second[0].rows[0] != first[0].rows[0]);
}

#[tokio::test]
async fn cursors_that_cannot_be_followed_are_refused_with_what_to_do() {
    let forgetful = Arc::new(Endless {
        floor: NOW,
        ..Endless::default()
    });
    let query = all_nodes(None).query;
    let cursor = |snapshot| {
        let id = EntityId::for_node(1);
        Cursor::new(snapshot, &query, &[], Position::Key(key::node(id))).encode()
    };
    let error = async |cursor| {
        let ask = Ask {
            cursor,
            ..all_nodes(Some(1))
        };
        run(&forgetful, QueryLimits::default(), ask).await.unwrap_err()
    };
    assert!(matches!(error(cursor(NOW.0 - 1)).await, QueryError::CursorTooOld));
    assert!(matches!(error(cursor(NOW.0 + 1)).await, QueryError::ForeignCursor));
    let damaged = error(vec![1, 2, 3]).await;
    assert!(matches!(
        damaged,
        QueryError::Refused(GraphError::Cursor(CursorError::Malformed))
    ));
}

/// One partition that holds every node there could be; each says how it was read.
struct Everybody {
    /// The first so many reads of the present find nothing changed.
    unchanged: usize,
    calls: AtomicUsize,
    /// Of a text that each has.
    bytes: usize,
}

impl Everybody {
    fn node(&self, read: &Read, version: &str) -> Answer {
        let Read::Get { key } = read else {
            panic!("only gets are expected: {read:?}")
        };
        let Ok(key::Key::Node(id)) = key::Key::decode(key) else {
            panic!("only nodes are expected: {key:?}")
        };
        let properties = Properties::from([
            ("read".to_owned(), Value::String(version.to_owned())),
            ("text".to_owned(), Value::String("x".repeat(self.bytes))),
        ]);
        Answer::Value(Some(
            NodeRecord::new(id, BTreeSet::new(), properties)
                .unwrap()
                .encode()
                .into(),
        ))
    }
}

#[async_trait]
impl Partitions for Everybody {
    async fn call(&self, _: PartitionId, request: Request) -> Result<Reply, CallError> {
        let answers = |reads: Vec<Read>, version| reads.iter().map(|read| self.node(read, version)).collect();
        match request {
            Request::Read { reads, .. } => Ok(Reply::Read(answers(reads, TAKEN))),
            Request::ReadNewest { at_least, reads, .. } => {
                let changed = self.calls.fetch_add(1, Ordering::SeqCst) >= self.unchanged;
                Ok(Reply::Newest(Newest {
                    since: Timestamp(at_least.0 + u64::from(changed)),
                    answers: answers(reads, KNOWN),
                }))
            }
            other => panic!("only reads are expected: {other:?}"),
        }
    }

    async fn call_replica(&self, _: PartitionId, request: Request) -> Option<Reply> {
        panic!("only leaders are to be asked: {request:?}")
    }

    fn partition_of(&self, _: u16) -> PartitionId {
        PartitionId(0)
    }

    fn slots_of(&self, _: PartitionId) -> (u16, u16) {
        (0, kotoba_graph::id::SLOTS - 1)
    }

    fn all(&self) -> Vec<PartitionId> {
        vec![PartitionId(0)]
    }
}

/// How a node was read: at a timestamp that was known, or at one that was taken.
const KNOWN: &str = "known";
const TAKEN: &str = "taken";

/// How many nodes were read how, and at which snapshots they were sent.
async fn read_nodes(unchanged: usize, nodes: u64, recent: Option<Timestamp>) -> (Vec<(String, usize)>, Vec<Timestamp>) {
    let everybody = Everybody {
        unchanged,
        calls: AtomicUsize::new(0),
        bytes: 0,
    };
    read_nodes_of(everybody, nodes, recent).await
}

async fn read_nodes_of(
    everybody: Everybody,
    nodes: u64,
    recent: Option<Timestamp>,
) -> (Vec<(String, usize)>, Vec<Timestamp>) {
    let everybody = Arc::new(everybody);
    let ask = Ask {
        query: Query::GetNodes {
            ids: (1..=nodes).map(EntityId::for_node).collect(),
        },
        ..all_nodes(None)
    };
    let clock = Arc::new(Clock { recent });
    let (_task, mut answers) = start_with(clock, &everybody, QueryLimits::default(), ask);
    let (mut found, mut snapshots) = (BTreeMap::new(), BTreeSet::new());
    while let Some(part) = answers.recv().await {
        let part = part.unwrap();
        snapshots.insert(part.snapshot.at);
        for row in part.rows {
            *found.entry(how_it_was_read(&row)).or_default() += 1;
        }
    }
    (found.into_iter().collect(), snapshots.into_iter().collect())
}

fn how_it_was_read(row: &v1::Row) -> String {
    let text = format!("{row:?}");
    let known = [KNOWN, TAKEN].into_iter().filter(|how| text.contains(*how));
    known.collect()
}

#[tokio::test]
async fn a_short_answer_takes_no_timestamp_where_nothing_has_changed() {
    let known = Timestamp(NOW.0 - 1);
    let (found, snapshots) = read_nodes(usize::MAX, 100, Some(known)).await;
    assert_eq!(found, [(KNOWN.to_owned(), 100)]);
    assert_eq!(snapshots, [known]);
    let (found, snapshots) = read_nodes(usize::MAX, 100, None).await;
    assert_eq!((found, snapshots), (vec![(TAKEN.to_owned(), 100)], vec![NOW]));
}

#[tokio::test]
async fn an_answer_whose_later_part_has_changed_begins_anew_and_nothing_of_it_was_sent() {
    let (found, snapshots) = read_nodes(1, 200, Some(Timestamp(NOW.0 - 1))).await;
    assert_eq!(found, [(TAKEN.to_owned(), 200)]);
    assert_eq!(snapshots, [NOW]);
}

#[tokio::test]
async fn a_long_answer_is_not_held_back() {
    let nodes = kotoba_graph::query::MAX_IDS as u64;
    let (found, snapshots) = read_nodes(usize::MAX, nodes, Some(Timestamp(NOW.0 - 1))).await;
    assert_eq!(found, [(TAKEN.to_owned(), nodes as usize)]);
    assert_eq!(snapshots, [NOW]);
}

#[tokio::test]
async fn what_is_too_much_in_haste_is_read_in_smaller_steps() {
    let large = || Everybody {
        unchanged: usize::MAX,
        calls: AtomicUsize::new(0),
        bytes: 400_000,
    };
    for recent in [None, Some(Timestamp(NOW.0 - 1))] {
        let (found, _) = read_nodes_of(large(), 100, recent).await;
        assert_eq!(found, [(TAKEN.to_owned(), 100)]);
    }
}
