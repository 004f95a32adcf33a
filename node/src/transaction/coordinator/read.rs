//! Snapshot reads over all partitions: fan out, merge, and remember what was looked at.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use kotoba_graph::id::Slot;
use kotoba_graph::read::{Answer, Read};
use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::{KeptVersions, Key, Span, slot_of};

use super::{Coordinator, ReadError, Transaction};
use crate::transaction::message::{Reply, Request};

/// Reads of one partition, each with the position of the read it answers.
type Routed = BTreeMap<PartitionId, Vec<(usize, Read)>>;

/// Who answers reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// Any snapshot.
    Leaders,
    /// The nearest replica that has reached the snapshot, else the leader. For snapshots that are, or soon will be, closed.
    Replicas,
}

impl Transaction<'_> {
    /// Answers each read at its position, all at the transaction's snapshot, and keeps them as its read set.
    pub async fn read(&mut self, reads: Vec<Read>) -> Result<Vec<Answer>, ReadError> {
        let snapshot = self.snapshot().await?;
        self.spans.extend(reads.iter().map(span_of));
        self.coordinator.read_at(snapshot, ReadFrom::Leaders, reads).await
    }
}

impl Coordinator {
    /// A timestamp to read at: above every commit that was acknowledged before this call.
    pub async fn take_snapshot(&self) -> Result<Timestamp, ReadError> {
        self.timestamp().await.map_err(ReadError::Unavailable)
    }

    /// Answers each read at its position, at a snapshot, without any transaction.
    pub async fn read_at(
        &self,
        snapshot: Timestamp,
        from: ReadFrom,
        reads: Vec<Read>,
    ) -> Result<Vec<Answer>, ReadError> {
        let mut answers: Vec<Answer> = reads.iter().map(empty_answer).collect();
        let calls = self
            .route(reads)
            .into_iter()
            .map(|(partition, routed)| self.read_partition(partition, snapshot, from, routed));
        for (position, part) in try_join_all(calls).await?.into_iter().flatten() {
            merge(&mut answers[position], part);
        }
        Ok(answers)
    }

    /// One partition's answers, in as many messages as they take.
    async fn read_partition(
        &self,
        partition: PartitionId,
        snapshot: Timestamp,
        from: ReadFrom,
        routed: Vec<(usize, Read)>,
    ) -> Result<Vec<(usize, Answer)>, ReadError> {
        let (positions, mut reads): (Vec<usize>, Vec<Read>) = routed.into_iter().unzip();
        let mut answers = Vec::with_capacity(reads.len());
        while !reads.is_empty() {
            match self.read_once(partition, snapshot, from, &reads).await? {
                Reply::Read(part) if (1..=reads.len()).contains(&part.len()) => {
                    reads.drain(..part.len());
                    answers.extend(part);
                }
                other => return Err(ReadError::Broken(format!("{other:?} is no answer to these reads"))),
            }
        }
        Ok(positions.into_iter().zip(answers).collect())
    }

    async fn read_once(
        &self,
        partition: PartitionId,
        snapshot: Timestamp,
        from: ReadFrom,
        reads: &[Read],
    ) -> Result<Reply, ReadError> {
        let reads = reads.to_vec();
        if from == ReadFrom::Replicas {
            let reads = reads.clone();
            let near = self
                .partitions
                .call_replica(partition, Request::ReadReplica { snapshot, reads });
            if let Some(reply @ Reply::Read(_)) = near.await {
                return Ok(reply);
            }
        }
        Ok(self
            .partitions
            .call(partition, Request::Read { snapshot, reads })
            .await?)
    }

    /// The kept versions of a key up to a snapshot, newest first, and whether older ones were left out.
    pub async fn history_of(&self, snapshot: Timestamp, key: Key, limit: u32) -> Result<KeptVersions, ReadError> {
        let partition = self.partitions.partition_of(slot_of(&key));
        let request = Request::History { snapshot, key, limit };
        match self.partitions.call(partition, request).await? {
            Reply::History { versions, more } => Ok(KeptVersions { versions, more }),
            other => Err(ReadError::Broken(format!("{other:?} is no history"))),
        }
    }

    fn route(&self, reads: Vec<Read>) -> Routed {
        let mut routed = Routed::new();
        for (position, read) in reads.into_iter().enumerate() {
            match read {
                Read::Get { ref key } => {
                    let partition = self.partitions.partition_of(slot_of(key));
                    routed.entry(partition).or_default().push((position, read));
                }
                Read::Scan { ref from, .. } => {
                    let partition = self.partitions.partition_of(slot_of(from));
                    routed.entry(partition).or_default().push((position, read));
                }
                Read::ScanSlots(scan) => {
                    for partition in self.partitions.all() {
                        let (first, last) = self.partitions.slots_of(partition);
                        let slots = Slot::new(first).zip(Slot::new(last));
                        if let Some(part) = slots.and_then(|(first, last)| scan.within(first, last)) {
                            routed
                                .entry(partition)
                                .or_default()
                                .push((position, Read::ScanSlots(part)));
                        }
                    }
                }
            }
        }
        routed
    }
}

fn empty_answer(read: &Read) -> Answer {
    match read {
        Read::Get { .. } => Answer::Value(None),
        Read::Scan { .. } | Read::ScanSlots(_) => Answer::Pairs {
            pairs: Vec::new(),
            more: Vec::new(),
        },
    }
}

/// Puts one partition's part into the answer to the whole read.
fn merge(answer: &mut Answer, part: Answer) {
    match (answer, part) {
        (Answer::Pairs { pairs, more }, Answer::Pairs { pairs: new, more: left }) => {
            pairs.extend(new);
            more.extend(left);
        }
        (answer, part) => *answer = part,
    }
}

/// What a read looks at, gaps included.
pub fn span_of(read: &Read) -> Span {
    match read {
        Read::Get { key } => Span::Key(key.clone()),
        Read::Scan { from, to, .. } => Span::Range {
            from: from.clone(),
            to: to.clone(),
        },
        Read::ScanSlots(scan) => Span::Slots {
            first: scan.first.number(),
            last: scan.last.number(),
            suffix_from: scan.range.suffix_from.clone(),
            suffix_to: scan.range.suffix_to.clone(),
        },
    }
}
