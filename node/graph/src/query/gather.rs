//! Queries that need no levels: scans give rows, or keys whose records are fetched in batches.
//!
//! What a page means is told by its keys, so all five kinds of query share this machine.

use std::collections::{BTreeSet, VecDeque};

use super::plan::Remaining;
use super::{Direction, Entity, Error, GETS_PER_STEP, PAGE_PAIRS, PropertyEquals, Row, SCANS_PER_STEP};
use crate::id::EntityId;
use crate::key::{self, Key, Range, SlotRange};
use crate::read::{self, Answer, Pair, Read, SlotScan, match_up};
use crate::record::{EdgeRecord, Locator, NodeRecord};
use crate::value::Properties;

#[derive(Debug, Default)]
pub struct Gather {
    filters: Vec<PropertyEquals>,
    /// Only edges of this type.
    edge_type: Option<String>,
    /// In halves of self loops are left out, because the out halves are read too.
    skip_loops_in: bool,
    fetches: VecDeque<Fetch>,
    scans: VecDeque<Read>,
    asked: Vec<Asked>,
}

/// A record to get.
#[derive(Debug)]
enum Fetch {
    /// By the user's id; may be missing.
    Node(EntityId),
    /// By the label index; must be there.
    LabelledNode(EntityId),
    /// By the user's id; may be missing.
    Locator(EntityId),
    /// By its locator or its in half; must be there.
    Edge(EntityId, Locator),
}

#[derive(Debug)]
enum Asked {
    Fetch(Fetch),
    Page,
}

impl Gather {
    pub fn nodes(ids: Vec<EntityId>) -> Self {
        Gather {
            fetches: distinct(ids).map(Fetch::Node).collect(),
            ..Gather::default()
        }
    }

    pub fn edges(ids: Vec<EntityId>) -> Self {
        Gather {
            fetches: distinct(ids).map(Fetch::Locator).collect(),
            ..Gather::default()
        }
    }

    pub fn find_nodes(label: Option<&str>, filters: Vec<PropertyEquals>, remaining: Remaining) -> Self {
        let gather = Gather {
            filters,
            ..Gather::default()
        };
        match label {
            Some(label) => gather.scan_slots(key::label_everywhere(label), true, remaining),
            None => gather.scan_slots(key::nodes_everywhere(), false, remaining),
        }
    }

    pub fn find_edges(edge_type: Option<String>, filters: Vec<PropertyEquals>, remaining: Remaining) -> Self {
        let gather = Gather {
            filters,
            edge_type,
            ..Gather::default()
        };
        gather.scan_slots(key::out_halves_everywhere(), false, remaining)
    }

    pub fn edges_of(node: EntityId, direction: Direction, types: &BTreeSet<String>, remaining: Remaining) -> Self {
        let limit = remaining.at_most(PAGE_PAIRS);
        let scans = scans_of_halves(node, direction, types, |outgoing| (limit, !outgoing));
        Gather {
            skip_loops_in: direction == Direction::Both,
            scans: scans.into(),
            ..Gather::default()
        }
    }

    fn scan_slots(mut self, range: SlotRange, keys_only: bool, remaining: Remaining) -> Self {
        let limit = if self.is_selective() {
            PAGE_PAIRS
        } else {
            remaining.at_most(PAGE_PAIRS)
        };
        let scan = SlotScan::everywhere(range, limit, keys_only);
        self.scans.push_back(Read::ScanSlots(scan));
        self
    }

    /// Whether some of what is read may give no row.
    fn is_selective(&self) -> bool {
        !self.filters.is_empty() || self.edge_type.is_some()
    }

