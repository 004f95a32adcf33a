//! Snapshot reads over all partitions: fan out, merge, and remember what was looked at.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use kotoba_graph::id::Slot;
use kotoba_graph::read::{Answer, Read};
use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::{KeptVersions, Key, Span, slot_of};

use super::{Coordinator, Here, ReadError, Transaction};
use crate::transaction::message::{Newest, Reply, Request};

/// Reads of one partition, each with the position of the read it answers.
type Routed = BTreeMap<PartitionId, Vec<(usize, Read)>>;

/// What the reads of one step of a transaction may give.
pub const MAX_TRANSACTION_BYTES: usize = 256 << 20;

/// Who answers reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// Any snapshot.
    Leaders,
    /// Any snapshot, as long as nothing that is looked at has changed since; else it is [`ReadError::Changed`]. Replicas of this
    /// member that follow are read beside leaders.
    IfUnchanged,
    /// The nearest replica that has reached the snapshot, else the leader. For snapshots that are, or soon will be, closed.
    Replicas,
}

impl Transaction<'_> {
    /// Answers each read at its position, all at the transaction's snapshot, and keeps them as its read set.
    pub async fn read(&mut self, reads: Vec<Read>) -> Result<Vec<Answer>, ReadError> {
        let snapshot = self.snapshot().await?;
        self.spans.extend(reads.iter().map(span_of));
        self.coordinator
            .read_at(snapshot, ReadFrom::Leaders, reads, MAX_TRANSACTION_BYTES)
            .await
    }
}

impl Coordinator {
    /// A timestamp to read at: above every commit that was acknowledged before this call, as far as leases can be trusted.
    pub async fn snapshot_to_read(&self) -> Result<Timestamp, ReadError> {
        self.timestamp_to_read().await.map_err(ReadError::Unavailable)
    }

    /// As [`Coordinator::snapshot_to_read`], where what is written follows from what is read.
    pub async fn take_snapshot(&self) -> Result<Timestamp, ReadError> {
        self.timestamp().await.map_err(ReadError::Unavailable)
    }

    /// Answers each read at its position, at a snapshot, without any transaction. It is given up where the answers take more
    /// than `max_bytes`; then at most as much again is held, or the largest value of each partition where that is more.
    pub async fn read_at(
        &self,
        snapshot: Timestamp,
        from: ReadFrom,
        reads: Vec<Read>,
        max_bytes: usize,
    ) -> Result<Vec<Answer>, ReadError> {
        let mut here = Here::default();
        let answers = self.read_step(snapshot, from, reads, max_bytes, &mut here).await?;
        self.settle(here).await?;
        Ok(answers)
    }

    /// As [`Coordinator::read_at`], one step of several: what they gave stands when [`Coordinator::settle`] says so.
    pub async fn read_step(
        &self,
        snapshot: Timestamp,
        from: ReadFrom,
        reads: Vec<Read>,
        max_bytes: usize,
        here: &mut Here,
    ) -> Result<Vec<Answer>, ReadError> {
        self.note_change(self.read_all(snapshot, from, reads, max_bytes, here).await)
    }

