//! Eventual writes: told before a majority has them, final all the same, and lost only with their leader.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kotoba_proto::cluster::Options;
use kotoba_proto::v1::{Consistency, row};
use kotoba_proto::{ContentId, KotobaCluster};
use kotoba_state::ids::{MemberId, PartitionId};
use kotoba_state::placement::partition_of_slot;
use rand::Rng;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, PARTITIONS};
use crate::graph::{cid, create_edge, create_node, delete_node, edges, find_nodes, get_edges};
use crate::settings::Pace;
use crate::wait::{ensure, run, until};

/// Bits of an entity's number below its slot.
const SEQUENCE_BITS: u32 = 51;
/// Shorter than the others need to notice that their leader is cut off and to elect another.
const SHORT: Duration = Duration::from_millis(250);

fn eventual(client: &KotobaCluster) -> KotobaCluster {
    client.with_options(Options {
        consistency: Consistency::Eventual,
        ..client.options().clone()
    })
}

fn partition_of(id: u64) -> PartitionId {
    partition_of_slot((id >> SEQUENCE_BITS) as u16, PARTITIONS)
}

/// A partition, the member that leads it, and the others that have a replica: all without the meta leader, who gives the
/// timestamps.
struct Apart {
    partition: PartitionId,
    leader: MemberId,
    followers: Vec<MemberId>,
}

async fn partition_apart(cluster: &Cluster) -> Apart {
    let status = cluster.status_where("a settled cluster", |_| true).await;
    let apart = status.partitions.iter().find(|partition| {
        let mut members = partition.replicas.iter().map(|replica| replica.member_id);
        members.all(|member| member != status.leader_member_id)
    });
    let apart = apart.expect("each of four members is without a replica of some partition");
    let leader = MemberId(apart.leader_member_id);
    let members = apart.replicas.iter().map(|replica| MemberId(replica.member_id));
    Apart {
        partition: PartitionId(apart.id),
        leader,
        followers: members.filter(|member| *member != leader).collect(),
    }
}

/// Two nodes that live in a partition.
async fn nodes_in(client: &KotobaCluster, partition: PartitionId) -> (u64, u64) {
    let mut found = Vec::new();
    while found.len() < 2 {
        let id = client.execute_operation(create_node("End", [])).await.unwrap().id;
        if partition_of(id) == partition {
            found.push(id);
        }
    }
    (found[0], found[1])
}

#[test]
fn an_eventual_write_is_told_and_final_before_a_majority_has_it_and_a_strong_one_is_not() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 4, PARTITIONS).await;
        let client = cluster.client();
        // Where the machine was too slow, and another leader is there already, it begins anew.
        let edge = until("an edge that was told early and stayed", || async {
            let apart = partition_apart(&cluster).await;
            let (source, target) = nodes_in(&client, apart.partition).await;
            let leader = cluster.impatient_client_of(apart.leader.0, SHORT);
            // The first write of a leadership asks the others once whether older entries are settled.
            let warm = eventual(&leader)
                .execute_operation(create_edge("WARM", source, target))
                .await;
            let ends = |member: &MemberId| {
                let local = cluster.running(member.0).partitions.get(apart.partition).unwrap();
                local.group.observe().last_log_index
            };
            // It was told before they had it, too.
            until("followers that have the first write", || async {
                let end = ends(&apart.leader);
                match apart.followers.iter().all(|follower| ends(follower) == end) {
                    true => Ok(()),
                    false => Err(format!("the leader's log ends at {end}")),
                }
            })
            .await;
            apart
                .followers
                .iter()
                .for_each(|follower| cluster.links.cut(apart.leader, *follower));
            let before: Vec<u64> = apart.followers.iter().map(ends).collect();
            let told = eventual(&leader)
                .execute_operation(create_edge("EARLY", source, target))
                .await;
            let after: Vec<u64> = apart.followers.iter().map(ends).collect();
            let strong = leader.execute_operation(create_edge("LATE", source, target)).await;
            cluster.links.heal();
            let told = told.map_err(|error| format!("{error}, after {warm:?}"))?;
            if before != after {
                // Something else was on its way when the links were cut.
                return Err(format!(
                    "the followers' logs grew from {before:?} to {after:?} behind cut links"
                ));
            }
            assert!(
                strong.is_err(),
                "a strong write was told without a majority: {strong:?}"
            );
            // With its leader still there it is what was told.
            let rows = edges(client.fetch_rows(get_edges([told.id])).await.unwrap());
            match rows.get(&told.id) {
                Some(edge) => {
                    assert_eq!(cid(&edge.cid), told.cid);
                    Ok(told)
                }
                None => Err("lost with its leader".to_owned()),
            }
        })
        .await;
        assert!(edge.bookmark > 0);
    });
}

