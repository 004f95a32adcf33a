//! Many in each other's way: what each of them costs the logs.

use std::pin::pin;
use std::sync::Arc;

use futures::future::join_all;
use kotoba_node::transaction::{Coordinator, Request, Transaction};
use kotoba_state::ids::PartitionId;
use kotoba_state::partition::{CheckTxn, Command, Key, Push};

use crate::harness::gate::Gate;
use crate::harness::router::Fate;
use crate::harness::*;

/// A transaction that has read both keys.
async fn having_read<'a>(coordinator: &'a Coordinator, a: &Key, b: &Key) -> Transaction<'a> {
    let mut transaction = coordinator.begin();
    transaction
        .read(vec![get(a), get(b)])
        .await
        .expect("nothing is in the way");
    transaction
}

fn both(a: &Key, b: &Key, value: &str) -> kotoba_node::transaction::Writes {
    only([put(a, value), put(b, value)])
}

fn count(cluster: &Cluster, partition: usize, matches: impl Fn(&Command) -> bool) -> usize {
    cluster
        .group(partition)
        .log()
        .iter()
        .filter(|command| matches(command))
        .count()
}

/// Holds the commit at `a` back: what it has prepared elsewhere stays undecided.
fn hold_commit(cluster: &Cluster) -> Arc<Gate> {
    let at_a = |asked, request: &Request| asked == PartitionId(0) && matches!(request, Request::OnePhase(_));
    cluster.router.on_next(Fate::HoldRequest, at_a)
}

#[tokio::test]
async fn who_was_refused_everywhere_leaves_nothing_to_be_cleared() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let coordinator = cluster.coordinator();
    let loser = having_read(&coordinator, &a, &b).await;
    cluster.wrote([put(&b, "first")]).await;
    let logged = [0, 1].map(|partition| cluster.group(partition).entries());
    let lost = loser.commit(both(&a, &b, "second")).await;
    assert!(is_conflict(&lost), "{lost:?}");
    // One that comes behind it would find what is proposed in the background.
    cluster.wrote([put(&a, "third")]).await;
    cluster.wrote([put(&b, "third")]).await;
    let now = [0, 1].map(|partition| cluster.group(partition).entries());
    assert_eq!(
        now,
        [logged[0] + 1, logged[1] + 2],
        "the refused prepare, and two writes"
    );
}

#[tokio::test]
async fn who_was_refused_by_one_clears_what_the_others_have_prepared() {
    let cluster = Cluster::new(3);
    let [a, b, c] = ["a", "b", "c"].map(|name| cluster.key(usize::from(name.as_bytes()[0] - b'a'), name));
    let coordinator = cluster.coordinator();
    let loser = having_read(&coordinator, &b, &c).await;
    cluster.wrote([put(&c, "first")]).await;
    let lost = loser.commit(only([put(&a, "2"), put(&b, "2"), put(&c, "2")])).await;
    assert!(is_conflict(&lost), "{lost:?}");
    within("its intent stays", async {
        while !cluster.heads_of_intents(1).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let resolved = |command: &Command| matches!(command, Command::ResolveIntents { .. });
    assert_eq!(count(&cluster, 1, resolved), 1);
    assert_eq!(count(&cluster, 2, resolved), 0, "it had nothing there");
}

#[tokio::test]
async fn who_waits_for_one_that_commits_is_refused_without_another_proposal() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let late = hold_commit(&cluster);
    let (winner, losers) = (cluster.coordinator(), cluster.coordinator());
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(having_read(&losers, &a, &b).await);
    }
    let mut wins = pin!(winner.begin().commit(both(&a, &b, "1")));
    run_until(&late, wins.as_mut()).await;
    let before = cluster.group(1).entries();
    let lost = waiting
        .into_iter()
        .map(|transaction| transaction.commit(both(&a, &b, "2")));
    let mut lost = pin!(join_all(lost));
    // All have been refused once, and wait now.
    tokio::select! {
        all = lost.as_mut() => panic!("they did not wait: {all:?}"),
        () = cluster.group(1).grown_to(before + 8) => {}
    }
    late.open();
    let (won, lost) = within("no end", async { tokio::join!(wins, lost) }).await;
    won.expect("nobody may have rolled it back");
    assert!(lost.iter().all(is_conflict), "{lost:?}");
    let prepares = |command: &Command| matches!(command, Command::Prepare(_));
    assert_eq!(count(&cluster, 1, prepares), 9, "each once");
}

#[tokio::test]
async fn readers_that_meet_the_same_open_transaction_push_it_together() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let late = hold_commit(&cluster);
    let writer = cluster.coordinator();
    let mut writes = pin!(writer.begin().commit(both(&a, &b, "1")));
    run_until(&late, writes.as_mut()).await;
    // More than the state machine lets push, each at a snapshot of its own.
    let readers: Vec<_> = (0..64).map(|_| cluster.reader(&b, cluster.oracle.issue())).collect();
    for read in within("readers wait", join_all(readers)).await {
        assert_eq!(read.unwrap(), None);
    }
    let pushes = |command: &Command| {
        let Command::CheckTxn(CheckTxn { push, .. }) = command else {
            return false;
        };
        matches!(push, Push::MinCommit(_))
    };
    assert!(count(&cluster, 0, pushes) < 16);
    late.open();
    let committed = within("no end", writes).await.expect("it was pushed only");
    assert_eq!(cluster.read(&b, committed).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn what_is_decided_is_cleared_once_for_all_who_met_it() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    // Its coordinator is gone when it is committed.
    let resolve = |_, request: &Request| matches!(request, Request::Resolve { .. });
    let lost = cluster.router.on_next(Fate::HoldRequest, resolve);
    let committed = cluster.wrote([put(&a, "1"), put(&b, "1")]).await;
    within("it was not resolved", lost.reached()).await;
    let clears = cluster
        .group(1)
        .hold_next(|command| matches!(command, Command::ResolveIntents { .. }));
    let readers: Vec<_> = (0..16).map(|_| cluster.reader(&b, committed)).collect();
    within("nobody clears it", clears.reached()).await;
    clears.open();
    for read in within("readers wait", join_all(readers)).await {
        assert_eq!(read.unwrap().as_deref(), Some("1"));
    }
    let resolved = |command: &Command| matches!(command, Command::ResolveIntents { .. });
    assert_eq!(count(&cluster, 1, resolved), 1);
    lost.open();
}
