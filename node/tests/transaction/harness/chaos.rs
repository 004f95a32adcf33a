//! Random trouble for a whole cluster while a test's workers run: leaders change, answers are lost, members die.

use std::sync::Arc;
use std::time::Duration;

use kotoba_node::transaction::{CommitError, Coordinator, LeaderSettings};
use kotoba_state::ids::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Cluster, DEADLINE, Doom};

/// A leader changes after so many entries of its log, at random up to twice as many.
const ENTRIES_PER_LEADER: usize = 12;
/// A doomed member sends at most so many messages.
const LAST_MESSAGES: i64 = 12;

/// Chaos takes a few seconds, and much longer on a machine that does other things.
const CHAOS_DEADLINE: Duration = Duration::from_secs(120);

/// What the client of a transaction was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Committed(Timestamp),
    NotCommitted,
    /// The outcome is unknown, or the member died.
    Nothing,
}

impl Told {
    pub fn by(result: Result<Timestamp, CommitError>) -> Self {
        match result {
            Ok(commit_ts) => Told::Committed(commit_ts),
            Err(CommitError::UnknownOutcome(_)) => Told::Nothing,
            Err(CommitError::Broken(cause)) => panic!("broken: {cause}"),
            Err(
                CommitError::Conflict(_)
                | CommitError::ConditionFailed(_)
                | CommitError::Unavailable(_)
                | CommitError::TooLarge(_)
                | CommitError::DiskFull(_),
            ) => Told::NotCommitted,
        }
    }
}

/// Settings under which the leaders' maintenance runs all the time.
pub fn busy() -> LeaderSettings {
    LeaderSettings {
        digest_interval: Duration::from_millis(200),
        transaction_lifetime: LeaderSettings::default().transaction_lifetime,
        maintenance_interval: Duration::from_millis(3),
        history_retention: Duration::from_secs(3_600),
        record_retention: DEADLINE,
    }
}

/// Runs the workers in chaos until all have ended, then lets the cluster recover.
pub async fn in_chaos<T: Send + 'static>(cluster: &Arc<Cluster>, seed: u64, workers: JoinSet<T>) -> Vec<T> {
    let over = CancellationToken::new();
    let mut troubles = JoinSet::new();
    for partition in 0..cluster.partitions() {
        let rng = StdRng::seed_from_u64(seed * 100 + partition as u64);
        cluster.group(partition).unleash(rng.clone().random());
        troubles.spawn(
            over.clone()
                .run_until_cancelled_owned(change_leaders(cluster.clone(), partition, rng)),
        );
    }
    cluster.router.unleash(seed);
    let ended = tokio::time::timeout(CHAOS_DEADLINE, workers.join_all()).await;
    let results = ended.expect("the workers did not end in time");
    over.cancel();
    troubles.join_all().await;
    cluster.router.calm();
    (0..cluster.partitions()).for_each(|partition| cluster.group(partition).calm());
    cluster.recover().await;
    results
}

async fn change_leaders(cluster: Arc<Cluster>, partition: usize, mut rng: StdRng) {
    let mut entries = 0;
    loop {
        entries += rng.random_range(1..2 * ENTRIES_PER_LEADER);
        cluster.group(partition).grown_to(entries).await;
        match rng.random() {
            true => cluster.lose_and_regain_leadership(partition),
            false => cluster.move_leadership(partition),
        }
    }
}

/// A member for one transaction, which may die in the middle of it.
pub fn member(cluster: &Cluster, rng: &mut StdRng) -> (Arc<Coordinator>, Doom) {
    let messages = match rng.random_ratio(1, 6) {
        true => rng.random_range(1..=LAST_MESSAGES),
        false => i64::MAX,
    };
    cluster.doomed_coordinator(messages)
}

/// Runs a transaction to its end or the death of its member; then its deadline passes, sooner or later.
pub async fn to_the_end(
    cluster: &Cluster,
    doom: &Doom,
    transaction: impl Future<Output = Option<Told>>,
) -> Option<Told> {
    let told = tokio::select! {
        told = transaction => told,
        () = doom.death.cancelled() => {
            cluster.members_that_died().insert(doom.member);
            Some(Told::Nothing)
        }
    };
    // Again for all, because a message of the dead may have come late.
    cluster.bury_the_dead().await;
    told
}
