//! A store in memory that answers reads as a cluster would: by partition, and in pages as small as a test wants.

use std::collections::BTreeMap;

use kotoba_graph::id::{SLOTS, Slot};
use kotoba_graph::key;
use kotoba_graph::read::{Answer, Pair, Read, SlotScan};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Store(pub BTreeMap<Vec<u8>, Vec<u8>>);

/// How the store answers.
#[derive(Clone, Copy, Debug)]
pub struct Paging {
    /// Most pairs of one page, whatever the read allows.
    pub page: usize,
    pub partitions: u16,
}

pub const LARGE: Paging = Paging {
    page: usize::MAX,
    partitions: 1,
};

impl Store {
    pub fn answer(&self, reads: Vec<Read>, paging: Paging) -> Vec<Answer> {
        let answer = |read| self.answer_one(read, paging);
        reads.into_iter().map(answer).collect()
    }

    fn answer_one(&self, read: Read, paging: Paging) -> Answer {
        match read {
            Read::Get { key } => Answer::Value(self.0.get(&key).cloned().map(Into::into)),
            Read::Scan {
                from,
                to,
                limit,
                keys_only,
            } => {
                assert_eq!(key::slot_of(&from), key::slot_of(&to), "a scan stays in a slot");
                let limit = limit.unwrap_or(usize::MAX).min(paging.page);
                let ranges = std::iter::once((from, to.clone()));
                let (pairs, left) = self.page(ranges, limit, keys_only);
                let more = left.then(|| Read::Scan {
                    from: key::successor(&pairs.last().unwrap().0),
                    to,
                    limit: Some(limit),
                    keys_only,
                });
                let more = more.into_iter().collect();
                Answer::Pairs { pairs, more }
            }
            Read::ScanSlots(scan) => self.scan_slots(&scan, paging),
        }
    }

    fn scan_slots(&self, scan: &SlotScan, paging: Paging) -> Answer {
        let (mut pairs, mut more) = (Vec::new(), Vec::new());
        let slots = SLOTS / paging.partitions;
        for partition in 0..paging.partitions {
            let first = Slot::new(partition * slots).unwrap();
            let last = match partition + 1 {
                next if next == paging.partitions => Slot::LAST,
                next => Slot::new(next * slots - 1).unwrap(),
            };
            let Some(part) = scan.within(first, last) else {
                continue;
            };
            let limit = scan.limit.unwrap_or(usize::MAX).min(paging.page);
            let (page, left) = self.page(part.ranges(), limit, scan.keys_only);
            if left {
                let rest = part.continued_after(&page.last().unwrap().0).unwrap();
                more.push(Read::ScanSlots(rest));
            }
            pairs.extend(page);
        }
        Answer::Pairs { pairs, more }
    }

    /// The first pairs of ranges, and whether there are more.
    fn page(
        &self,
        ranges: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
        limit: usize,
        keys_only: bool,
    ) -> (Vec<Pair>, bool) {
        assert!(limit > 0, "a page of nothing would go on for ever");
        let mut pairs = Vec::new();
        for (from, to) in ranges {
            for (key, value) in self.0.range(from..to) {
                if pairs.len() == limit {
                    return (pairs, true);
                }
                let value = if keys_only { Vec::new() } else { value.clone() };
                pairs.push((key.clone().into(), value.into()));
            }
        }
        (pairs, false)
    }

    pub fn apply(&mut self, writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
        for (key, value) in writes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }
}
