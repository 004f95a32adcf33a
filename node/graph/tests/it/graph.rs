//! A database in a test: the store, and requests run as the gateway would run them.

use kotoba_graph::operation::{Batch, ConditionKind, Error, Mutation, Operation, Step};
use kotoba_graph::query;
use kotoba_graph::query::{GETS_PER_STEP, MAX_TYPES, Plan, Query, Row, SCANS_PER_STEP};
use kotoba_graph::read::Read;

use crate::store::{Paging, Store};

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
        let mut batch = Batch::new(operations, &mut sequences)?;
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
        let mut plan = Plan::new(query)?;
        let (mut answers, mut rows) = (Vec::new(), Vec::new());
        loop {
            let step = plan.advance(answers)?;
            rows.extend(step.rows);
            let Some(reads) = step.next else {
                return Ok(rows);
            };
            assert_bounded(&reads);
            answers = self.store.answer(reads, paging);
        }
    }
}

fn assert_bounded(reads: &[Read]) {
    let gets = reads.iter().filter(|read| matches!(read, Read::Get { .. })).count();
    assert!(!reads.is_empty(), "a step that reads nothing would never end");
    assert!(gets <= GETS_PER_STEP);
    assert!(reads.len() - gets < SCANS_PER_STEP + 2 * MAX_TYPES);
}
