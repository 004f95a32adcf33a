//! Queries that need no levels: scans give rows, or keys whose records are fetched in batches.
//!
//! What a page means is told by its keys, so all five kinds of query share this machine. Every row has a place: the key it
//! was found by. Where rows must come in the order of their places, those behind a scan that is still open wait.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::budget::{Pace, row_bytes, with_limit};
use super::fetch::Fetch;
use super::filter::{Filter, all_hold};
use super::plan::Remaining;
use super::scans::{covers, first_key, keys_only, rest_of, scans_of_halves};
use super::{CursorError, Direction, Entity, Error, PAGE_PAIRS, Row};
use crate::id::EntityId;
use crate::key::{self, Key, SlotRange};
use crate::read::{self, Answer, Pair, Read, SlotScan, match_up};
use crate::record::{EdgeRecord, Locator, NodeRecord};
use crate::value::Properties;

/// Rows that wait for earlier ones: with more than this only what lies before them is read.
const READ_AHEAD_BYTES: usize = 8 << 20;

/// Where a row stands among the others.
type Place = Bytes;

#[derive(Debug, Default)]
pub struct Gather {
    filters: Vec<Filter>,
    /// Only edges of this type.
    edge_type: Option<String>,
    /// In halves of self loops are left out, because the out halves are read too.
    skip_loops_in: bool,
    /// Rows come in the order of their places.
    in_order: bool,
    /// Rows are only counted, and what a key says by itself is not read.
    counts_keys: bool,
    counted: u64,
    fetches: BTreeMap<Place, Fetch>,
    /// By the smallest key that each may still give.
    scans: BTreeMap<Place, Read>,
    found: BTreeMap<Place, Row>,
    /// What `found` takes in memory.
    held_bytes: usize,
    /// The place of the last row that was given.
    last: Option<Place>,
    asked: Vec<Asked>,
    pace: Pace,
}

#[derive(Debug)]
enum Asked {
    Fetch(Place, Fetch),
    Page,
}

impl Gather {
    pub fn nodes(ids: Vec<EntityId>) -> Self {
        Gather::by_ids(ids, Fetch::Node)
    }

    pub fn edges(ids: Vec<EntityId>) -> Self {
        Gather::by_ids(ids, Fetch::Locator)
    }

    fn by_ids(ids: Vec<EntityId>, fetch: fn(EntityId) -> Fetch) -> Self {
        let placed = distinct(ids).enumerate();
        Gather {
            fetches: placed
                .map(|(at, id)| (Bytes::copy_from_slice(&(at as u64).to_be_bytes()), fetch(id)))
                .collect(),
            in_order: true,
            ..Gather::default()
        }
    }

    pub fn find_nodes(label: Option<&str>, filters: Vec<Filter>) -> Self {
        let gather = Gather {
            filters,
            ..Gather::default()
        };
        match label {
            Some(label) => gather.scan_slots(key::label_everywhere(label), true),
            None => gather.scan_slots(key::nodes_everywhere(), false),
        }
    }

    pub fn find_edges(edge_type: Option<String>, filters: Vec<Filter>) -> Self {
        let gather = Gather {
            filters,
            edge_type,
            ..Gather::default()
        };
        gather.scan_slots(key::out_halves_everywhere(), false)
    }

    pub fn edges_of(node: EntityId, direction: Direction, types: &BTreeSet<String>, filters: Vec<Filter>) -> Self {
        let scans = scans_of_halves(node, direction, types, |outgoing| !outgoing);
        let mut gather = Gather {
            filters,
            skip_loops_in: direction == Direction::Both,
            ..Gather::default()
        };
        gather.open(scans);
        gather
    }

    fn scan_slots(mut self, range: SlotRange, keys_only: bool) -> Self {
        let scan = SlotScan::everywhere(range, PAGE_PAIRS, keys_only);
        self.open([Read::ScanSlots(scan)]);
        self
    }

    fn open(&mut self, scans: impl IntoIterator<Item = Read>) {
        let placed = scans.into_iter().map(|scan| (first_key(&scan).into(), scan));
        self.scans.extend(placed);
    }

    /// Gives rows in the order of their places, which makes the last one's a place to go on from.
    pub fn in_order(mut self) -> Self {
        self.in_order = true;
        self
    }

    /// Begins with more values than are known to fit.
    pub fn hasty(self) -> Self {
        Gather {
            pace: Pace::hasty(),
            ..self
        }
    }

    /// Only counts rows: where no filter looks at properties, by their keys alone.
    pub fn counting(mut self) -> Self {
        self.counts_keys = self.filters.is_empty();
        if self.counts_keys {
            let scans = std::mem::take(&mut self.scans);
            self.open(scans.into_values().map(keys_only));
        }
        self
    }

