//! Transfers between accounts on several partitions, under chaos: every snapshot has all the money, for ever, and every
//! client was told the truth.

use std::collections::BTreeMap;
use std::sync::Arc;

use kotoba_graph::read::Read;
use kotoba_node::transaction::{Coordinator, ReadFrom};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::Key;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::harness::chaos::{Told, busy, in_chaos, member, to_the_end};
use crate::harness::*;

const PARTITIONS: usize = 4;
const ACCOUNTS: usize = 8;
const OPENING_BALANCE: i64 = 100;
const WORKERS: u64 = 5;
const TRANSFERS: u64 = 20;
const CHECKERS: u64 = 2;
const CHECKS: u64 = 25;
const WALKS: u64 = 400;

fn account(cluster: &Cluster, number: usize) -> Key {
    cluster.key(number % PARTITIONS, &format!("account {number}"))
}

fn accounts(cluster: &Cluster) -> Vec<Read> {
    (0..ACCOUNTS).map(|number| get(&account(cluster, number))).collect()
}

/// What one worker or checker has seen.
enum Seen {
    Transfer {
        receipt: Key,
        told: Told,
    },
    Balances {
        snapshot: Timestamp,
        balances: Vec<i64>,
    },
    /// What was read one by one, and the newest timestamp before.
    Walk {
        newest: Timestamp,
        balances: BTreeMap<usize, i64>,
    },
}

/// All balances at a snapshot; none where a partition did not answer.
async fn balances(cluster: &Cluster, reader: &Coordinator, snapshot: Timestamp) -> Option<Vec<i64>> {
    let answers = reader
        .read_at(snapshot, ReadFrom::Leaders, accounts(cluster), usize::MAX)
        .await
        .ok()?;
    Some(answers.into_iter().map(|answer| balance(value(answer))).collect())
}

fn balance(value: Option<String>) -> i64 {
    value
        .expect("an account is never deleted")
        .parse()
        .expect("a balance is a number")
}

/// Moves money between two accounts; a third is only read, and decides how much is moved.
async fn transfer(cluster: &Cluster, coordinator: &Coordinator, rng: &mut StdRng, receipt: &Key) -> Option<Told> {
    let mut chosen: Vec<usize> = (0..ACCOUNTS)
        .collect::<Vec<_>>()
        .choose_multiple(rng, 3)
        .copied()
        .collect();
    if rng.random() {
        // Both on one partition: one phase, while the third may be elsewhere.
        chosen[1] = (chosen[0] + PARTITIONS) % ACCOUNTS;
    }
    let keys: Vec<Key> = chosen.iter().map(|number| account(cluster, *number)).collect();
    let mut transaction = coordinator.begin();
    let read = transaction.read(keys.iter().map(get).collect()).await.ok()?;
    let held: Vec<i64> = read.into_iter().map(|answer| balance(value(answer))).collect();
    let amount = held[2].rem_euclid(7) + 1;
    let writes = [
        put(&keys[0], &(held[0] - amount).to_string()),
        put(&keys[1], &(held[1] + amount).to_string()),
        put(receipt, "done"),
    ];
    Some(Told::by(transaction.commit(only(writes)).await))
}

async fn work(cluster: Arc<Cluster>, seed: u64, worker: u64) -> Vec<Seen> {
    let mut rng = StdRng::seed_from_u64(seed * 1_000 + worker);
    let mut seen = Vec::new();
    for number in 0..TRANSFERS {
        let receipt = cluster.key(rng.random_range(0..PARTITIONS), &format!("receipt {worker} {number}"));
        let (coordinator, doom) = member(&cluster, &mut rng);
        let transaction = transfer(&cluster, &coordinator, &mut rng, &receipt);
        if let Some(told) = to_the_end(&cluster, &doom, transaction).await {
            seen.push(Seen::Transfer { receipt, told });
        }
    }
    seen
}

async fn check(cluster: Arc<Cluster>, reads: fn(&Cluster) -> Arc<Coordinator>) -> Vec<Seen> {
    let mut seen = Vec::new();
    for _ in 0..CHECKS {
        let snapshot = cluster.oracle.issue();
        if let Some(balances) = balances(&cluster, &reads(&cluster), snapshot).await {
            assert_eq!(
                balances.iter().sum::<i64>(),
                ACCOUNTS as i64 * OPENING_BALANCE,
                "at {snapshot}: {balances:?}"
            );
            seen.push(Seen::Balances { snapshot, balances });
        }
    }
    seen
}