    async fn read_all(
        &self,
        snapshot: Timestamp,
        from: ReadFrom,
        mut reads: Vec<Read>,
        max_bytes: usize,
        here: &mut Here,
    ) -> Result<Vec<Answer>, ReadError> {
        let mut answers = self.read_here(snapshot, from, &reads, max_bytes, here).await?;
        let mut found = answers.iter().map(Option::is_some);
        reads.retain(|_| !found.next().unwrap_or_default());
        let bytes = answers.iter().flatten().map(Answer::bytes).sum();
        if bytes > max_bytes {
            return Err(ReadError::TooMuch { limit: max_bytes });
        }
        if !reads.is_empty() {
            let asked = self.ask_all(snapshot, from, reads, bytes, max_bytes).await?;
            let missing = answers.iter_mut().filter(|answer| answer.is_none());
            missing.zip(asked).for_each(|(answer, asked)| *answer = Some(asked));
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// As it is asked of other members, where so many bytes were read already.
    async fn ask_all(
        &self,
        snapshot: Timestamp,
        from: ReadFrom,
        reads: Vec<Read>,
        mut bytes: usize,
        max_bytes: usize,
    ) -> Result<Vec<Answer>, ReadError> {
        let mut answers: Vec<Answer> = reads.iter().map(empty_answer).collect();
        let mut left = self.route(reads);
        while !left.is_empty() {
            // Each partition gives as much as goes into one message; what is left is asked for in the next round.
            let replies = self.read_once(snapshot, from, &left, max_bytes).await?;
            for ((partition, routed), reply) in std::mem::take(&mut left).into_iter().zip(replies) {
                let (given, rest) = take_answers(routed, answers_at(snapshot, reply)?)?;
                for (position, part) in given {
                    bytes += part.bytes();
                    merge(&mut answers[position], part);
                }
                if !rest.is_empty() {
                    left.insert(partition, rest);
                }
            }
            if bytes > max_bytes {
                return Err(ReadError::TooMuch { limit: max_bytes });
            }
        }
        Ok(answers)
    }

    /// One message of answers from each partition, in their order.
    async fn read_once(
        &self,
        snapshot: Timestamp,
        from: ReadFrom,
        routed: &Routed,
        max_bytes: usize,
    ) -> Result<Vec<Reply>, ReadError> {
        let max_bytes = max_bytes / routed.len().max(1);
        let mut replies = match from {
            ReadFrom::Leaders | ReadFrom::IfUnchanged => BTreeMap::new(),
            ReadFrom::Replicas => self.read_near(snapshot, routed, max_bytes).await,
        };
        let far = routed.iter().filter(|(partition, _)| !replies.contains_key(*partition));
        let request = |(partition, routed): (&PartitionId, &Vec<(usize, Read)>)| {
            let reads = reads_of(routed);
            let request = match from {
                ReadFrom::Leaders | ReadFrom::Replicas => Request::Read {
                    snapshot,
                    reads,
                    max_bytes,
                },
                ReadFrom::IfUnchanged => Request::ReadNewest {
                    at_least: snapshot,
                    reads,
                    max_bytes,
                },
            };
            (*partition, request)
        };
        let requests: Vec<_> = far.map(request).collect();
        let asked: Vec<PartitionId> = requests.iter().map(|(partition, _)| *partition).collect();
        for (partition, reply) in asked.into_iter().zip(self.partitions.call_all(requests).await) {
            replies.insert(partition, reply?);
        }
        Ok(replies.into_values().collect())
    }

    /// What the nearest replicas give, those that have reached the snapshot.
    async fn read_near(&self, snapshot: Timestamp, routed: &Routed, max_bytes: usize) -> BTreeMap<PartitionId, Reply> {
        let ask = |(partition, routed): (&PartitionId, &Vec<(usize, Read)>)| {
            let reads = reads_of(routed);
            let request = Request::ReadReplica {
                snapshot,
                reads,
                max_bytes,
            };
            let partition = *partition;
            async move {
                match self.partitions.call_replica(partition, request).await {
                    Some(reply @ Reply::Read(_)) => Some((partition, reply)),
                    Some(_) | None => None,
                }
            }
        };
        join_all(routed.iter().map(ask)).await.into_iter().flatten().collect()
    }

    /// The present value of one key and a snapshot that shows it, no older than an issued timestamp; none where a timestamp
    /// has to be taken to read it.
    pub async fn read_newest(
        &self,
        key: Key,
        at_least: Timestamp,
    ) -> Result<Option<(Timestamp, Option<Bytes>)>, ReadError> {
        let partition = self.partitions.partition_of(slot_of(&key));
        let reads = vec![Read::Get { key }];
        let newest = match self
            .partitions
            .call(
                partition,
                Request::ReadNewest {
                    at_least,
                    reads,
                    max_bytes: usize::MAX,
                },
            )
            .await?
        {
            Reply::Newest(newest) => newest,
            Reply::Undecided => return Ok(None),
            other => return Err(ReadError::Broken(format!("{other:?} is no newest version"))),
        };
        match newest.answers.into_iter().next() {
            Some(Answer::Value(value)) => Ok(Some((newest.since, value))),
            other => Err(ReadError::Broken(format!("{other:?} is no value of a key"))),
        }
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

fn reads_of(routed: &[(usize, Read)]) -> Vec<Read> {
    routed.iter().map(|(_, read)| read.clone()).collect()
}

/// Answers with their positions, and the reads that have yet to be answered.
type Taken = (Vec<(usize, Answer)>, Vec<(usize, Read)>);

/// Pairs a partition's reads with its answers to the first of them, of which there is at least one.
fn take_answers(mut routed: Vec<(usize, Read)>, part: Vec<Answer>) -> Result<Taken, ReadError> {
    if !(1..=routed.len()).contains(&part.len()) {
        let (reads, answers) = (routed.len(), part.len());
        return Err(ReadError::Broken(format!("{answers} answers to {reads} reads")));
    }
    let rest = routed.split_off(part.len());
    let positions = routed.into_iter().map(|(position, _)| position);
    Ok((positions.zip(part).collect(), rest))
}

/// What a partition holds at the snapshot.
fn answers_at(snapshot: Timestamp, reply: Reply) -> Result<Vec<Answer>, ReadError> {
    match reply {
        Reply::Read(answers) => Ok(answers),
        Reply::Newest(Newest { since, answers }) if since <= snapshot => Ok(answers),
        Reply::Newest(_) | Reply::Undecided => Err(ReadError::Changed),
        other => Err(ReadError::Broken(format!("{other:?} is no answer to these reads"))),
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
