//! One shortest path, searched from both ends: level by level, always the side with the smaller border.
//!
//! Whole levels are read before they are compared, and among equal ways the smallest id decides, so that the path does
//! not depend on how the store cuts its pages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::gather::Gather;
use super::plan::Remaining;
use super::scans::{far_end, scans_of_halves};
use super::{Direction, Error, MAX_VISITED, PathQuery, Row, SCANS_PER_STEP};
use crate::id::EntityId;
use crate::key;
use crate::read::{self, Answer, Read, match_up};

#[derive(Debug)]
pub struct Path {
    query: PathQuery,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Do both ends exist?
    Ends,
    Search(Box<Search>),
    Records(Box<Records>),
    Done,
}

/// The path is known, its records are read: first the nodes, then the edges.
#[derive(Debug)]
struct Records {
    ids: (Vec<EntityId>, Vec<EntityId>),
    nodes: Gather,
    edges: Gather,
    node_rows: Vec<Row>,
    edge_rows: Vec<Row>,
}

impl Path {
    pub fn new(query: PathQuery) -> Self {
        Path {
            query,
            stage: Stage::Ends,
        }
    }

    fn ends(&self) -> BTreeSet<EntityId> {
        BTreeSet::from([self.query.from, self.query.to])
    }

    /// Takes answers in; gives the whole path once all of it is read.
    pub fn absorb(&mut self, answers: Vec<Answer>) -> Result<Vec<Row>, Error> {
        match &mut self.stage {
            Stage::Ends if answers.is_empty() => {}
            Stage::Ends => self.take_ends(answers)?,
            Stage::Search(search) => {
                search.absorb(answers)?;
                self.search_on();
            }
            Stage::Records(records) => records.absorb(answers)?,
            Stage::Done => {}
        }
        match &mut self.stage {
            Stage::Records(records) if records.are_read() => {
                let rows = records.rows()?;
                self.stage = Stage::Done;
                Ok(rows)
            }
            Stage::Ends | Stage::Search(_) | Stage::Records(_) | Stage::Done => Ok(Vec::new()),
        }
    }

    fn take_ends(&mut self, answers: Vec<Answer>) -> Result<(), Error> {
        let ends: Vec<EntityId> = self.ends().into_iter().collect();
        let mut all_exist = true;
        for (_, answer) in match_up(ends, answers)? {
            all_exist &= answer.into_value()?.is_some();
        }
        self.stage = match all_exist {
            true => Stage::Search(Box::new(Search::new(&self.query))),
            false => Stage::Done,
        };
        self.search_on();
        Ok(())
    }

    /// Goes on with the search where a level is read, until there is something to read or it is decided.
    fn search_on(&mut self) {
        let Stage::Search(search) = &mut self.stage else {
            return;
        };
        match search.decide() {
            Decision::Read => {}
            Decision::NoPath => self.stage = Stage::Done,
            Decision::Path(nodes, edges) => self.stage = Stage::Records(Box::new(Records::new(nodes, edges))),
        }
    }

    /// The next reads; none where all is read.
    pub fn ask(&mut self) -> Vec<Read> {
        match &mut self.stage {
            Stage::Ends => self
                .ends()
                .into_iter()
                .map(|id| Read::Get { key: key::node(id) })
                .collect(),
            Stage::Search(search) => search.ask(),
            Stage::Records(records) => records.ask(),
            Stage::Done => Vec::new(),
        }
    }
}

impl Records {
    fn new(nodes: Vec<EntityId>, edges: Vec<EntityId>) -> Self {
        Records {
            ids: (nodes.clone(), edges.clone()),
            nodes: Gather::nodes(nodes),
            edges: Gather::edges(edges),
            node_rows: Vec::new(),
            edge_rows: Vec::new(),
        }
    }

    fn ask(&mut self) -> Vec<Read> {
        match self.nodes.ask(Remaining::ALL) {
            reads if reads.is_empty() => self.edges.ask(Remaining::ALL),
            reads => reads,
        }
    }

