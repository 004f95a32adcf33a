//! Breadth-first traversal: level by level, each level in chunks that bound the pairs in memory.
//!
//! A node is remembered when an edge first leads to it, which is at its smallest depth. Without filters only keys of
//! halves are read, and records only of nodes that become rows. Filters on edges need the edges' records; nodes whose
//! filter decides whether they are walked through are read before their edges are.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::budget::{Pace, with_limit};
use super::filter::all_hold;
use super::plan::Remaining;
use super::scans::{far_end, scans_of_halves};
use super::{Entity, Error, MAX_VISITED, PAGE_PAIRS, Row, SCANS_PER_STEP, Traversal};
use crate::id::EntityId;
use crate::key;
use crate::read::{self, Answer, Pair, Read, match_up};
use crate::record::Locator;

/// Pairs of a page at least: some lead to nodes that are known already.
const FEWEST_PAIRS: usize = 32;
/// Nodes whose edges are read in one step at least, where there are so many.
const FEWEST_SCANS: usize = 32;
/// So many edges are read for each row that is wanted, as some lead to nodes that are known already.
const EDGES_FOR_A_ROW: usize = 4;

#[derive(Debug)]
pub struct Traverse {
    walk: Traversal,
    depth: u32,
    /// Nodes of the current depth that were not asked for yet.
    level: VecDeque<EntityId>,
    /// Nodes of the current depth that passed their filter, and whose edges were not asked for yet.
    passed: VecDeque<EntityId>,
    /// Pages of edges of the current depth.
    pages: VecDeque<Page>,
    /// Edges of the current depth whose records must be looked at.
    edges: VecDeque<(EntityId, Locator)>,
    /// Nodes one deeper, found so far.
    next_level: VecDeque<EntityId>,
    visited: BTreeSet<EntityId>,
    /// Nodes behind the start are only counted, and their records are not read.
    counts: bool,
    counted: u64,
    asked: Vec<Asked>,
    pace: Pace,
}

/// A page to read.
#[derive(Debug)]
struct Page {
    read: Read,
    /// Edges that may still be looked at.
    left: usize,
}

#[derive(Debug)]
enum Asked {
    Node(EntityId),
    /// An edge by its in half, which leads to its source.
    Edge(EntityId, Locator),
    Page {
        left: usize,
    },
}

impl Traverse {
    pub fn new(walk: Traversal) -> Self {
        let mut visited = BTreeSet::new();
        let level = walk.start.iter().copied().filter(|id| visited.insert(*id)).collect();
        Traverse {
            walk,
            depth: 0,
            level,
            passed: VecDeque::new(),
            pages: VecDeque::new(),
            edges: VecDeque::new(),
            next_level: VecDeque::new(),
            visited,
            counts: false,
            counted: 0,
            asked: Vec::new(),
            pace: Pace::default(),
        }
    }

    /// Begins with more values than are known to fit.
    pub fn hasty(self) -> Self {
        Traverse {
            pace: Pace::hasty(),
            ..self
        }
    }

    /// Only counts rows: where no filter looks at them, what an edge leads to is one.
    pub fn counting(self) -> Self {
        Traverse {
            counts: self.walk.nodes.is_empty(),
            ..self
        }
    }

    /// Rows that were counted without being read, at most so many.
    pub fn take_count(&mut self, most: u64) -> u64 {
        let taken = self.counted.min(most);
        self.counted -= taken;
        taken
    }

    /// Takes answers in; gives the rows they make.
    pub fn absorb(&mut self, answers: Vec<Answer>) -> Result<Vec<Row>, Error> {
        self.pace.note(&answers);
        let mut rows = Vec::new();
        for (asked, answer) in match_up(std::mem::take(&mut self.asked), answers)? {
            match asked {
                Asked::Node(id) => rows.extend(self.take_node(id, answer.into_value()?)?),
                Asked::Edge(id, locator) => self.take_edge(id, &locator, answer.into_value()?)?,
                Asked::Page { left } => {
                    let (pairs, more) = answer.into_pairs()?;
                    self.take_page(pairs, more, left)?;
                }
            }
        }
        Ok(rows)
    }