/// Walks from account to account at a timestamp that was not taken for it.
async fn walk(cluster: Arc<Cluster>, seed: u64, reads: fn(&Cluster) -> Arc<Coordinator>) -> Vec<Seen> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut seen = Vec::new();
    let mut known = cluster.oracle.newest();
    for _ in 0..WALKS {
        // A new member does not know which replicas were behind.
        let reader = reads(&cluster);
        let newest = cluster.oracle.newest();
        let mut balances = BTreeMap::new();
        for _ in 0..2 {
            let number = rng.random_range(0..ACCOUNTS);
            let read = vec![get(&account(&cluster, number))];
            let read = reader.read_at(known, ReadFrom::IfUnchanged, read, usize::MAX).await;
            if let Ok(mut read) = read {
                balances.insert(number, balance(value(read.remove(0))));
            } else {
                known = newest;
                balances.clear();
                break;
            }
            tokio::task::yield_now().await;
        }
        if balances.len() == 2 {
            seen.push(Seen::Walk { newest, balances });
        }
    }
    seen
}

async fn run(seed: u64) {
    println!("seed {seed}");
    let cluster = Cluster::with_settings(PARTITIONS, &busy());
    let opening = (0..ACCOUNTS).map(|number| put(&account(&cluster, number), &OPENING_BALANCE.to_string()));
    cluster.wrote(opening).await;
    let mut workers = JoinSet::new();
    (0..WORKERS).for_each(|worker| {
        workers.spawn(work(cluster.clone(), seed, worker));
    });
    (0..CHECKERS).for_each(|_| {
        workers.spawn(check(cluster.clone(), Cluster::coordinator));
    });
    workers.spawn(check(cluster.clone(), Cluster::leading_coordinator));
    workers.spawn(walk(cluster.clone(), seed, Cluster::coordinator));
    workers.spawn(walk(cluster.clone(), seed + 1, Cluster::following_coordinator));
    workers.spawn(walk(cluster.clone(), seed + 2, Cluster::leading_coordinator));
    let seen: Vec<Seen> = in_chaos(&cluster, seed, workers).await.into_iter().flatten().collect();
    let (mut committed, mut checked, mut walked) = (0, 0, 0);
    for seen in seen {
        match seen {
            Seen::Transfer { receipt, told } => committed += u32::from(was_true(&cluster, &receipt, &told).await),
            Seen::Balances {
                snapshot,
                balances: before,
            } => {
                let again = balances(&cluster, &cluster.coordinator(), snapshot).await;
                assert_eq!(again, Some(before), "a snapshot changed: {snapshot}");
                checked += 1;
            }
            Seen::Walk { newest, balances: seen } => {
                let all = balances(&cluster, &cluster.coordinator(), newest).await;
                let all = all.expect("all is calm");
                assert!(
                    seen.iter().all(|(number, seen)| all[*number] == *seen),
                    "{seen:?}, {all:?}"
                );
                walked += 1;
            }
        }
    }
    let at_last = balances(&cluster, &cluster.coordinator(), cluster.oracle.issue())
        .await
        .expect("all is calm");
    assert_eq!(
        at_last.iter().sum::<i64>(),
        ACCOUNTS as i64 * OPENING_BALANCE,
        "{at_last:?}"
    );
    assert!(
        committed >= 5 && checked >= 5 && walked >= 5,
        "almost nothing happened: {committed} transfers, {checked} checks, {walked} walks"
    );
}

/// Whether it was committed; fails if the client was told otherwise.
async fn was_true(cluster: &Cluster, receipt: &Key, told: &Told) -> bool {
    let done = cluster.read_now(receipt).await.is_some();
    match told {
        Told::Committed(at) => {
            assert!(cluster.read(receipt, *at).await.is_some(), "told committed at {at}");
            assert!(
                cluster.read(receipt, Timestamp(at.0 - 1)).await.is_none(),
                "committed below {at}"
            );
        }
        Told::NotCommitted => assert!(!done, "told that nothing was applied"),
        Told::Nothing => {}
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_snapshot_of_a_bank_in_chaos_has_all_the_money() {
    for seed in [1, 2] {
        run(seed).await;
    }
}