    /// Takes answers in; gives the rows they make.
    pub fn absorb(&mut self, answers: Vec<Answer>) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        for (asked, answer) in match_up(std::mem::take(&mut self.asked), answers)? {
            match asked {
                Asked::Fetch(fetch) => rows.extend(self.fetched(fetch, answer.into_value()?)?),
                Asked::Page => {
                    let (pairs, more) = answer.into_pairs()?;
                    for pair in pairs {
                        rows.extend(self.scanned(pair)?);
                    }
                    self.scans.extend(more);
                }
            }
        }
        Ok(rows)
    }

    /// The next reads; none where all is read.
    pub fn ask(&mut self, remaining: Remaining) -> Vec<Read> {
        let gets = self.fetches.len().min(GETS_PER_STEP);
        let gets = if self.is_selective() {
            gets
        } else {
            remaining.at_most(gets)
        };
        let mut reads: Vec<Read> = self.fetches.iter().take(gets).map(Fetch::read).collect();
        self.asked = self.fetches.drain(..gets).map(Asked::Fetch).collect();
        // Pages are asked only when no record of an earlier one waits, which bounds what waits.
        let rows_suffice = !self.is_selective() && remaining.is_met_by(gets);
        if self.fetches.is_empty() && !rows_suffice {
            let scans = self.scans.len().min(SCANS_PER_STEP);
            reads.extend(self.scans.drain(..scans));
            self.asked.extend((0..scans).map(|_| Asked::Page));
        }
        reads
    }

    fn fetched(&mut self, fetch: Fetch, value: Option<Vec<u8>>) -> Result<Option<Row>, Error> {
        let Some(bytes) = value else {
            return fetch.missing().map(|()| None);
        };
        match fetch {
            Fetch::Node(id) | Fetch::LabelledNode(id) => Ok(self.node_row(id, read::node_record(id, &bytes)?)),
            Fetch::Locator(id) => {
                let locator = read::locator(id, &bytes)?;
                self.fetches.push_back(Fetch::Edge(id, locator));
                Ok(None)
            }
            Fetch::Edge(id, locator) => {
                let record = read::edge_record(id, &locator, &bytes)?;
                Ok(self.edge_row(id, locator, record))
            }
        }
    }

    fn scanned(&mut self, (key, value): Pair) -> Result<Option<Row>, Error> {
        match Key::decode(&key).map_err(read::Error::from)? {
            Key::Label { node, .. } => {
                self.fetches.push_back(Fetch::LabelledNode(node));
                Ok(None)
            }
            Key::Node(id) => Ok(self.node_row(id, read::node_record(id, &value)?)),
            Key::Out { .. } => self.scanned_out(&key, &value),
            Key::In { .. } => {
                let (id, locator) = read::edge_of_half(&key)?;
                if !(self.skip_loops_in && locator.source == locator.target) {
                    self.fetches.push_back(Fetch::Edge(id, locator));
                }
                Ok(None)
            }
            Key::Locator(_) | Key::Receipt { .. } => Err(read::Error::foreign(&key).into()),
        }
    }

    fn scanned_out(&self, key: &[u8], value: &[u8]) -> Result<Option<Row>, Error> {
        let (id, locator) = read::edge_of_half(key)?;
        let edge_type = self.edge_type.as_ref();
        if edge_type.is_some_and(|edge_type| *edge_type != locator.edge_type) {
            return Ok(None);
        }
        let record = read::edge_record(id, &locator, value)?;
        Ok(self.edge_row(id, locator, record))
    }

    fn node_row(&self, id: EntityId, record: NodeRecord) -> Option<Row> {
        self.accepts(&record.properties).then_some(Row {
            entity: Entity::Node { id, record },
            depth: 0,
        })
    }

    fn edge_row(&self, id: EntityId, locator: Locator, record: EdgeRecord) -> Option<Row> {
        self.accepts(&record.properties).then_some(Row {
            entity: Entity::Edge { id, locator, record },
            depth: 0,
        })
    }

    fn accepts(&self, properties: &Properties) -> bool {
        self.filters.iter().all(|filter| {
            let value = properties.get(&filter.key);
            value.is_some_and(|value| value.equals(&filter.value))
        })
    }
}

impl Fetch {
    fn key(&self) -> Vec<u8> {
        match self {
            Fetch::Node(id) | Fetch::LabelledNode(id) => key::node(*id),
            Fetch::Locator(id) => key::locator(*id),
            Fetch::Edge(id, locator) => locator.out_half(*id),
        }
    }

    fn read(&self) -> Read {
        Read::Get { key: self.key() }
    }

    /// An id of the user may name nothing; what another key refers to is there.
    fn missing(&self) -> Result<(), Error> {
        match self {
            Fetch::Node(_) | Fetch::Locator(_) => Ok(()),
            Fetch::LabelledNode(_) | Fetch::Edge(..) => Err(read::Error::missing(&self.key()).into()),
        }
    }
}

/// Ids without repetitions, each at its first place.
fn distinct(ids: Vec<EntityId>) -> impl Iterator<Item = EntityId> {
    let mut seen = BTreeSet::new();
    ids.into_iter().filter(move |id| seen.insert(*id))
}

/// The scans of a node's halves: per direction and type. `shape` gives the page's limit and whether values are
/// left out, of out halves (true) or in halves.
pub fn scans_of_halves(
    node: EntityId,
    direction: Direction,
    types: &BTreeSet<String>,
    shape: impl Fn(bool) -> (usize, bool),
) -> Vec<Read> {
    let ranges = |halves: fn(EntityId, Option<&str>) -> Range| {
        if types.is_empty() {
            return vec![halves(node, None)];
        }
        let of_type = |edge_type: &String| halves(node, Some(edge_type));
        types.iter().map(of_type).collect()
    };
    let scans = |ranges: Vec<Range>, outgoing| {
        let (limit, keys_only) = shape(outgoing);
        let scan = move |range: Range| Read::Scan {
            from: range.from,
            to: range.to,
            limit: Some(limit),
            keys_only,
        };
        ranges.into_iter().map(scan)
    };
    let outgoing = || scans(ranges(key::out_halves), true);
    let incoming = || scans(ranges(key::in_halves), false);
    match direction {
        Direction::Both => outgoing().chain(incoming()).collect(),
        Direction::Out => outgoing().collect(),
        Direction::In => incoming().collect(),
    }
}
