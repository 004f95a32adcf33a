//! One task of the writer: a node per transaction, most of them with an edge from a random older node, so that most
//! transactions touch two or three partitions.

use std::time::Duration;

use kotoba_proto::ContentId;
use kotoba_proto::cluster::OperationOutcome;
use kotoba_proto::v1::{CreateEdge, CreateNode, NodeRef, Operation, Value};
use rand::Rng;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::ledger::{Attempt, Entry, Ledger, WrittenEdge};
use super::{EDGE_TYPE, LABEL, SERIAL};
use crate::database::{Database, Failure};

/// At most twenty writes a second and task: a steady load, not a benchmark.
const PACE: Duration = Duration::from_millis(50);

/// Writes until told to stop.
pub async fn run<D: Database>(database: D, ledger: Ledger, number: usize, mut stopped: watch::Receiver<bool>) {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stopped.borrow() {
        write_one(&database, &ledger, number).await;
        tokio::select! {
            _ = pace.tick() => {}
            _ = stopped.changed() => {}
        }
    }
}

async fn write_one<D: Database>(database: &D, ledger: &Ledger, number: usize) {
    let serial = ledger.next_serial();
    let source = older_node(ledger);
    match database.execute(operations(serial, number, source)).await {
        Ok(outcomes) => match entry(serial, source, &outcomes) {
            Some(entry) => ledger.acknowledge(entry),
            None => ledger.note_reads(Ok(vec![format!(
                "write {serial} was acknowledged with {} results",
                outcomes.len()
            )])),
        },
        Err(Failure::NotApplied(reason)) => ledger.note_not_applied(serial, &reason),
        Err(Failure::Unknown(reason)) => ledger.note_unknown(serial, Attempt { source }, &reason),
    }
}

fn older_node(ledger: &Ledger) -> Option<u64> {
    let acknowledged = ledger.len();
    if acknowledged == 0 {
        return None;
    }
    let index = rand::rng().random_range(0..acknowledged);
    ledger.entry(index).map(|entry| entry.node)
}

fn operations(serial: u64, number: usize, source: Option<u64>) -> Vec<Operation> {
    let node = CreateNode {
        labels: vec![LABEL.clone()],
        properties: [
            (SERIAL.to_owned(), serial_value(serial)),
            ("text".to_owned(), Value::from(text(serial))),
            ("writer".to_owned(), Value::from(number as i64)),
        ]
        .into(),
    };
    let edge = source.map(|source| CreateEdge {
        r#type: EDGE_TYPE.clone(),
        source: Some(NodeRef::id(source)),
        target: Some(NodeRef::operation(0)),
        properties: [(SERIAL.to_owned(), serial_value(serial))].into(),
    });
    std::iter::once(node.into()).chain(edge.map(Operation::from)).collect()
}

/// Serials count from one in one process, so they are far from the end of i64.
pub fn serial_value(serial: u64) -> Value {
    Value::from(i64::try_from(serial).unwrap_or(i64::MAX))
}

/// What the node of a write must say.
pub fn text(serial: u64) -> String {
    format!("write number {serial}")
}

fn entry(serial: u64, source: Option<u64>, outcomes: &[OperationOutcome]) -> Option<Entry> {
    let (node, edge) = outcomes.split_first()?;
    if edge.len() != usize::from(source.is_some()) {
        return None;
    }
    Some(Entry {
        serial,
        bookmark: node.bookmark,
        node: node.id,
        node_cid: ContentId::clone(&node.cid),
        edge: source.zip(edge.first()).map(|(source, edge)| WrittenEdge {
            id: edge.id,
            cid: edge.cid.clone(),
            source,
        }),
    })
}
