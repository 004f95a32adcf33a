//! Reads beside the writer, and says what contradicts the ledger at once: an acknowledged write that is not seen, a count
//! or a snapshot that goes back, an edge seen from one end only.

use std::time::Duration;

use kotoba_proto::v1::Direction;
use rand::Rng;
use tokio::sync::watch;

use super::ledger::{Entry, Ledger};
use super::{EDGE_TYPE, LABEL};
use crate::database::{Database, Failure, Read, edges_of, nodes_by_id, nodes_with};

/// Between two passes; each reads the count of all written nodes.
const PACE: Duration = Duration::from_millis(500);

/// Reads until told to stop.
pub async fn run<D: Database>(database: D, ledger: Ledger, mut stopped: watch::Receiver<bool>) {
    let mut reader = Reader {
        database,
        ledger,
        count: 0,
        snapshot: 0,
    };
    let mut pace = tokio::time::interval(PACE);
    while !*stopped.borrow() {
        let outcome = reader.pass().await.map_err(|failure| failure.to_string());
        reader.ledger.note_reads(outcome);
        tokio::select! {
            _ = pace.tick() => {}
            _ = stopped.changed() => {}
        }
    }
}

struct Reader<D> {
    database: D,
    ledger: Ledger,
    /// The largest count seen; nothing is ever deleted here.
    count: u64,
    snapshot: u64,
}

impl<D: Database> Reader<D> {
    async fn pass(&mut self) -> Result<Vec<String>, Failure> {
        let mut violations = self.counted().await?;
        let acknowledged = self.ledger.len();
        let random = rand::rng().random_range(0..acknowledged.max(1));
        for index in [acknowledged.saturating_sub(1), random] {
            if let Some(entry) = self.ledger.entry(index) {
                violations.extend(self.node_seen(&entry).await?);
                violations.extend(self.edge_seen(&entry).await?);
            }
        }
        Ok(violations)
    }

    async fn counted(&mut self) -> Result<Vec<String>, Failure> {
        let acknowledged = self.ledger.len() as u64;
        let count = self.database.count(nodes_with(&LABEL, Vec::new())).await?;
        let mut violations = Vec::new();
        if count < acknowledged {
            violations.push(format!("counted {count} nodes after {acknowledged} were acknowledged"));
        }
        if count < self.count {
            violations.push(format!("counted {count} nodes after {} were counted", self.count));
        }
        self.count = self.count.max(count);
        Ok(violations)
    }

    /// Of the newest state, and of a replica that has the write's bookmark.
    async fn node_seen(&mut self, entry: &Entry) -> Result<Vec<String>, Failure> {
        let mut violations = Vec::new();
        for read in [Read::Strong, Read::After(entry.bookmark)] {
            let answer = self.database.ask(nodes_by_id(vec![entry.node]), read).await?;
            let seen = answer
                .nodes()
                .any(|node| node.id == entry.node && node.cid[..] == *entry.node_cid.as_bytes());
            if !seen {
                violations.push(format!(
                    "the node of write {} is not seen by a {read:?} read",
                    entry.serial
                ));
            }
            if read == Read::Strong && answer.snapshot < self.snapshot {
                violations.push(format!("snapshot {} after {}", answer.snapshot, self.snapshot));
            }
            if read == Read::Strong {
                self.snapshot = self.snapshot.max(answer.snapshot);
            }
        }
        Ok(violations)
    }

    async fn edge_seen(&self, entry: &Entry) -> Result<Vec<String>, Failure> {
        let Some(edge) = &entry.edge else {
            return Ok(Vec::new());
        };
        let mut violations = Vec::new();
        for (end, direction) in [(edge.source, Direction::Out), (entry.node, Direction::In)] {
            let query = edges_of(end, direction, &EDGE_TYPE);
            let answer = self.database.ask(query, Read::Strong).await?;
            if !answer.edges().any(|seen| seen.id == edge.id) {
                violations.push(format!(
                    "the edge of write {} is not seen going {direction:?}",
                    entry.serial
                ));
            }
        }
        Ok(violations)
    }
}
