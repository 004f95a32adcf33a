//! Tidying up, at each partition's leader: ends transactions whose coordinator is gone, resolves what they left, drops
//! outcomes nobody asks for any more and versions no snapshot can see.
//!
//! Every command is bounded, and a partition in which nothing happens proposes nothing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{
    self as state, Answer, Command, Decided, Floors, Push, Resolved, TxnHead, Unfinished, expired_intents, unfinished,
};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::coordinator::by_partition;
use super::leader::{PartitionLeader, blocking, failure};
use super::message::{Failure, Reply, Request};

/// Unfinished transactions and expired intents looked at in one round.
const MAX_LOOKED_AT: usize = 256;
/// Records, or versions, that one command drops: it blocks the partition's other writes while it runs.
const MAX_DROPPED: u32 = 2_048;
/// Commands of one kind in one round.
const MAX_COMMANDS: usize = 16;
/// Timestamps remembered with the time they were taken; one a round covers the longest retention.
const MAX_SAMPLES: usize = 4_096;

/// Runs until the leader stops; does something only while the replica leads.
pub(super) async fn run(leader: Arc<PartitionLeader>) {
    let mut tidier = Tidier {
        leader: leader.clone(),
        samples: VecDeque::new(),
        looked_up_to: Vec::new(),
        digest_noted: Instant::now(),
    };
    loop {
        sleep(leader.settings.maintenance_interval).await;
        match leader.leading_term() {
            Ok(_) => {
                if let Err(error) = tidier.round().await {
                    debug!(partition = %leader.partition, error = %error, "maintenance goes on in the next round");
                }
            }
            Err(_) => tidier.samples.clear(),
        }
    }
}

struct Tidier {
    leader: Arc<PartitionLeader>,
    /// Timestamps with the moment at which they were the newest.
    samples: VecDeque<(Instant, Timestamp)>,
    /// Where the next look for expired intents begins.
    looked_up_to: Vec<u8>,
    /// When the digest was noted last, or found to be the one that was noted.
    digest_noted: Instant,
}

impl Tidier {
    async fn round(&mut self) -> Result<(), Failure> {
        self.end_expired().await?;
        self.finish_unresolved().await?;
        self.sample().await?;
        self.raise_floors().await?;
        self.note_digest().await
    }

    /// Has all replicas note the digest of their states, where it is another one than they noted last.
    async fn note_digest(&mut self) -> Result<(), Failure> {
        if self.digest_noted.elapsed() < self.leader.settings.digest_interval {
            return Ok(());
        }
        let view = self.leader.group.view().map_err(failure)?;
        let (now, noted) = blocking(move || {
            let view = view.as_ref();
            Ok::<_, kotoba_state::store::StoreError>((state::digest(view)?, state::noted_digest(view)?))
        })
        .await?;
        if noted.is_none_or(|noted| noted.digest != now) {
            self.leader.propose(&Command::NoteDigest).await?;
        }
        self.digest_noted = Instant::now();
        Ok(())
    }

    /// Rolls back transactions that had their time, by asking their primaries: only those know.
    async fn end_expired(&mut self) -> Result<(), Failure> {
        let view = self.leader.group.view().map_err(failure)?;
        let from = self.looked_up_to.clone();
        let look = move || expired_intents(view.as_ref(), &from, u64::MAX, MAX_LOOKED_AT);
        let (expired, next) = blocking(look).await?;
        self.looked_up_to = next.unwrap_or_default();
        if !expired.is_empty() {
            self.leader.resolve_decided(expired).await?;
        }
        Ok(())
    }

    /// Carries committed transactions of which this partition is the primary to their other partitions.
    async fn finish_unresolved(&self) -> Result<(), Failure> {
        let view = self.leader.group.view().map_err(failure)?;
        let found = blocking(move || unfinished(view.as_ref(), MAX_LOOKED_AT)).await?;
        for transaction in found {
            match transaction {
                Unfinished::Pending(head) => self.end_pending(head).await?,
                Unfinished::Unresolved { head, commit_ts, slots } => self.resolve(head, commit_ts, slots).await?,
            }
        }
        Ok(())
    }

    async fn end_pending(&self, head: TxnHead) -> Result<(), Failure> {
        if !self.leader.is_live(&head).await {
            let status = self.leader.ask(&head, Push::AbortExpired).await?;
            debug!(txn = %head.txn, ?status, "an expired transaction was ended");
        }
        Ok(())
    }

    async fn resolve(&self, head: TxnHead, at: Timestamp, slots: BTreeSet<u16>) -> Result<(), Failure> {
        // Its coordinator does this itself; only what it left is done here.
        if self.leader.is_live(&head).await {
            return Ok(());
        }
        let partitions = &self.leader.partitions;
        let mut resolved = Resolved {
            txn: head.txn,
            slots: BTreeSet::new(),
        };
        for (partition, slots) in by_partition(partitions.as_ref(), slots) {
            let decided = Decided::Committed(at);
            let request = Request::Resolve { txn: head.txn, decided };
            if matches!(partitions.call(partition, request).await, Ok(Reply::Resolved)) {
                resolved.slots.extend(slots);
            }
        }
        self.leader.propose(&Command::Forget(vec![resolved])).await?;
        Ok(())
    }

    async fn sample(&mut self) -> Result<(), Failure> {
        let newest = self.leader.timestamps.recent().unwrap_or_default();
        if newest > self.samples.back().map_or(Timestamp(0), |(_, timestamp)| *timestamp) {
            self.samples.push_back((Instant::now(), newest));
        }
        if self.samples.len() > MAX_SAMPLES {
            self.samples.pop_front();
        }
        Ok(())
    }

    /// The newest timestamp that is at least this old.
    fn issued_before(&self, age: Duration) -> Timestamp {
        let old = self.samples.iter().take_while(|(at, _)| at.elapsed() >= age);
        old.last().map_or(Timestamp(0), |(_, timestamp)| *timestamp)
    }

    /// Raises floors where that drops something: each command is an entry on every replica's disk, and keeps its state from
    /// coming to rest.
    async fn raise_floors(&mut self) -> Result<(), Failure> {
        let settings = &self.leader.settings;
        let floors = Floors {
            records: self.issued_before(settings.record_retention),
            versions: self.issued_before(settings.history_retention),
        };
        let view = self.leader.group.view().map_err(failure)?;
        let droppable = blocking(move || state::droppable(view.as_ref(), floors, MAX_DROPPED)).await?;
        // Versions go only where the record floor has passed them.
        if droppable.records || droppable.versions {
            self.raise_record_floor(floors.records).await?;
        }
        if droppable.versions {
            self.raise_version_floor(floors.versions).await?;
        }
        Ok(())
    }

    async fn raise_record_floor(&self, to: Timestamp) -> Result<(), Failure> {
        for _ in 0..MAX_COMMANDS {
            let command = Command::RecordFloor {
                floor: to,
                max_records: MAX_DROPPED,
            };
            match self.leader.propose(&command).await? {
                Answer::RecordFloor {
                    floor,
                    blocked_by: None,
                } if floor < to => {}
                _ => break,
            }
        }
        Ok(())
    }

    async fn raise_version_floor(&self, to: Timestamp) -> Result<(), Failure> {
        for _ in 0..MAX_COMMANDS {
            let command = Command::VersionFloor {
                floor: to,
                max_versions: MAX_DROPPED,
            };
            match self.leader.propose(&command).await? {
                Answer::VersionFloor { more: true, .. } => {}
                _ => break,
            }
        }
        Ok(())
    }
}