    /// Rows that were counted without being read, at most so many.
    pub fn take_count(&mut self, most: u64) -> u64 {
        let taken = self.counted.min(most);
        self.counted -= taken;
        taken
    }

    /// Only rows behind a place that this query gave a row at.
    pub fn after(mut self, place: &[u8]) -> Result<Self, CursorError> {
        let scans = std::mem::take(&mut self.scans);
        let mut inside = false;
        for scan in scans.into_values() {
            inside |= covers(&scan, place);
            self.open(rest_of(scan, place)?);
        }
        if inside { Ok(self) } else { Err(CursorError::Malformed) }
    }

    /// Whether some of what is read may give no row.
    fn is_selective(&self) -> bool {
        !self.filters.is_empty() || self.edge_type.is_some()
    }

    /// Takes answers in.
    pub fn absorb(&mut self, answers: Vec<Answer>) -> Result<(), Error> {
        self.pace.note(&answers);
        for (asked, answer) in match_up(std::mem::take(&mut self.asked), answers)? {
            match asked {
                Asked::Fetch(place, fetch) => self.fetched(place, fetch, answer.into_value()?)?,
                Asked::Page => {
                    let (pairs, more) = answer.into_pairs()?;
                    for pair in pairs {
                        self.scanned(pair)?;
                    }
                    self.open(more);
                }
            }
        }
        Ok(())
    }

    /// The rows that may be given now, at most so many.
    pub fn take_rows(&mut self, most: usize) -> Vec<Row> {
        let bound = if self.in_order { self.first_open() } else { None };
        let mut rows = Vec::new();
        while rows.len() < most {
            let Some(entry) = self.found.first_entry() else { break };
            if bound.as_ref().is_some_and(|bound| entry.key() >= bound) {
                break;
            }
            let (place, row) = entry.remove_entry();
            self.held_bytes -= row_bytes(&row);
            self.last = Some(place);
            rows.push(row);
        }
        rows
    }

    /// The first place at which a row may still turn up.
    fn first_open(&self) -> Option<Place> {
        let fetch = self.fetches.first_key_value().map(|(place, _)| place);
        let scan = self.scans.first_key_value().map(|(place, _)| place);
        fetch.into_iter().chain(scan).min().cloned()
    }

    /// Where to go on after the rows that were given; `None` where nothing is left.
    pub fn rest(&self) -> Option<Place> {
        self.last.clone().filter(|_| !self.is_done())
    }

    /// Whether all is read and given.
    pub fn is_done(&self) -> bool {
        self.found.is_empty() && self.fetches.is_empty() && self.scans.is_empty() && self.asked.is_empty()
    }

    /// Whether answers are awaited.
    pub fn has_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The next reads; none where all is read.
    pub fn ask(&mut self, remaining: Remaining) -> Vec<Read> {
        let first_scan = self.scans.first_key_value().map(|(place, _)| place.clone());
        let mut reads = self.ask_fetches(remaining, first_scan.as_ref());
        let before_scans = |asked: &&Asked| match (asked, &first_scan) {
            (Asked::Fetch(place, _), Some(first)) => place < first,
            (Asked::Fetch(..), None) => true,
            (Asked::Page, _) => false,
        };
        let certain = self.asked.iter().filter(before_scans).count();
        let rows_suffice = !self.is_selective() && remaining.is_met_by(certain);
        // Pages are asked only when no record of an earlier one waits, which bounds what waits.
        if !rows_suffice && (self.fetches.is_empty() || (self.is_full() && reads.is_empty())) {
            self.ask_pages(&mut reads, remaining);
        }
        reads
    }

    /// Whether so many rows wait that only what lies before them is read.
    fn is_full(&self) -> bool {
        self.held_bytes >= READ_AHEAD_BYTES
    }

    fn ask_fetches(&mut self, remaining: Remaining, first_scan: Option<&Place>) -> Vec<Read> {
        let most = if self.is_selective() {
            self.pace.gets()
        } else {
            remaining.at_most(self.pace.gets())
        };
        let bound = first_scan.filter(|_| self.is_full());
        let mut reads = Vec::new();
        while reads.len() < most {
            let Some(entry) = self.fetches.first_entry() else { break };
            if bound.is_some_and(|bound| entry.key() >= bound) {
                break;
            }
            let (place, fetch) = entry.remove_entry();
            reads.push(fetch.read());
            self.asked.push(Asked::Fetch(place, fetch));
        }
        reads
    }

