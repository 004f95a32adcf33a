//! Breadth-first traversal: level by level, each level in chunks that bound the pairs in memory.
//!
//! A node is remembered when an edge first leads to it, which is at its smallest depth. Only keys of halves are
//! read; records only of nodes that become rows.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use super::gather::scans_of_halves;
use super::plan::Remaining;
use super::{Direction, Entity, Error, GETS_PER_STEP, MAX_VISITED, PAGE_PAIRS, Row, SCANS_PER_STEP};
use crate::id::EntityId;
use crate::key::{self, Key};
use crate::read::{self, Answer, Read, match_up};

#[derive(Debug)]
pub struct Traverse {
    direction: Direction,
    types: BTreeSet<String>,
    depths: RangeInclusive<u32>,
    depth: u32,
    /// Nodes of the current depth that were not asked for yet.
    level: VecDeque<EntityId>,
    /// Further pages of nodes of the current depth.
    scans: VecDeque<Read>,
    /// Nodes one deeper, found so far.
    next_level: VecDeque<EntityId>,
    visited: BTreeSet<EntityId>,
    asked: Vec<Asked>,
}

#[derive(Debug)]
enum Asked {
    Node(EntityId),
    Page,
}

impl Traverse {
    pub fn new(
        start: Vec<EntityId>,
        direction: Direction,
        types: BTreeSet<String>,
        depths: RangeInclusive<u32>,
    ) -> Self {
        let mut visited = BTreeSet::new();
        let level = start.into_iter().filter(|id| visited.insert(*id)).collect();
        Traverse {
            direction,
            types,
            depths,
            depth: 0,
            level,
            scans: VecDeque::new(),
            next_level: VecDeque::new(),
            visited,
            asked: Vec::new(),
        }
    }

    /// Takes answers in; gives the rows they make.
    pub fn absorb(&mut self, answers: Vec<Answer>) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        for (asked, answer) in match_up(std::mem::take(&mut self.asked), answers)? {
            match asked {
                Asked::Node(id) => rows.extend(self.row(id, answer.into_value()?)?),
                Asked::Page => {
                    let (pairs, more) = answer.into_pairs()?;
                    for (key, _) in pairs {
                        self.visit(far_end(&key)?)?;
                    }
                    self.scans.extend(more);
                }
            }
        }
        Ok(rows)
    }

    fn row(&self, id: EntityId, value: Option<Vec<u8>>) -> Result<Option<Row>, Error> {
        match value {
            Some(bytes) => Ok(Some(Row {
                entity: Entity::Node {
                    id,
                    record: read::node_record(id, &bytes)?,
                },
                depth: self.depth,
            })),
            // The user's ids may name nothing; what an edge leads to is there.
            None if self.depth == 0 => Ok(None),
            None => Err(read::Error::missing(&key::node(id)).into()),
        }
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
            self.ask_pages(&mut reads);
        }
        self.ask_nodes(&mut reads, expands, remaining);
        reads
    }

    /// Goes one level deeper once the current one is read, or its rest is not needed.
    fn descend(&mut self, remaining: Remaining) {
        let rows_here = self.gives_rows() && !self.level.is_empty();
        let pages_here = !self.scans.is_empty() || !self.level.is_empty();
        let unread = rows_here || (pages_here && !self.finds_enough(remaining));
        if unread || self.next_level.is_empty() {
            return;
        }
        self.scans.clear();
        self.level = std::mem::take(&mut self.next_level);
        self.depth += 1;
    }

    fn gives_rows(&self) -> bool {
        self.depth >= *self.depths.start()
    }

    /// Whether the nodes that are known already fill the limit, or lie at the last depth: no edge is needed then.
    fn finds_enough(&self, remaining: Remaining) -> bool {
        // Start nodes may not exist, so they do not count.
        let here = if self.gives_rows() && self.depth > 0 {
            self.level.len()
        } else {
            0
        };
        let deeper = if self.depth + 1 >= *self.depths.start() {
            self.next_level.len()
        } else {
            0
        };
        self.depth >= *self.depths.end() || remaining.is_met_by(here + deeper)
    }

    fn ask_pages(&mut self, reads: &mut Vec<Read>) {
        let pages = self.scans.len().min(SCANS_PER_STEP);
        reads.extend(self.scans.drain(..pages));
        self.asked.extend((0..pages).map(|_| Asked::Page));
    }

    /// Asks for records and halves of as many nodes of this level as fit one step.
    fn ask_nodes(&mut self, reads: &mut Vec<Read>, expands: bool, remaining: Remaining) {
        let most = if expands {
            GETS_PER_STEP
        } else {
            remaining.at_most(GETS_PER_STEP)
        };
        let mut scans = reads.len();
        for _ in 0..most {
            if expands && scans >= SCANS_PER_STEP {
                return;
            }
            let Some(id) = self.level.pop_front() else {
                return;
            };
            if self.gives_rows() {
                reads.push(Read::Get { key: key::node(id) });
                self.asked.push(Asked::Node(id));
            }
            if expands {
                let of_node = scans_of_halves(id, self.direction, &self.types, |_| (PAGE_PAIRS, true));
                scans += of_node.len();
                self.asked.extend(of_node.iter().map(|_| Asked::Page));
                reads.extend(of_node);
            }
        }
    }
}

/// The node that a half leads to.
fn far_end(key: &[u8]) -> Result<EntityId, Error> {
    match Key::decode(key).map_err(read::Error::from)? {
        Key::Out { target, .. } => Ok(target),
        Key::In { source, .. } => Ok(source),
        Key::Node(_) | Key::Locator(_) | Key::Label { .. } | Key::Receipt { .. } => {
            Err(read::Error::foreign(key).into())
        }
    }
}
