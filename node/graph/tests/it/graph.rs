//! A database in a test: the store, and requests run as the gateway would run them.

use kotoba_graph::operation::{Batch, ConditionKind, Error, Mutation, Operation, Step};
use kotoba_graph::query;
use kotoba_graph::query::{
    Cursor, GETS_PER_STEP, MAX_TYPES, OrderBy, Plan, Position, Query, QueryStep, Row, SCANS_PER_STEP, Terms,
};
use kotoba_graph::read::Read;

use crate::store::{Paging, Store};

/// More than any graph of these tests has rows.
const MAX_PAGES: usize = 1_000;

#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub store: Store,
    pub next_sequence: u64,
}

impl Graph {
    /// Turns a request into its mutation; says in how many rounds of reads.
    pub fn plan(&mut self, operations: Vec<Operation>, paging: Paging) -> Result<(Mutation, usize), Error> {
        let mut sequences = || {
            self.next_sequence += 1;
            self.next_sequence
        };
        let mut batch = Batch::new(operations, None, &mut sequences)?;
        let (mut answers, mut rounds) = (Vec::new(), 0);
        loop {
            match batch.advance(answers)? {
                Step::Done(mutation) => return Ok((mutation, rounds)),
                Step::Read(reads) => answers = self.store.answer(reads, paging),
            }
            rounds += 1;
        }
    }

    /// Runs a request; nothing changes where it is refused.
    pub fn run(&mut self, operations: Vec<Operation>, paging: Paging) -> Result<Mutation, Error> {
        let (mutation, _) = self.plan(operations, paging)?;
        for condition in &mutation.conditions {
            let there = self.store.0.contains_key(&condition.key);
            if there != (condition.kind == ConditionKind::Exists) {
                return Err(condition.broken());
            }
        }
        self.store.apply(mutation.writes.clone());
        Ok(mutation)
    }

    /// All rows of a query.
    pub fn query(&self, query: Query, paging: Paging) -> Result<Vec<Row>, query::Error> {
        Ok(self.page(query, Terms::default(), paging)?.rows)
    }

    /// The number of rows of a query.
    pub fn count(&self, query: Query, paging: Paging) -> Result<u64, query::Error> {
        let terms = Terms {
            count_only: true,
            ..Terms::default()
        };
        Ok(self.page(query, terms, paging)?.count)
    }

    /// All rows of a query, and where its limit cut it.
    pub fn page(&self, query: Query, terms: Terms, paging: Paging) -> Result<QueryStep, query::Error> {
        let mut plan = Plan::with_terms(query, terms)?;
        let (mut answers, mut rows, mut count) = (Vec::new(), Vec::new(), 0);
        loop {
            let step = plan.advance(answers)?;
            rows.extend(step.rows);
            count += step.count;
            let Some(reads) = step.next else {
                let next = None;
                let cut = step.cut;
                return Ok(QueryStep { rows, count, next, cut });
            };
            assert!(step.cut.is_none());
            assert_bounded(&reads);
            answers = self.store.answer(reads, paging);
        }
    }

    /// The pages of a query, each with a limit of its own and read after a cursor went to the client and came back.
    pub fn pages(&self, query: &Query, order: &[OrderBy], shapes: &[(u64, Paging)]) -> Vec<Vec<Row>> {
        let mut pages = Vec::new();
        let mut after: Option<Position> = None;
        for (limit, paging) in shapes.iter().cycle().take(MAX_PAGES) {
            let query = with_limit(query.clone(), *limit);
            let terms = Terms {
                order: order.to_vec(),
                after,
                ..Terms::default()
            };
            let page = self.page(query.clone(), terms, *paging).unwrap();
            assert!(page.rows.len() as u64 <= *limit);
            assert!(page.cut.is_none() || page.rows.len() as u64 == *limit);
            pages.push(page.rows);
            let Some(cut) = page.cut else {
                return pages;
            };
            let bytes = Cursor::new(7, &query, order, cut).encode();
            after = Some(Cursor::decode(&bytes, &query, order).unwrap().position);
        }
        panic!("the pages do not come to an end")
    }
}

pub fn with_limit(mut query: Query, to: u64) -> Query {
    match &mut query {
        Query::FindNodes { limit, .. } | Query::FindEdges { limit, .. } | Query::EdgesOf { limit, .. } => {
            *limit = Some(to);
        }
        Query::Traverse(traversal) => traversal.limit = Some(to),
        Query::GetNodes { .. } | Query::GetEdges { .. } | Query::ShortestPath(_) => panic!("has no limit"),
    }
    query
}

fn assert_bounded(reads: &[Read]) {
    let gets = reads.iter().filter(|read| matches!(read, Read::Get { .. })).count();
    assert!(!reads.is_empty(), "a step that reads nothing would never end");
    assert!(gets <= GETS_PER_STEP);
    assert!(reads.len() - gets < SCANS_PER_STEP + 2 * MAX_TYPES);
}
