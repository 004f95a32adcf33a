//! A client that knows the members finds the leaders, and asks them at once.

use kotoba_graph::id::EntityId;
use kotoba_graph::receipt::RequestId;
use kotoba_proto::cluster::{slot_of_entity, slot_of_request};

use crate::cluster::Cluster;
use crate::graph::{create_node, get_nodes, nodes};
use crate::settings::Pace;
use crate::wait::{ensure, run, until};

/// The client has this knowledge for itself, as it is no member.
#[test]
fn a_client_and_the_members_mean_the_same_slots() {
    for number in 0..1_000_u64 {
        let client = [number as u8; 16];
        let request = RequestId {
            client,
            sequence: number * 7_919,
        };
        let home = request.home(&[], None).number();
        assert_eq!(slot_of_request(&client, request.sequence), home);
        let id = EntityId::for_node(number);
        assert_eq!(slot_of_entity(id.number()), id.slot().number());
    }
}

#[test]
fn a_client_of_all_members_soon_asks_only_those_that_lead() {
    run(async {
        let mut cluster = Cluster::with(Pace::default(), 3, 16).await;
        let client = cluster.client();
        asks_only_leaders(&cluster, &client).await;

        // Others lead then, and the client learns that too.
        cluster.stop(2).await;
        for _ in 0..10 {
            client.execute_operation(create_node("Item", [])).await.unwrap();
        }
        cluster.start(2).await;
        cluster.ready().await;
        asks_only_leaders(&cluster, &client).await;
    });
}

/// Of forty requests some two thirds would be passed on; members have a few things of their own to say meanwhile.
async fn asks_only_leaders(cluster: &Cluster, client: &kotoba_proto::KotobaCluster) {
    let passed_on = || -> u64 {
        (1..=3)
            .map(|member| cluster.running(member).router.messages_sent())
            .sum()
    };
    until("requests that are not passed on", || async {
        let before = passed_on();
        for _ in 0..20 {
            let created = client.execute_operation(create_node("Item", [])).await.unwrap();
            let found = nodes(client.fetch_rows(get_nodes([created.id])).await.unwrap());
            assert_eq!(found.len(), 1);
        }
        let passed_on = passed_on() - before;
        ensure(passed_on <= 8, || format!("{passed_on} of 40 requests were passed on"))
    })
    .await;
}
