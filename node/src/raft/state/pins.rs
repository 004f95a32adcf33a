//! At which steps of a memtable somebody reads: what none of them sees may be forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::memtable::{Memtable, Step};
use crate::raft::lock::lock;

/// The steps that are read at, each with by how many.
#[derive(Default)]
pub struct Pins(Mutex<BTreeMap<Step, usize>>);

impl Pins {
    /// None where nobody reads.
    pub fn oldest(&self) -> Option<Step> {
        lock(&self.0).keys().next().copied()
    }
}

/// Somebody reads a memtable at a step for as long as this is held.
pub struct Pin {
    table: Arc<Memtable>,
    step: Step,
}

impl Pin {
    pub fn new(table: Arc<Memtable>, step: Step) -> Self {
        *lock(&table.pins().0).entry(step).or_default() += 1;
        Pin { table, step }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = lock(&self.table.pins().0);
        if let Some(readers) = pins.get_mut(&self.step) {
            *readers -= 1;
            if *readers == 0 {
                pins.remove(&self.step);
            }
        }
    }
}
