//! The history of a node or an edge: its kept versions with their content ids, newest first.

use bytes::Bytes;
use kotoba_graph::id::EntityId;
use kotoba_graph::key;
use kotoba_graph::query::{Entity, Row};
use kotoba_graph::record::{self, EdgeRecord, Locator, NodeRecord};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::KeptVersions;

use super::snapshot::{Level, Reading};
use super::{Gateway, QueryError};
use crate::transaction::ReadError;

/// Versions of one answer; the next ones are asked for by the timestamp of the last.
pub const MAX_VERSIONS: u32 = 1_000;
const DEFAULT_VERSIONS: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Node(EntityId),
    Edge(EntityId),
}

/// Versions with their commit timestamps; none stands for a deletion.
#[derive(Debug, Default)]
pub struct History {
    pub versions: Vec<(Timestamp, Option<Row>)>,
    pub more: bool,
}

impl Gateway {
    /// The versions that were committed up to a timestamp, or up to now.
    pub async fn history(&self, subject: Subject, as_of: Option<Timestamp>, limit: u32) -> Result<History, QueryError> {
        let limit = match limit {
            0 => DEFAULT_VERSIONS,
            limit => limit.min(MAX_VERSIONS),
        };
        let reading = Reading {
            level: Level::Strong,
            bookmark: Timestamp(0),
            as_of,
            max_staleness: None,
        };
        let snapshot = self.snapshots().of(reading).await?.at;
        let history = match subject {
            Subject::Node(id) => self.node_history(snapshot, id, limit).await,
            Subject::Edge(id) => self.edge_history(snapshot, id, limit).await,
        };
        history.map_err(|error| match (error, as_of) {
            (ReadError::TooOld, Some(at)) => QueryError::TooFarBack(at.0),
            (error, _) => QueryError::Read(error),
        })
    }

    async fn node_history(&self, snapshot: Timestamp, id: EntityId, limit: u32) -> Result<History, ReadError> {
        let kept = self.coordinator.history_of(snapshot, key::node(id), limit).await?;
        rows(kept, |bytes| {
            let record = NodeRecord::decode(bytes)?;
            Ok(Entity::Node { id, record })
        })
    }

    /// An edge never changes its ends, so any version of its locator tells where its own versions are.
    async fn edge_history(&self, snapshot: Timestamp, id: EntityId, limit: u32) -> Result<History, ReadError> {
        let places = self
            .coordinator
            .history_of(snapshot, key::locator(id), MAX_VERSIONS)
            .await?;
        let Some(place) = places.versions.into_iter().find_map(|(_, value)| value) else {
            return Ok(History::default());
        };
        let locator = Locator::decode(&place).map_err(|error| ReadError::Broken(error.to_string()))?;
        let kept = self
            .coordinator
            .history_of(snapshot, locator.out_half(id), limit)
            .await?;
        rows(kept, |bytes| {
            let record = EdgeRecord::decode(bytes)?;
            let locator = locator.clone();
            Ok(Entity::Edge { id, locator, record })
        })
    }
}

fn rows(kept: KeptVersions, entity: impl Fn(&[u8]) -> Result<Entity, record::Error>) -> Result<History, ReadError> {
    let row = |bytes: Bytes| entity(&bytes).map(|entity| Row { entity, depth: 0 });
    let versions = kept
        .versions
        .into_iter()
        .map(|(at, value)| Ok((at, value.map(row).transpose()?)))
        .collect::<Result<_, record::Error>>();
    Ok(History {
        versions: versions.map_err(|error| ReadError::Broken(error.to_string()))?,
        more: kept.more,
    })
}