/// Nodes that come and go.
#[derive(Clone)]
struct Pool(Arc<Mutex<Vec<u64>>>);

impl Pool {
    fn any(&self) -> (usize, u64) {
        let nodes = self.0.lock().unwrap();
        let place = rand::rng().random_range(0..nodes.len());
        (place, nodes[place])
    }

    fn put(&self, place: usize, node: u64) {
        self.0.lock().unwrap()[place] = node;
    }
}

/// Edges of one client, each as it was told.
async fn connect_all_the_time(client: KotobaCluster, pool: Pool, done: Arc<AtomicBool>) -> BTreeMap<u64, ContentId> {
    let mut told = BTreeMap::new();
    while !done.load(Ordering::Relaxed) {
        let ((_, source), (_, target)) = (pool.any(), pool.any());
        if let Ok(edge) = client.execute_operation(create_edge("TOLD", source, target)).await {
            told.insert(edge.id, edge.cid);
        }
    }
    told
}

/// Deletes nodes with their edges, which takes transactions over both partitions, and puts others in their places.
async fn replace_all_the_time(client: KotobaCluster, pool: Pool, done: Arc<AtomicBool>) -> usize {
    let mut replaced = 0;
    while !done.load(Ordering::Relaxed) {
        let (place, node) = pool.any();
        let made = client.execute_operation(create_node("Node", [])).await.unwrap();
        pool.put(place, made.id);
        replaced += usize::from(client.execute_operation(delete_node(node, true)).await.is_ok());
    }
    replaced
}

/// An edge may be gone again with one of its ends; but it was there, as it was told.
async fn check_told(client: &KotobaCluster, told: BTreeMap<u64, ContentId>) {
    assert!(!told.is_empty());
    for (id, version) in told {
        let history = client.get_edge_history(id, 0).await.unwrap();
        let versions = history.versions.into_iter().filter_map(|version| version.row?.kind);
        let first = versions.last().map(|kind| match kind {
            row::Kind::Edge(edge) => cid(&edge.cid),
            row::Kind::Node(node) => panic!("{node:?}"),
        });
        assert_eq!(first, Some(version), "edge {id} was told and never was");
    }
}

#[test]
fn what_eventual_writers_are_told_was_there_whatever_else_commits_at_the_same_time() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 3, 2).await;
        let client = cluster.client();
        let create = (0..6).map(|_| create_node("Node", [])).collect();
        let made = client.execute_operations(create).await.unwrap();
        let pool = Pool(Arc::new(Mutex::new(made.iter().map(|node| node.id).collect())));
        let done = Arc::new(AtomicBool::new(false));
        let (mut writers, mut replacers) = (JoinSet::new(), JoinSet::new());
        for member in 1..=3 {
            let client = eventual(&cluster.client_of(member));
            writers.spawn(connect_all_the_time(client, pool.clone(), done.clone()));
            replacers.spawn(replace_all_the_time(
                cluster.client_of(member),
                pool.clone(),
                done.clone(),
            ));
        }
        until("some hundred edges", || async {
            let count = client.count(find_nodes("Node", [])).await.unwrap();
            let entries = cluster.running(1).partitions.get(PartitionId(0)).unwrap();
            let last = entries.group.observe().last_log_index;
            ensure(last > 800, || format!("{count} nodes, {last} entries"))
        })
        .await;
        done.store(true, Ordering::Relaxed);
        assert!(replacers.join_all().await.into_iter().sum::<usize>() > 0);
        for told in writers.join_all().await {
            check_told(&client, told).await;
        }
        cluster.agree().await;
    });
}
