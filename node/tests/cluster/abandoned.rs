//! What a transaction left whose coordinator does not carry on is in nobody's way for long.

use std::collections::BTreeMap;
use std::time::Duration;

use kotoba_graph::key;
use kotoba_node::transaction::{Partitions, Reply, Request, Timestamps};
use kotoba_state::ids::{MemberId, Timestamp};
use kotoba_state::partition::{Op, Prepare, PrepareAnswer, TxnHead, TxnId, slot_key, slot_of};

use crate::cluster::Cluster;
use crate::graph::{create_node, get_nodes, update_node};
use crate::wait::run;

/// Less than a transaction lives whose coordinator carries on.
const GOES_ON_WITHIN: Duration = Duration::from_secs(8);

/// Prepares a change of a node in the name of a member, as if its process had ended before the commit.
async fn leave(cluster: &Cluster, member: u64, counter: u64, node: u64) {
    let running = cluster.running(1);
    let key = key::node(node.try_into().unwrap());
    let partition = running.router.partition_of(slot_of(&key));
    let elsewhere = running.router.all().into_iter().find(|other| *other != partition);
    let (slot, _) = running.router.slots_of(elsewhere.unwrap());
    let txn = TxnId {
        member: MemberId(member),
        incarnation: 0,
        counter,
    };
    let prepare = Prepare {
        head: TxnHead {
            txn,
            start_ts: running.timestamps.take().await.unwrap(),
            primary: slot_key(slot, b"never"),
            deadline_ms: 0,
        },
        writes: BTreeMap::from([(key, Op::Delete)]),
        reads: Vec::new(),
        conditions: Vec::new(),
        min_commit_hint: Timestamp(0),
    };
    let reply = running.router.call(partition, Request::Prepare(prepare)).await;
    assert_eq!(reply.unwrap(), Reply::Prepare(PrepareAnswer::Prepared));
}

#[test]
fn nobody_waits_for_what_a_member_has_forgotten_or_for_a_member_that_is_dead() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let client = cluster.impatient_client_of(1, GOES_ON_WITHIN);
        let node = client.execute_operation(create_node("Left", [])).await.unwrap().id;
        leave(&cluster, 2, 1, node).await;
        client
            .execute_operation(update_node(node, [("step", 1_i64.into())]))
            .await
            .unwrap();

        leave(&cluster, 2, 2, node).await;
        cluster.crash(2).await;
        client
            .execute_operation(update_node(node, [("step", 2_i64.into())]))
            .await
            .unwrap();
        let rows = client.fetch_rows(get_nodes([node])).await.unwrap();
        assert_eq!(rows.len(), 1);
    });
}