    fn take_node(&mut self, id: EntityId, value: Option<Bytes>) -> Result<Option<Row>, Error> {
        let record = match value {
            Some(bytes) => read::node_record(id, &bytes)?,
            // The user's ids may name nothing; what an edge leads to is there.
            None if self.depth == 0 => return Ok(None),
            None => return Err(read::Error::missing(&key::node(id)).into()),
        };
        let accepted = self.walk.nodes.accepts(&record);
        if accepted && self.waits_for_record() {
            self.passed.push_back(id);
        }
        let entity = Entity::Node { id, record };
        Ok((accepted && self.gives_rows()).then_some(Row {
            entity,
            depth: self.depth,
        }))
    }

    fn take_edge(&mut self, id: EntityId, locator: &Locator, value: Option<Bytes>) -> Result<(), Error> {
        let bytes = value.ok_or_else(|| read::Error::missing(&locator.out_half(id)))?;
        let record = read::edge_record(id, locator, &bytes)?;
        if all_hold(&self.walk.edges, &record.properties) {
            self.visit(locator.source)?;
        }
        Ok(())
    }

    fn take_page(&mut self, pairs: Vec<Pair>, more: Vec<Read>, left: usize) -> Result<(), Error> {
        let left = left.saturating_sub(pairs.len());
        for (key, value) in pairs {
            self.take_half(&key, &value)?;
        }
        if left > 0 {
            self.pages.extend(more.into_iter().map(|read| Page { read, left }));
        }
        Ok(())
    }

    fn take_half(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let (outgoing, far) = far_end(key)?;
        if self.walk.edges.is_empty() {
            return self.visit(far);
        }
        if self.visited.contains(&far) {
            return Ok(());
        }
        let (id, locator) = read::edge_of_half(key)?;
        if outgoing {
            let record = read::edge_record(id, &locator, value)?;
            if all_hold(&self.walk.edges, &record.properties) {
                self.visit(far)?;
            }
        } else {
            self.edges.push_back((id, locator));
        }
        Ok(())
    }

    fn visit(&mut self, id: EntityId) -> Result<(), Error> {
        if self.visited.insert(id) {
            self.next_level.push_back(id);
        }
        if self.visited.len() > MAX_VISITED {
            return Err(Error::Visited);
        }
        Ok(())
    }

    /// The next reads; none where all is read.
    pub fn ask(&mut self, remaining: Remaining) -> Vec<Read> {
        self.descend(remaining);
        let mut reads = Vec::new();
        let expands = !self.finds_enough(remaining);
        if expands {
            self.ask_edges(&mut reads);
            self.ask_pages(&mut reads);
        }
        self.ask_nodes(&mut reads, expands, remaining);
        reads
    }

    /// Goes one level deeper once the current one is read, or its rest is not needed.
    fn descend(&mut self, remaining: Remaining) {
        let rows_here = self.gives_rows() && !self.level.is_empty();
        let unread =
            !(self.pages.is_empty() && self.level.is_empty() && self.passed.is_empty() && self.edges.is_empty());
        if rows_here || (unread && !self.finds_enough(remaining)) || self.next_level.is_empty() {
            return;
        }
        self.pages.clear();
        self.passed.clear();
        self.edges.clear();
        self.level = std::mem::take(&mut self.next_level);
        self.depth += 1;
        if self.counts {
            self.count_level();
        }
    }

    /// Counts the nodes of a new level; the last level needs no more.
    fn count_level(&mut self) {
        if self.gives_rows() {
            self.counted += self.level.len() as u64;
        }
        if self.depth >= self.walk.max_depth {
            self.level.clear();
        }
    }

    /// Whether the records of the current depth are rows, or decide whether edges are followed.
    fn reads_records(&self) -> bool {
        self.waits_for_record() || (self.gives_rows() && !(self.counts && self.depth > 0))
    }

    fn gives_rows(&self) -> bool {
        self.depth >= self.walk.min_depth
    }

    /// Whether a node's record decides if its edges are followed.
    fn waits_for_record(&self) -> bool {
        self.walk.prune && !self.walk.nodes.is_empty() && self.depth > 0 && self.depth < self.walk.max_depth
    }

    /// Whether the nodes that are known already fill the limit, or lie at the last depth: no edge is needed then.
    fn finds_enough(&self, remaining: Remaining) -> bool {
        if self.depth >= self.walk.max_depth {
            return true;
        }
        // Start nodes may not exist, others may be no rows or counted already, so they do not count.
        let certain = self.walk.nodes.is_empty() && !self.counts;
        let here = if certain && self.gives_rows() && self.depth > 0 {
            self.level.len()
        } else {
            0
        };
        let deeper = if certain && self.depth + 1 >= self.walk.min_depth {
            self.next_level.len()
        } else {
            0
        };
        remaining.is_met_by(here + deeper)
    }