    fn absorb(&mut self, answers: Vec<Answer>) -> Result<(), Error> {
        // Only one of the two has a question open.
        match self.edges.has_asked() {
            true => self.edges.absorb(answers)?,
            false => self.nodes.absorb(answers)?,
        }
        self.node_rows.extend(self.nodes.take_rows(usize::MAX));
        self.edge_rows.extend(self.edges.take_rows(usize::MAX));
        Ok(())
    }

    fn are_read(&self) -> bool {
        self.nodes.is_done() && self.edges.is_done()
    }

    /// The rows of the path in its order. What a half leads to is there.
    fn rows(&mut self) -> Result<Vec<Row>, Error> {
        let (nodes, edges) = &self.ids;
        let lost_node = lost(nodes, &self.node_rows).map(key::node);
        let lost_edge = lost(edges, &self.edge_rows).map(key::locator);
        match lost_node.or(lost_edge) {
            Some(key) => Err(read::Error::missing(&key).into()),
            None => Ok(in_turn(
                std::mem::take(&mut self.node_rows),
                std::mem::take(&mut self.edge_rows),
            )),
        }
    }
}

/// The first id without a row; rows are in the order of the ids.
fn lost(ids: &[EntityId], rows: &[Row]) -> Option<EntityId> {
    let mut rows = rows.iter();
    ids.iter()
        .copied()
        .find(|id| rows.next().map(|row| row.entity.id()) != Some(*id))
}

/// Node, edge, node and so on, each with the number of edges up to it.
fn in_turn(nodes: Vec<Row>, edges: Vec<Row>) -> Vec<Row> {
    let mut edges = edges.into_iter();
    let mut rows = Vec::new();
    for (at, node) in nodes.into_iter().enumerate() {
        if at > 0 {
            rows.extend(edges.next());
        }
        rows.push(node);
    }
    let place = |(at, row): (usize, Row)| Row {
        depth: u32::try_from(at.div_ceil(2)).unwrap_or(u32::MAX),
        ..row
    };
    rows.into_iter().enumerate().map(place).collect()
}

/// The search from both ends.
#[derive(Debug)]
struct Search {
    sides: [Side; 2],
    /// The side whose level is being read.
    turn: usize,
    types: BTreeSet<String>,
    max_depth: u32,
}

/// What was reached from one end.
#[derive(Debug)]
struct Side {
    end: EntityId,
    direction: Direction,
    /// Nodes of the current level whose edges were not asked for yet.
    level: VecDeque<EntityId>,
    pages: VecDeque<Read>,
    /// Nodes one deeper, found so far, each with the edge of the smallest id that leads to it.
    next_level: BTreeMap<EntityId, Hop>,
    /// How each node was reached; the end itself by nothing.
    hops: BTreeMap<EntityId, Option<Hop>>,
    depth: u32,
    asked: usize,
}

/// The way from a node one step back to its end.
#[derive(Clone, Copy, Debug)]
struct Hop {
    edge: EntityId,
    back_to: EntityId,
}

enum Decision {
    Read,
    NoPath,
    /// Nodes and edges, from one end to the other.
    Path(Vec<EntityId>, Vec<EntityId>),
}

impl Search {
    fn new(query: &PathQuery) -> Self {
        Search {
            sides: [
                Side::new(query.from, query.direction),
                Side::new(query.to, query.direction.reversed()),
            ],
            turn: 0,
            types: query.types.clone(),
            max_depth: query.max_depth,
        }
    }

    fn absorb(&mut self, answers: Vec<Answer>) -> Result<(), Error> {
        let known = self.sides.iter().map(|side| side.hops.len()).sum();
        self.sides[self.turn].absorb(answers, known)
    }

    fn ask(&mut self) -> Vec<Read> {
        self.sides[self.turn].ask(&self.types)
    }

