//! Where each entry of one replica's log is: its sequence in the file, and the newest entries themselves.
//!
//! Pure bookkeeping in memory, rebuilt at start-up; the owner holds a lock around it.

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::disk::FoundEntry;
use crate::raft::types::{Entry, LeaderId, LogId};

/// Bytes of newest entries that all replicas of a member may keep in memory, and that each may keep in any case.
#[derive(Debug)]
pub struct CacheBudget {
    used: AtomicUsize,
    limit: usize,
    floor: usize,
}

impl CacheBudget {
    pub fn new(limit: usize, floor: usize) -> Self {
        CacheBudget {
            used: AtomicUsize::new(0),
            limit,
            floor,
        }
    }

    fn is_exceeded_by(&self, own: usize) -> bool {
        own > self.floor && self.used.load(Ordering::Relaxed) > self.limit
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    sequence: u64,
    bytes: usize,
}

/// Entries from `first` on have this leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    leader: LeaderId,
}

/// An entry that does not follow the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {found} where entry {expected} is next: the log would have a hole")]
pub struct Gap {
    pub expected: u64,
    pub found: u64,
}

/// A slice of the log: entries to read from the file, then entries from memory.
#[derive(Debug, Default)]
pub struct Selection {
    pub cold: Vec<(LogId, u64)>,
    pub warm: Vec<Entry>,
}

/// The index of one replica's log.
#[derive(Debug)]
pub struct LogIndex {
    purged: Option<LogId>,
    first: u64,
    /// Invariant: without holes; `slots[i]` is entry `first + i`.
    slots: VecDeque<Slot>,
    /// Of all entries.
    bytes: usize,
    /// Invariant: ascending; the first run begins at or before `first`; empty exactly when `slots` is.
    runs: VecDeque<Run>,
    /// Invariant: the newest `tail.len()` entries; all that are not durable are among them.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// Entries with a smaller sequence are on disk.
    durable_before: u64,
    budget: Arc<CacheBudget>,
}

