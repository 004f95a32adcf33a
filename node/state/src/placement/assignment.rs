//! The cheapest assignment of partitions to members, as a minimum-cost flow.
//!
//! Each partition sends one unit per replica through one of its zones to a member. Units are added one at a time along the
//! cheapest path, which may take replicas from members and give them others (successive shortest paths, Dijkstra with
//! potentials): so the result is the best there is, not only one that no single exchange improves.
//! The graph is not stored: its edges follow from who holds what.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::cost::{self, Cost};
use super::shares::Window;

/// The input, with members, zones and partitions by position.
pub(super) struct Problem {
    pub replicas_each: usize,
    /// Of each member.
    pub zone: Vec<usize>,
    /// Of each member.
    pub window: Vec<Window>,
    /// Members of each zone.
    pub inside: Vec<Vec<usize>>,
    /// Of each partition, for each member: whether it holds a replica now.
    pub held: Vec<Vec<bool>>,
    /// Of each partition, for each member: its place clockwise.
    pub rank: Vec<Vec<usize>>,
}

/// A place on the way of a unit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Partition(usize),
    Zone { partition: usize, zone: usize },
    Member(usize),
    Sink,
}

pub(super) struct Assignment<'a> {
    problem: &'a Problem,
    /// Members of each partition.
    members: Vec<BTreeSet<usize>>,
    /// Partitions of each member.
    partitions: Vec<BTreeSet<usize>>,
    /// By partition and zone.
    in_zone: Vec<Vec<usize>>,
    potential: Vec<Cost>,
    search: Search,
}

/// The state of one search, kept to be cleared rather than made anew.
struct Search {
    /// Cheapest way found so far, and where it came from.
    reached: Vec<Option<(Cost, usize)>>,
    touched: Vec<usize>,
    open: BinaryHeap<Reverse<(Cost, usize)>>,
}

/// The members of each partition, by position.
pub(super) fn solve(problem: &Problem) -> Vec<BTreeSet<usize>> {
    let mut assignment = Assignment::new(problem);
    for partition in 0..problem.held.len() {
        for _ in 0..problem.replicas_each {
            assignment.add_replica(partition);
        }
    }
    assignment.members
}

impl<'a> Assignment<'a> {
    fn new(problem: &'a Problem) -> Self {
        let (partitions, zones, members) = (problem.held.len(), problem.inside.len(), problem.zone.len());
        let nodes = partitions * (1 + zones) + members + 1;
        Assignment {
            problem,
            members: vec![BTreeSet::new(); partitions],
            partitions: vec![BTreeSet::new(); members],
            in_zone: vec![vec![0; zones]; partitions],
            potential: vec![0; nodes],
            search: Search {
                reached: vec![None; nodes],
                touched: Vec::new(),
                open: BinaryHeap::new(),
            },
        }
    }

    /// Sends one more unit from a partition to the sink, on the cheapest way.
    fn add_replica(&mut self, partition: usize) {
        let source = self.position(Node::Partition(partition));
        let sink = self.position(Node::Sink);
        let length = self.find_way(source, sink);
        self.lower_potentials(length);
        let mut to = sink;
        while to != source {
            let (_, from) = self.search.reached[to].expect("the way back from the sink leads to the source");
            self.shift(self.node(from), self.node(to));
            to = from;
        }
        self.search.clear();
    }

    /// Dijkstra over reduced costs; ends when the sink is the nearest.
    fn find_way(&mut self, source: usize, sink: usize) -> Cost {
        self.search.reach(source, 0, source);
        while let Some(Reverse((length, at))) = self.search.open.pop() {
            if at == sink {
                return length;
            }
            if self.search.reached[at].is_some_and(|(best, _)| best < length) {
                continue;
            }
            for (next, cost) in self.edges(self.node(at)) {
                let next = self.position(next);
                let reduced = cost + self.potential[at] - self.potential[next];
                debug_assert!(reduced >= 0, "potentials keep every reduced cost at or above zero");
                self.search.reach(next, length + reduced, at);
            }
        }
        unreachable!("a partition has no more replicas than there are members, so a member is free")
    }

    /// What a unit at a node can do next, each with its cost; giving something back costs less than nothing.
    fn edges(&self, node: Node) -> Vec<(Node, Cost)> {
        match node {
            Node::Partition(partition) => self.zones_to_enter(partition),
            Node::Zone { partition, zone } => self.members_to_take(partition, zone),
            Node::Member(member) => self.ways_of_member(member),
            Node::Sink => Vec::new(),
        }
    }