    fn ask_edges(&mut self, reads: &mut Vec<Read>) {
        let edges = self.edges.len().min(self.pace.gets());
        for (id, locator) in self.edges.drain(..edges) {
            reads.push(Read::Get {
                key: locator.out_half(id),
            });
            self.asked.push(Asked::Edge(id, locator));
        }
    }

    /// Pages wait for the edges of earlier ones, which bounds what waits.
    fn ask_pages(&mut self, reads: &mut Vec<Read>) {
        if !self.edges.is_empty() {
            return;
        }
        let with_values = !self.walk.edges.is_empty();
        let (scans, pairs) = match with_values {
            true => self.pace.scans(self.pages.len()),
            false => (self.pages.len().min(SCANS_PER_STEP), PAGE_PAIRS),
        };
        for Page { read, left } in self.pages.drain(..scans) {
            reads.push(with_limit(read, pairs.min(left)));
            self.asked.push(Asked::Page { left });
        }
    }

    /// Asks for records and edges of as many nodes of this level as fit one step.
    fn ask_nodes(&mut self, reads: &mut Vec<Read>, expands: bool, remaining: Remaining) {
        if expands && !self.edges.is_empty() {
            return;
        }
        let page = self.first_page(remaining);
        let most = if !self.reads_records() {
            // Keys of edges are bounded by the scans.
            usize::MAX
        } else if expands || !self.walk.nodes.is_empty() {
            self.pace.gets()
        } else {
            remaining.at_most(self.pace.gets())
        };
        let waits = self.waits_for_record();
        let mut scans = self
            .asked
            .iter()
            .filter(|asked| matches!(asked, Asked::Page { .. }))
            .count();
        let gets = reads.len() - scans;
        for _ in gets..most.max(gets) {
            if expands && scans >= self.scans_per_step(remaining) {
                return;
            }
            if expands && let Some(id) = self.passed.pop_front() {
                scans += self.ask_halves(reads, id, page);
                continue;
            }
            let Some(id) = self.level.pop_front() else {
                return;
            };
            if self.reads_records() {
                reads.push(Read::Get { key: key::node(id) });
                self.asked.push(Asked::Node(id));
            }
            if expands && !waits {
                scans += self.ask_halves(reads, id, page);
            }
        }
    }

    /// Scans that carry values count as the values they may give. Where the nodes they lead to are rows, some are enough.
    fn scans_per_step(&self, remaining: Remaining) -> usize {
        if !self.walk.edges.is_empty() {
            return self.pace.scans(SCANS_PER_STEP).0;
        }
        match self.leads_to_rows() {
            true => remaining.share_of(2, SCANS_PER_STEP).max(FEWEST_SCANS),
            false => SCANS_PER_STEP,
        }
    }

    /// Asks for the first pages of a node's edges; says how many there are.
    fn ask_halves(&mut self, reads: &mut Vec<Read>, id: EntityId, page: usize) -> usize {
        let left = self.walk.fan_out.map_or(usize::MAX, |fan_out| fan_out as usize);
        let with_values = !self.walk.edges.is_empty();
        let keys_only = |outgoing| !(with_values && outgoing);
        let scans = scans_of_halves(id, self.walk.direction, &self.walk.types, keys_only);
        let count = scans.len();
        self.asked.extend((0..count).map(|_| Asked::Page { left }));
        reads.extend(scans.into_iter().map(|scan| with_limit(scan, page.min(left))));
        count
    }

    /// Pairs of the first page of a node's edges. Where each node they lead to is a row, no more are needed than rows are, and
    /// of many nodes fewer of each.
    fn first_page(&self, remaining: Remaining) -> usize {
        if !self.walk.edges.is_empty() {
            return self.pace.first_page();
        }
        match self.leads_to_rows() {
            true => {
                let share = remaining.share_of(self.level.len() / EDGES_FOR_A_ROW, PAGE_PAIRS);
                remaining.at_most(share).max(FEWEST_PAIRS)
            }
            false => PAGE_PAIRS,
        }
    }

    fn leads_to_rows(&self) -> bool {
        self.walk.nodes.is_empty() && !self.counts && self.depth + 1 >= self.walk.min_depth
    }
}
