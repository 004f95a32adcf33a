//! Compares the ledger with the database: every acknowledged write is there once and unchanged, a refused one is not
//! there, one of unknown outcome is there as a whole or not at all, and edges are seen from both ends.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use kotoba_proto::v1::value::Kind;
use kotoba_proto::v1::{Direction, Edge, Node, Value};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::ledger::{Ledger, Promises};
use super::{EDGE_TYPE, LABEL, SERIAL, lines, task};
use crate::database::{Database, Read, edges_of, edges_of_type, nodes_with};
use crate::say::say;

/// Acknowledged edges that are looked up from both ends; all of them are compared by a scan.
const BOTH_ENDS_SAMPLE: usize = 200;
/// Fixed, so that a failure can be repeated.
const SEED: u64 = 7;
/// Faults in the error; the number of all is there too.
const SHOWN: usize = 15;

/// Everything the database has of the writer, by serial.
#[derive(Debug, Default)]
struct Found {
    nodes: BTreeMap<u64, Vec<Node>>,
    edges: BTreeMap<u64, Vec<Edge>>,
}

/// Fails with what is missing, changed or there twice.
pub async fn check<D: Database>(database: &D, ledger: &Ledger) -> Result<()> {
    let promises = ledger.promises();
    let found = read(database).await?;
    let mut faults = acknowledged_faults(&promises, &found);
    faults.extend(stranger_faults(&promises, &found));
    faults.extend(unknown_faults(&promises, &found));
    faults.extend(both_ends_faults(database, &promises).await?);
    let shown = &faults[..faults.len().min(SHOWN)];
    ensure!(
        faults.is_empty(),
        "{} faults in what was written:{}",
        faults.len(),
        lines(shown)
    );
    say(format!(
        "all {} acknowledged writes are there; of {} of unknown outcome {} were applied",
        promises.acknowledged.len(),
        promises.unknown.len(),
        promises
            .unknown
            .keys()
            .filter(|serial| found.nodes.contains_key(serial))
            .count()
    ));
    Ok(())
}

async fn read<D: Database>(database: &D) -> Result<Found> {
    let mut found = Found::default();
    let nodes = database.ask(nodes_with(&LABEL, Vec::new()), Read::Strong).await?;
    for node in nodes.nodes() {
        let serial = serial_of(&node.properties);
        found.nodes.entry(serial).or_default().push(node.clone());
    }
    let edges = database.ask(edges_of_type(&EDGE_TYPE), Read::Strong).await?;
    for edge in edges.edges() {
        let serial = serial_of(&edge.properties);
        found.edges.entry(serial).or_default().push(edge.clone());
    }
    Ok(found)
}

/// Zero, which is no serial, where there is none: a stranger then.
fn serial_of(properties: &BTreeMap<String, Value>) -> u64 {
    match properties.get(SERIAL).and_then(|value| value.kind.as_ref()) {
        Some(Kind::Integer(serial)) => u64::try_from(*serial).unwrap_or_default(),
        Some(_) | None => 0,
    }
}

fn acknowledged_faults(promises: &Promises, found: &Found) -> Vec<String> {
    let mut faults = Vec::new();
    for entry in &promises.acknowledged {
        let serial = entry.serial;
        let text = Value::from(task::text(serial));
        let right = |node: &Node| {
            node.id == entry.node
                && node.cid[..] == *entry.node_cid.as_bytes()
                && node.properties.get("text") == Some(&text)
        };
        faults.extend(exactly_one(serial, "node", found.nodes.get(&serial), right));
        let Some(edge) = &entry.edge else { continue };
        let right = |seen: &Edge| {
            seen.id == edge.id
                && seen.cid[..] == *edge.cid.as_bytes()
                && (seen.source, seen.target) == (edge.source, entry.node)
        };
        faults.extend(exactly_one(serial, "edge", found.edges.get(&serial), right));
    }
    faults
}

fn exactly_one<T: std::fmt::Debug>(
    serial: u64,
    what: &str,
    found: Option<&Vec<T>>,
    right: impl Fn(&T) -> bool,
) -> Option<String> {
    match found.map_or(&[] as &[T], Vec::as_slice) {
        [] => Some(format!("the {what} of the acknowledged write {serial} is lost")),
        [one] if right(one) => None,
        [one] => Some(format!("the {what} of write {serial} is changed: {one:?}")),
        many => Some(format!("the {what} of write {serial} is there {} times", many.len())),
    }
}

/// What is there although it was refused, or although nobody wrote it.
fn stranger_faults(promises: &Promises, found: &Found) -> Vec<String> {
    let known: std::collections::BTreeSet<u64> = promises
        .acknowledged
        .iter()
        .map(|entry| entry.serial)
        .chain(promises.unknown.keys().copied())
        .collect();
    found
        .nodes
        .keys()
        .chain(found.edges.keys())
        .filter(|serial| !known.contains(serial))
        .map(|serial| {
            let refused = promises.not_applied.contains(serial);
            let why = if refused { "was refused" } else { "was never made" };
            format!("write {serial} {why} and is there")
        })
        .collect()
}