    fn decide(&mut self) -> Decision {
        if self.sides[0].end == self.sides[1].end {
            return Decision::Path(vec![self.sides[0].end], Vec::new());
        }
        if self.sides[self.turn].is_reading() {
            return Decision::Read;
        }
        if let Some(node) = self.enter_level() {
            return self.path_through(node);
        }
        let depth: u32 = self.sides.iter().map(|side| side.depth).sum();
        if depth >= self.max_depth || self.sides.iter().any(|side| side.level.is_empty()) {
            return Decision::NoPath;
        }
        self.turn = usize::from(self.sides[1].level.len() < self.sides[0].level.len());
        Decision::Read
    }

    /// Makes the nodes that were found the new level; gives the first of them that the other side knows.
    fn enter_level(&mut self) -> Option<EntityId> {
        let side = &mut self.sides[self.turn];
        let found = std::mem::take(&mut side.next_level);
        side.level = found.keys().copied().collect();
        side.depth += 1;
        side.hops.extend(found.into_iter().map(|(id, hop)| (id, Some(hop))));
        let other = &self.sides[1 - self.turn].hops;
        self.sides[self.turn]
            .level
            .iter()
            .find(|id| other.contains_key(id))
            .copied()
    }

    fn path_through(&self, node: EntityId) -> Decision {
        let (mut nodes, mut edges) = self.sides[0].way_back(node);
        nodes.reverse();
        edges.reverse();
        let (rest, rest_edges) = self.sides[1].way_back(node);
        nodes.extend(rest.into_iter().skip(1));
        edges.extend(rest_edges);
        Decision::Path(nodes, edges)
    }
}

impl Side {
    fn new(end: EntityId, direction: Direction) -> Self {
        Side {
            end,
            direction,
            level: VecDeque::from([end]),
            pages: VecDeque::new(),
            next_level: BTreeMap::new(),
            hops: BTreeMap::from([(end, None)]),
            depth: 0,
            asked: 0,
        }
    }

    fn is_reading(&self) -> bool {
        !self.level.is_empty() || !self.pages.is_empty()
    }

    /// Takes pages of halves in; `known` nodes are remembered already, on both sides.
    fn absorb(&mut self, answers: Vec<Answer>, known: usize) -> Result<(), Error> {
        for (_, answer) in match_up(vec![(); std::mem::take(&mut self.asked)], answers)? {
            let (pairs, more) = answer.into_pairs()?;
            for (key, _) in pairs {
                self.take_half(&key)?;
                if known + self.next_level.len() > MAX_VISITED {
                    return Err(Error::Visited);
                }
            }
            self.pages.extend(more);
        }
        Ok(())
    }

    fn take_half(&mut self, key: &[u8]) -> Result<(), Error> {
        let (outgoing, far) = far_end(key)?;
        if self.hops.contains_key(&far) {
            return Ok(());
        }
        let (edge, locator) = read::edge_of_half(key)?;
        let back_to = if outgoing { locator.source } else { locator.target };
        let hop = Hop { edge, back_to };
        let best = self.next_level.entry(far).or_insert(hop);
        if hop.edge < best.edge {
            *best = hop;
        }
        Ok(())
    }

    fn ask(&mut self, types: &BTreeSet<String>) -> Vec<Read> {
        let pages = self.pages.len().min(SCANS_PER_STEP);
        let mut reads: Vec<Read> = self.pages.drain(..pages).collect();
        while reads.len() < SCANS_PER_STEP {
            let Some(id) = self.level.pop_front() else { break };
            reads.extend(scans_of_halves(id, self.direction, types, |_| true));
        }
        self.asked = reads.len();
        reads
    }

    /// The nodes and edges from a node back to the end.
    fn way_back(&self, from: EntityId) -> (Vec<EntityId>, Vec<EntityId>) {
        let (mut nodes, mut edges) = (vec![from], Vec::new());
        let mut at = from;
        while let Some(Some(hop)) = self.hops.get(&at) {
            edges.push(hop.edge);
            nodes.push(hop.back_to);
            at = hop.back_to;
        }
        (nodes, edges)
    }
}