    fn zones_to_enter(&self, partition: usize) -> Vec<(Node, Cost)> {
        let present = self.in_zone[partition].iter().enumerate();
        present
            .map(|(zone, present)| (Node::Zone { partition, zone }, cost::of_zone(*present)))
            .collect()
    }

    fn members_to_take(&self, partition: usize, zone: usize) -> Vec<(Node, Cost)> {
        let free = self.problem.inside[zone]
            .iter()
            .filter(|member| !self.members[partition].contains(member));
        let mut ways: Vec<_> = free
            .map(|member| (Node::Member(*member), self.cost_of_holding(partition, *member)))
            .collect();
        if let Some(others) = self.in_zone[partition][zone].checked_sub(1) {
            ways.push((Node::Partition(partition), -cost::of_zone(others)));
        }
        ways
    }

    fn ways_of_member(&self, member: usize) -> Vec<(Node, Cost)> {
        let zone = self.problem.zone[member];
        let held = &self.partitions[member];
        let give_back = |partition: &usize| {
            (
                Node::Zone {
                    partition: *partition,
                    zone,
                },
                -self.cost_of_holding(*partition, member),
            )
        };
        let keep = (Node::Sink, cost::of_load(held.len(), self.problem.window[member]));
        held.iter().map(give_back).chain([keep]).collect()
    }

    fn cost_of_holding(&self, partition: usize, member: usize) -> Cost {
        let is_new = !self.problem.held[partition][member];
        cost::of_holding(is_new, self.problem.rank[partition][member])
    }

    /// Moves one unit along an edge.
    fn shift(&mut self, from: Node, to: Node) {
        match (from, to) {
            (Node::Partition(_), Node::Zone { partition, zone }) => self.in_zone[partition][zone] += 1,
            (Node::Zone { partition, zone }, Node::Partition(_)) => self.in_zone[partition][zone] -= 1,
            (Node::Zone { partition, .. }, Node::Member(member)) => {
                self.members[partition].insert(member);
                self.partitions[member].insert(partition);
            }
            (Node::Member(member), Node::Zone { partition, .. }) => {
                self.members[partition].remove(&member);
                self.partitions[member].remove(&partition);
            }
            (Node::Member(_), Node::Sink) => {}
            (Node::Partition(_) | Node::Zone { .. } | Node::Member(_) | Node::Sink, _) => {
                unreachable!("there is no such edge")
            }
        }
    }

    /// Keeps every reduced cost at or above zero after the way of this length is used.
    fn lower_potentials(&mut self, length: Cost) {
        for at in &self.search.touched {
            let reached = self.search.reached[*at].map_or(length, |(reached, _)| reached);
            self.potential[*at] += reached.min(length) - length;
        }
    }

    fn position(&self, node: Node) -> usize {
        let (partitions, zones) = (self.members.len(), self.problem.inside.len());
        match node {
            Node::Partition(partition) => partition,
            Node::Zone { partition, zone } => partitions + partition * zones + zone,
            Node::Member(member) => partitions * (1 + zones) + member,
            Node::Sink => partitions * (1 + zones) + self.partitions.len(),
        }
    }

    fn node(&self, position: usize) -> Node {
        let (partitions, zones) = (self.members.len(), self.problem.inside.len());
        if position < partitions {
            return Node::Partition(position);
        }
        if position < partitions * (1 + zones) {
            let (partition, zone) = ((position - partitions) / zones, (position - partitions) % zones);
            return Node::Zone { partition, zone };
        }
        match position - partitions * (1 + zones) {
            member if member < self.partitions.len() => Node::Member(member),
            _ => Node::Sink,
        }
    }
}

impl Search {
    fn reach(&mut self, at: usize, length: Cost, from: usize) {
        match self.reached[at] {
            Some((best, _)) if best <= length => return,
            Some(_) => {}
            None => self.touched.push(at),
        }
        self.reached[at] = Some((length, from));
        self.open.push(Reverse((length, at)));
    }

    fn clear(&mut self) {
        for at in self.touched.drain(..) {
            self.reached[at] = None;
        }
        self.open.clear();
    }
}