    fn ask_pages(&mut self, reads: &mut Vec<Read>, remaining: Remaining) {
        let ahead = self.is_selective() || !remaining.is_met_by(self.found.len());
        let (scans, pairs) = self.pace.scans(self.scans.len());
        // Without read-ahead only the scan in front can bring what is missing.
        let scans = if ahead && !self.is_full() { scans } else { 1 };
        for _ in 0..scans {
            let Some((_, scan)) = self.scans.pop_first() else {
                return;
            };
            reads.push(self.page_of(scan, pairs, remaining));
            self.asked.push(Asked::Page);
        }
    }

    /// A scan with the length of its next page.
    fn page_of(&self, scan: Read, pairs: usize, remaining: Remaining) -> Read {
        let pairs = match &scan {
            Read::Scan { keys_only: true, .. } => PAGE_PAIRS,
            Read::ScanSlots(scan) if scan.keys_only => PAGE_PAIRS,
            Read::ScanSlots(_) => self.pace.pairs_per_partition(pairs),
            Read::Scan { .. } | Read::Get { .. } => pairs,
        };
        let pairs = match self.is_selective() {
            true => pairs,
            false => remaining.at_most(pairs),
        };
        with_limit(scan, pairs)
    }

    fn fetched(&mut self, place: Place, fetch: Fetch, value: Option<Bytes>) -> Result<(), Error> {
        let Some(bytes) = value else {
            return fetch.missing();
        };
        match fetch {
            Fetch::Node(id) | Fetch::LabelledNode(id) => {
                let record = read::node_record(id, &bytes)?;
                self.put_node(place, id, record);
            }
            Fetch::Locator(id) => {
                let locator = read::locator(id, &bytes)?;
                self.fetches.insert(place, Fetch::Edge(id, locator));
            }
            Fetch::Edge(id, locator) => {
                let record = read::edge_record(id, &locator, &bytes)?;
                self.put_edge(place, id, locator, record);
            }
        }
        Ok(())
    }

    fn scanned(&mut self, (place, value): Pair) -> Result<(), Error> {
        let key = Key::decode(&place).map_err(read::Error::from)?;
        if self.counts_keys {
            self.counted += u64::from(self.is_row(&key));
            return Ok(());
        }
        match key {
            Key::Label { node, .. } => {
                self.fetches.insert(place, Fetch::LabelledNode(node));
            }
            Key::Node(id) => {
                let record = read::node_record(id, &value)?;
                self.put_node(place, id, record);
            }
            Key::Out { .. } => self.scanned_out(place, &value)?,
            Key::In { .. } => {
                let (id, locator) = read::edge_of_half(&place)?;
                if !(self.skip_loops_in && locator.source == locator.target) {
                    self.fetches.insert(place, Fetch::Edge(id, locator));
                }
            }
            Key::Locator(_) | Key::Receipt { .. } => return Err(read::Error::foreign(&place).into()),
        }
        Ok(())
    }

    /// Whether a key that was scanned is a row by itself.
    fn is_row(&self, key: &Key) -> bool {
        match key {
            Key::Node(_) | Key::Label { .. } => true,
            Key::Out { edge_type, .. } => self.is_of_type(edge_type),
            Key::In { source, target, .. } => !(self.skip_loops_in && source == target),
            Key::Locator(_) | Key::Receipt { .. } => false,
        }
    }

    fn is_of_type(&self, edge_type: &str) -> bool {
        self.edge_type.as_deref().is_none_or(|wanted| wanted == edge_type)
    }

    fn scanned_out(&mut self, place: Place, value: &[u8]) -> Result<(), Error> {
        let (id, locator) = read::edge_of_half(&place)?;
        if self.is_of_type(&locator.edge_type) {
            let record = read::edge_record(id, &locator, value)?;
            self.put_edge(place, id, locator, record);
        }
        Ok(())
    }

    fn put_node(&mut self, place: Place, id: EntityId, record: NodeRecord) {
        if self.accepts(&record.properties) {
            self.put(place, Entity::Node { id, record });
        }
    }

    fn put_edge(&mut self, place: Place, id: EntityId, locator: Locator, record: EdgeRecord) {
        if self.accepts(&record.properties) {
            self.put(place, Entity::Edge { id, locator, record });
        }
    }

    fn put(&mut self, place: Place, entity: Entity) {
        let row = Row { entity, depth: 0 };
        self.held_bytes += row_bytes(&row);
        self.found.insert(place, row);
    }

    fn accepts(&self, properties: &Properties) -> bool {
        all_hold(&self.filters, properties)
    }
}

/// Ids without repetitions, each at its first place.
fn distinct(ids: Vec<EntityId>) -> impl Iterator<Item = EntityId> {
    let mut seen = BTreeSet::new();
    ids.into_iter().filter(move |id| seen.insert(*id))
}
