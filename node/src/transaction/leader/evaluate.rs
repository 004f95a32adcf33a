//! Evaluating the reads of one request in one view. Pure: a view in, answers or what is in the way out.

use bytes::Bytes;
use kotoba_graph::key;
use kotoba_graph::read::{Answer, Pair, Read, SlotScan};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{
    self as state, HistoryAt, KeptVersions, Known, MetIntent, ReadAt, ScanLimits, history_at, read_at, scan_at,
};
use kotoba_state::store::{Read as View, StoreError};

use super::opened::Found;
use crate::transaction::message::Newest;

/// Bytes of one request's answer, with room for its frame below the limit of a message between members.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Pairs of one scan where the reader names no limit.
const DEFAULT_PAIRS: usize = 1_024;

/// What came of evaluating a request.
pub enum Evaluated<T> {
    /// Of reads: to the first of them, at least one, as many as fit into one message.
    Answers(T),
    /// Transactions that have to be asked about first.
    Blocked(Vec<MetIntent>),
    /// The snapshot lies below the versions that are kept.
    TooOld,
}

pub fn evaluate(
    view: &dyn View,
    snapshot: Timestamp,
    reads: &[Read],
    max_bytes: usize,
    known: &Known,
) -> Result<Evaluated<Vec<Answer>>, StoreError> {
    if snapshot < state::version_floor(view)? {
        return Ok(Evaluated::TooOld);
    }
    let mut reader = Reader::new(view, snapshot, max_bytes, known);
    let answers = reader.answer_all(reads)?;
    Ok(match reader.blocked.is_empty() {
        true => Evaluated::Answers(answers),
        false => Evaluated::Blocked(reader.blocked),
    })
}

/// The versions of one key; what is gone below the version floor is not missed, for nobody asked for it by its timestamp.
pub fn history(
    view: &dyn View,
    snapshot: Timestamp,
    key: &[u8],
    limit: u32,
    known: &Known,
) -> Result<Evaluated<KeptVersions>, StoreError> {
    if snapshot < state::version_floor(view)? {
        return Ok(Evaluated::TooOld);
    }
    let limits = ScanLimits {
        pairs: limit as usize,
        bytes: MAX_ANSWER_BYTES,
    };
    Ok(match history_at(view, key, snapshot, limits, known)? {
        HistoryAt::Kept(kept) => Evaluated::Answers(kept),
        HistoryAt::Blocked(intent) => Evaluated::Blocked(vec![intent]),
    })
}

/// The newest versions, and since when they are that; none where an intent may be newer, or where a deletion may be that is
/// not kept any more.
pub fn newest(
    view: &dyn View,
    at_least: Timestamp,
    reads: &[Read],
    max_bytes: usize,
) -> Result<Option<Newest>, StoreError> {
    let known = Known::new();
    let mut reader = Reader::new(view, Timestamp(u64::MAX), max_bytes, &known);
    let answers = reader.answer_all(reads)?;
    let since = reader.since.max(at_least);
    let is_known = reader.blocked.is_empty() && since >= state::version_floor(view)?;
    Ok(is_known.then_some(Newest { since, answers }))
}

/// Of one read, without any knowledge of the transactions that are in its way.
pub fn one(view: &dyn View, snapshot: Timestamp, read: &Read, max_bytes: usize) -> Result<Found, StoreError> {
    let known = Known::new();
    let mut reader = Reader::new(view, snapshot, max_bytes, &known);
    let answer = reader.answer(read)?;
    Ok(Found {
        answer,
        since: reader.since,
        is_blocked: !reader.blocked.is_empty(),
    })
}

struct Reader<'a> {
    view: &'a dyn View,
    snapshot: Timestamp,
    known: &'a Known,
    blocked: Vec<MetIntent>,
    bytes_left: usize,
    /// When the newest of all that was found was committed.
    since: Timestamp,
}