impl LogIndex {
    pub fn new(purged: Option<LogId>, budget: Arc<CacheBudget>) -> Self {
        LogIndex {
            purged,
            first: 0,
            slots: VecDeque::new(),
            bytes: 0,
            runs: VecDeque::new(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            durable_before: 0,
            budget,
        }
    }

    pub fn purged(&self) -> Option<LogId> {
        self.purged
    }

    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The last entry, or the purge position where there is none.
    pub fn last(&self) -> Option<LogId> {
        match self.runs.back() {
            Some(run) => Some(LogId::new(run.leader, self.end() - 1)),
            None => self.purged,
        }
    }

    /// Of all entries.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of the entries up to this one.
    pub fn bytes_up_to(&self, index: u64) -> usize {
        let count = usize::try_from((index + 1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.slots.iter().take(count).map(|slot| slot.bytes).sum()
    }

    /// The last of the entries that may go so that at most `kept` bytes stay; none until half as many again are here.
    pub fn beyond(&self, kept: usize) -> Option<u64> {
        if self.bytes <= kept.saturating_add(kept / 2) {
            return None;
        }
        let mut staying = 0;
        let stays = |slot: &&Slot| {
            staying += slot.bytes;
            staying <= kept
        };
        let stay = self.slots.iter().rev().take_while(stays).count() as u64;
        (self.first..self.end() - stay).last()
    }

    /// Bytes of entries kept in memory.
    pub fn cached_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Takes an entry found on disk at start-up; the first one has to have this index.
    pub fn restore(&mut self, first: u64, found: FoundEntry) -> Result<(), Gap> {
        let FoundEntry {
            log_id,
            sequence,
            bytes,
            ..
        } = found;
        if self.slots.is_empty() && log_id.index() != first {
            return Err(Gap {
                expected: first,
                found: log_id.index(),
            });
        }
        self.push_slot(log_id, Slot { sequence, bytes })?;
        self.durable_before = sequence + 1;
        Ok(())
    }

    /// Takes a new entry, readable from now on.
    pub fn push(&mut self, entry: Entry, sequence: u64, bytes: usize) -> Result<(), Gap> {
        self.push_slot(entry.log_id, Slot { sequence, bytes })?;
        self.tail.push_back(entry);
        self.tail_bytes += bytes;
        self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn push_slot(&mut self, log_id: LogId, slot: Slot) -> Result<(), Gap> {
        let found = log_id.index();
        if self.slots.is_empty() {
            self.first = found;
        } else if found != self.end() {
            return Err(Gap {
                expected: self.end(),
                found,
            });
        }
        let leader = *log_id.committed_leader_id();
        if self.runs.back().is_none_or(|run| run.leader != leader) {
            self.runs.push_back(Run { first: found, leader });
        }
        self.bytes += slot.bytes;
        self.slots.push_back(slot);
        Ok(())
    }

    /// Drops entries after `last`; gives their sequences.
    pub fn truncate_after(&mut self, last: Option<LogId>) -> Vec<u64> {
        let keep_before = last.map_or(0, |last| last.index() + 1).max(self.first);
        let mut dropped = Vec::new();
        while self.end() > keep_before
            && let Some(slot) = self.slots.pop_back()
        {
            dropped.push(slot.sequence);
            self.bytes -= slot.bytes;
            if self.tail.pop_back().is_some() {
                self.forget_bytes(slot.bytes);
            }
        }
        let end = self.end();
        while self.runs.back().is_some_and(|run| run.first >= end) || self.slots.is_empty() {
            if self.runs.pop_back().is_none() {
                break;
            }
        }
        dropped
    }

    /// Drops entries up to `upto`, which becomes the purge position; gives their sequences.
    pub fn purge(&mut self, upto: LogId) -> Vec<u64> {
        self.purged = self.purged.max(Some(upto));
        let mut dropped = Vec::new();
        while self.first <= upto.index()
            && let Some(slot) = self.slots.pop_front()
        {
            if self.tail.len() > self.slots.len() {
                self.tail.pop_front();
                self.forget_bytes(slot.bytes);
            }
            dropped.push(slot.sequence);
            self.bytes -= slot.bytes;
            self.first += 1;
        }
        while self.runs.get(1).is_some_and(|next| next.first <= self.first) {
            self.runs.pop_front();
        }
        if self.slots.is_empty() {
            self.runs.clear();
        }
        dropped
    }

    /// Drops everything; gives all sequences.
    pub fn clear(&mut self) -> Vec<u64> {
        self.truncate_after(None)
    }

    /// Notes that entries with smaller sequences are on disk, and makes room in memory.
    pub fn durable_before(&mut self, sequence: u64) {
        self.durable_before = self.durable_before.max(sequence);
        while self.budget.is_exceeded_by(self.tail_bytes) {
            let oldest = self.slots.len() - self.tail.len();
            match self.slots.get(oldest) {
                Some(slot) if slot.sequence < self.durable_before => {
                    let bytes = slot.bytes;
                    self.tail.pop_front();
                    self.forget_bytes(bytes);
                }
                Some(_) | None => return,
            }
        }
    }

    fn forget_bytes(&mut self, bytes: usize) {
        self.tail_bytes -= bytes;
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Entries of a range that are here, from its first on, until they have more than `limit` bytes; at least one.
    pub fn select(&self, range: Range<u64>, limit: usize) -> Selection {
        let range = range.start.max(self.first)..range.end.min(self.end());
        let warm_from = self.end() - self.tail.len() as u64;
        let mut selection = Selection::default();
        let mut bytes = 0;
        for index in range {
            let slot = self.slots[self.offset(index)];
            if bytes > 0 && bytes + slot.bytes > limit {
                break;
            }
            bytes += slot.bytes;
            match index.checked_sub(warm_from) {
                Some(at) => selection.warm.push(self.tail[at as usize].clone()),
                None => selection.cold.push((self.log_id(index), slot.sequence)),
            }
        }
        selection
    }

    /// Whether a reader at `index` comes too late.
    pub fn is_purged(&self, index: u64) -> bool {
        self.purged.is_some_and(|purged| index <= purged.index()) || (!self.slots.is_empty() && index < self.first)
    }

    /// Whether entries from this index on stand in the way of it: they follow from another entry in its place, so no
    /// majority can have them.
    pub fn contradicts(&self, log_id: LogId) -> bool {
        let index = log_id.index();
        (self.first..self.end()).contains(&index) && self.log_id(index) != log_id
    }

    /// The last entry of each leader in a range of entries, and the range's own last.
    pub fn key_log_ids(&self, range: &RangeInclusive<LogId>) -> Vec<LogId> {
        let (from, to) = (range.start().index(), range.end().index());
        let ends = self.runs.iter().skip(1).map(|next| next.first).chain([self.end()]);
        self.runs
            .iter()
            .zip(ends)
            .filter(|(run, end)| run.first <= to && *end > from)
            .map(|(run, end)| LogId::new(run.leader, (end - 1).min(to)))
            .collect()
    }

    fn offset(&self, index: u64) -> usize {
        (index - self.first) as usize
    }

    fn log_id(&self, index: u64) -> LogId {
        let after = self.runs.partition_point(|run| run.first <= index);
        LogId::new(self.runs[after - 1].leader, index)
    }
}

impl Drop for LogIndex {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.tail_bytes, Ordering::Relaxed);
    }
}
