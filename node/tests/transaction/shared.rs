//! Transactions that share a commit: each ends as if it had been alone.

use std::sync::Arc;

use futures::future::join_all;
use kotoba_node::transaction::{Acknowledgement, CommitError, Coordinator, Request, Writes};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{Command, ConditionKind, Key};

use crate::harness::router::Fate;
use crate::harness::*;

const MANY: usize = 40;

async fn commit(coordinator: &Arc<Coordinator>, writes: Writes) -> Result<Timestamp, CommitError> {
    let commit = coordinator.commit_shared(writes, Acknowledgement::ByMajority);
    within("a commit did not end", commit).await
}

/// Two keys in two partitions.
fn halves(cluster: &Cluster, name: usize) -> [Key; 2] {
    [0, 1].map(|partition| cluster.key(partition, &format!("half {name}")))
}

fn both(halves: &[Key; 2]) -> Writes {
    only(halves.iter().map(|half| put(half, "here")))
}

/// Commits all at once, while a first one is held: so they share.
async fn commit_behind(
    cluster: &Arc<Cluster>,
    coordinator: &Arc<Coordinator>,
    writes: Vec<Writes>,
) -> Vec<Result<Timestamp, CommitError>> {
    let held = cluster
        .router
        .on_next(Fate::HoldRequest, |_, request| matches!(request, Request::OnePhase(_)));
    let first = halves(cluster, usize::MAX);
    let mut first = std::pin::pin!(commit(coordinator, both(&first)));
    gate::run_until(&held, first.as_mut()).await;
    let all = join_all(writes.into_iter().map(|writes| commit(coordinator, writes)));
    let open = async {
        tokio::task::yield_now().await;
        held.open();
        first.await
    };
    let (all, first) = tokio::join!(all, open);
    first.expect("nothing is in the way");
    all
}

fn prepares(cluster: &Cluster) -> usize {
    let log = |partition| cluster.group(partition).log();
    let commands = (0..cluster.partitions()).flat_map(log);
    commands
        .filter(|command| matches!(command, Command::Prepare(_)))
        .count()
}

#[tokio::test]
async fn what_comes_together_commits_together() {
    let cluster = Cluster::new(2);
    let coordinator = cluster.coordinator();
    let writes = (0..MANY).map(|name| both(&halves(&cluster, name))).collect();
    let told = commit_behind(&cluster, &coordinator, writes).await;
    let at = told
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .expect("nothing is in the way");
    assert!(at.iter().all(|one| *one == at[0]), "{at:?}");
    assert_eq!(prepares(&cluster), 2, "the one that was held, and all others");
    for name in 0..MANY {
        for half in halves(&cluster, name) {
            assert_eq!(cluster.read_now(&half).await.as_deref(), Some("here"), "{name}");
        }
    }
}

#[tokio::test]
async fn nobody_fails_for_another_ones_sake() {
    let cluster = Cluster::new(2);
    let coordinator = cluster.coordinator();
    let missing = cluster.key(1, "missing");
    let mut writes: Vec<Writes> = (0..MANY).map(|name| both(&halves(&cluster, name))).collect();
    writes[7].conditions = vec![condition(&missing, ConditionKind::Exists, false)];
    let told = commit_behind(&cluster, &coordinator, writes).await;
    for (name, told) in told.into_iter().enumerate() {
        let [half, _] = halves(&cluster, name);
        let is_here = cluster.read_now(&half).await.is_some();
        match name {
            7 => assert_eq!(
                (told, is_here),
                (Err(CommitError::ConditionFailed(missing.clone())), false)
            ),
            _ => assert!(told.is_ok() && is_here, "{name}: {told:?}"),
        }
    }
}

/// One of them is applied, as often as the same request comes at once.
#[tokio::test]
async fn of_those_who_may_be_first_only_one_is() {
    let cluster = Cluster::new(2);
    let coordinator = cluster.coordinator();
    let receipt = cluster.key(0, "receipt");
    let mut writes = only([put(&receipt, "done")]);
    writes.conditions = vec![condition(&receipt, ConditionKind::Absent, true)];
    let told = join_all((0..MANY).map(|_| commit(&coordinator, writes.clone()))).await;
    assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 1, "{told:?}");
    let is_told = |told: &Result<_, CommitError>| *told == Err(CommitError::ConditionFailed(receipt.clone()));
    assert_eq!(told.iter().filter(|told| is_told(told)).count(), MANY - 1, "{told:?}");
}

/// A client that goes away takes nobody with it.
#[tokio::test]
async fn who_waits_is_told_though_the_one_before_has_gone() {
    let cluster = Cluster::new(2);
    let coordinator = cluster.coordinator();
    let held = cluster
        .router
        .on_next(Fate::HoldRequest, |_, request| matches!(request, Request::OnePhase(_)));
    let first = tokio::spawn({
        let (coordinator, writes) = (coordinator.clone(), both(&halves(&cluster, 0)));
        async move { commit(&coordinator, writes).await }
    });
    held.reached().await;
    let (second, writes) = (halves(&cluster, 1), both(&halves(&cluster, 1)));
    let waiting = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { commit(&coordinator, writes).await }
    });
    first.abort();
    // It has its patience, and then does not wait for the one that is held.
    joined(waiting).await.expect("nothing is in the way");
    assert_eq!(cluster.read_now(&second[1]).await.as_deref(), Some("here"));
    held.open();
}