impl<'a> Reader<'a> {
    fn new(view: &'a dyn View, snapshot: Timestamp, max_bytes: usize, known: &'a Known) -> Self {
        Reader {
            view,
            snapshot,
            known,
            blocked: Vec::new(),
            bytes_left: max_bytes.clamp(1, MAX_ANSWER_BYTES),
            since: Timestamp(0),
        }
    }

    /// Answers to the first of the reads, as many as fit into one message.
    fn answer_all(&mut self, reads: &[Read]) -> Result<Vec<Answer>, StoreError> {
        let mut answers = Vec::with_capacity(reads.len());
        for read in reads {
            answers.push(self.answer(read)?);
            if self.bytes_left == 0 {
                break;
            }
        }
        Ok(answers)
    }

    fn answer(&mut self, read: &Read) -> Result<Answer, StoreError> {
        match read {
            Read::Get { key } => self.get(key).map(Answer::Value),
            Read::Scan {
                from,
                to,
                limit,
                keys_only,
            } => self.scan(from, to, *limit, *keys_only),
            Read::ScanSlots(scan) => self.scan_slots(scan),
        }
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match read_at(self.view, key, self.snapshot, self.known)? {
            ReadAt::Value { value, since } => {
                self.since = self.since.max(since);
                self.spend(value.as_ref().map_or(0, Bytes::len));
                Ok(value)
            }
            ReadAt::Blocked(intent) => {
                self.blocked.push(intent);
                Ok(None)
            }
        }
    }

    fn scan(&mut self, from: &[u8], to: &[u8], limit: Option<usize>, keys_only: bool) -> Result<Answer, StoreError> {
        let (pairs, resume) = self.page(from, to, limit.unwrap_or(DEFAULT_PAIRS), keys_only)?;
        let more = resume.map(|from| Read::Scan {
            from,
            to: to.to_vec(),
            limit,
            keys_only,
        });
        Ok(Answer::Pairs {
            pairs,
            more: more.into_iter().collect(),
        })
    }

    /// The same range slot after slot, until the page is full.
    fn scan_slots(&mut self, scan: &SlotScan) -> Result<Answer, StoreError> {
        let limit = scan.limit.unwrap_or(DEFAULT_PAIRS);
        let mut found: Vec<Pair> = Vec::new();
        for (from, to) in scan.ranges() {
            if found.len() >= limit || self.bytes_left == 0 {
                return self.continued(scan, found, &from);
            }
            let (pairs, resume) = self.page(&from, &to, limit - found.len(), scan.keys_only)?;
            found.extend(pairs);
            if let Some(next) = resume {
                return self.continued(scan, found, &next);
            }
        }
        Ok(Answer::Pairs {
            pairs: found,
            more: Vec::new(),
        })
    }

    /// A full page, and the read that goes on at `next`: from its slot on, above the key before it.
    fn continued(&self, scan: &SlotScan, pairs: Vec<Pair>, next: &[u8]) -> Result<Answer, StoreError> {
        let slot = key::slot_of(next).map_err(StoreError::new)?;
        let (start, _) = scan.range.in_slot(slot);
        // Pages resume right above a key that was visited, which is that key with a zero byte behind it.
        let after = (next != start.as_slice()).then(|| next.strip_suffix(&[0]).unwrap_or(next).to_vec());
        let rest = SlotScan {
            first: slot,
            after,
            ..scan.clone()
        };
        Ok(Answer::Pairs {
            pairs,
            more: vec![Read::ScanSlots(rest)],
        })
    }

    fn page(
        &mut self,
        from: &[u8],
        to: &[u8],
        pairs: usize,
        keys_only: bool,
    ) -> Result<(Vec<Pair>, Option<Vec<u8>>), StoreError> {
        let limits = ScanLimits {
            pairs,
            bytes: self.bytes_left,
        };
        let page = scan_at(self.view, from, to, self.snapshot, limits, keys_only, self.known)?;
        self.blocked.extend(page.blocked);
        self.since = self.since.max(page.since);
        let pairs = page.pairs;
        self.spend(pairs.iter().map(|(key, value)| key.len() + value.len()).sum());
        Ok((pairs, page.resume))
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
    }
}
