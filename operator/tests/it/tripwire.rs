//! Kills the operator at a chosen write: before it has an effect, or after it had one and before it is answered.
//!
//! A write that would change nothing is not counted: dying beside it is the same as dying beside its neighbour.

use std::sync::{Arc, Mutex};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// What is to be done with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    DieBefore,
    DieAfter,
    /// The operator is dead already: nothing it sends arrives.
    Dead,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<(usize, When)>,
    writes: usize,
    dead: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Tripwire(Arc<Mutex<State>>);

impl Tripwire {
    /// The operator dies at the write with this number, counted from 0.
    pub fn arm(&self, write: usize, when: When) {
        self.0.lock().unwrap().armed = Some((write, when));
    }

    /// Says what happens to a write that will have an effect.
    pub fn write(&self) -> Verdict {
        let mut state = self.0.lock().unwrap();
        if state.dead {
            return Verdict::Dead;
        }
        let number = state.writes;
        state.writes += 1;
        match state.armed {
            Some((armed, when)) if armed == number => {
                state.dead = true;
                match when {
                    When::Before => Verdict::DieBefore,
                    When::After => Verdict::DieAfter,
                }
            }
            Some(_) | None => Verdict::Go,
        }
    }

    pub fn dead(&self) -> bool {
        self.0.lock().unwrap().dead
    }

    /// A new process of the operator: it lives, and is not killed again.
    pub fn restart(&self) {
        let mut state = self.0.lock().unwrap();
        state.dead = false;
        state.armed = None;
    }

    /// Writes that had an effect so far.
    pub fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }
}