/// A write of unknown outcome is there as a whole and once, or not at all.
fn unknown_faults(promises: &Promises, found: &Found) -> Vec<String> {
    let count = |found: Option<usize>| found.unwrap_or_default();
    let mut faults = Vec::new();
    for (serial, attempt) in &promises.unknown {
        let nodes = count(found.nodes.get(serial).map(Vec::len));
        let edges = count(found.edges.get(serial).map(Vec::len));
        let whole = (1, usize::from(attempt.source.is_some()));
        if (nodes, edges) != (0, 0) && (nodes, edges) != whole {
            faults.push(format!("write {serial} left {nodes} nodes and {edges} edges"));
        }
    }
    faults
}

async fn both_ends_faults<D: Database>(database: &D, promises: &Promises) -> Result<Vec<String>> {
    let mut random = StdRng::seed_from_u64(SEED);
    let sample = promises.acknowledged.choose_multiple(&mut random, BOTH_ENDS_SAMPLE);
    let mut faults = Vec::new();
    for entry in sample {
        let Some(edge) = &entry.edge else { continue };
        for (end, direction) in [(edge.source, Direction::Out), (entry.node, Direction::In)] {
            let query = edges_of(end, direction, &EDGE_TYPE);
            let answer = database.ask(query, Read::Strong).await?;
            if !answer.edges().any(|seen| seen.id == edge.id) {
                faults.push(format!(
                    "the edge of write {} is not seen going {direction:?}",
                    entry.serial
                ));
            }
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::fake::Fake;
    use crate::writer::Writer;

    async fn written() -> (Fake, Ledger) {
        let database = Fake::default();
        let ledger = Ledger::default();
        let writer = Writer::start(&ledger, || Ok(database.clone())).await.unwrap();
        writer.wait_for_more(10).await.unwrap();
        writer.finish().await.unwrap();
        (database, ledger)
    }

    async fn fault(database: &Fake, ledger: &Ledger) -> String {
        check(database, ledger).await.unwrap_err().to_string()
    }

    fn last_with_edge(ledger: &Ledger) -> crate::writer::ledger::Entry {
        let entries = ledger.promises().acknowledged;
        entries.into_iter().rfind(|entry| entry.edge.is_some()).unwrap()
    }

    #[tokio::test]
    async fn a_lost_node_is_found() {
        let (database, ledger) = written().await;
        let entry = last_with_edge(&ledger);
        database.lose_node(entry.node);
        let expected = format!("the node of the acknowledged write {} is lost", entry.serial);
        assert!(fault(&database, &ledger).await.contains(&expected));
    }

    #[tokio::test]
    async fn a_lost_edge_is_found() {
        let (database, ledger) = written().await;
        let entry = last_with_edge(&ledger);
        database.lose_edge(entry.edge.unwrap().id);
        let expected = format!("the edge of the acknowledged write {} is lost", entry.serial);
        assert!(fault(&database, &ledger).await.contains(&expected));
    }

    #[tokio::test]
    async fn an_edge_that_one_end_does_not_see_is_found() {
        let (database, ledger) = written().await;
        let entry = last_with_edge(&ledger);
        database.hide_incoming(entry.edge.unwrap().id);
        assert!(fault(&database, &ledger).await.contains("is not seen going In"));
    }

    #[tokio::test]
    async fn another_content_id_is_found() {
        let (database, ledger) = written().await;
        database.change_cid(last_with_edge(&ledger).node);
        assert!(fault(&database, &ledger).await.contains("is changed"));
    }

    #[tokio::test]
    async fn a_write_that_applied_twice_is_found() {
        let (database, ledger) = written().await;
        database.duplicate(last_with_edge(&ledger).node);
        assert!(fault(&database, &ledger).await.contains("is there 2 times"));
    }

    #[tokio::test]
    async fn a_refused_write_that_is_there_is_found() {
        let (database, ledger) = written().await;
        let serial = ledger.next_serial();
        database.create_written(serial);
        ledger.note_not_applied(serial, "refused");
        assert!(fault(&database, &ledger).await.contains("was refused and is there"));
    }

    #[tokio::test]
    async fn half_of_a_write_of_unknown_outcome_is_found_and_the_whole_is_not() {
        use crate::writer::ledger::Attempt;
        let (database, ledger) = written().await;
        let whole = ledger.next_serial();
        database.create_written(whole);
        ledger.note_unknown(whole, Attempt { source: None }, "lost");
        ledger.note_unknown(ledger.next_serial(), Attempt { source: Some(1) }, "lost");
        check(&database, &ledger).await.unwrap();
        let half = ledger.next_serial();
        database.create_written(half);
        ledger.note_unknown(half, Attempt { source: Some(1) }, "lost");
        assert!(fault(&database, &ledger).await.contains("left 1 nodes and 0 edges"));
    }
}
