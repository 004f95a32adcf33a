//! The examples, run as they are written: what people copy has to work.

use std::sync::{Arc, Mutex};

use kotoba_proto::v1::EventKind;

use crate::cluster::Cluster;
use crate::wait::run;

#[allow(dead_code, reason = "its main is for people")]
#[path = "../../examples/client.rs"]
mod client;
#[allow(dead_code, reason = "its main is for people")]
#[path = "../../examples/embedded.rs"]
mod embedded;
#[allow(dead_code, reason = "its main is for people")]
#[path = "../../examples/events.rs"]
mod events;
#[allow(dead_code, reason = "its main is for people")]
#[path = "../../examples/transaction.rs"]
mod transaction;

#[test]
fn the_client_example_finds_both_people_and_has_advice_where_nobody_listens() {
    run(async {
        let cluster = Cluster::of(3).await;
        assert_eq!(client::run(&cluster.addresses()).await.unwrap(), ["Ada", "Charles"]);
        let error = client::run("nowhere").await.unwrap_err();
        assert!(client::advice(&error).contains("is the address right"), "{error}");
    });
}

#[test]
fn the_transaction_example_moves_what_it_says_also_when_many_run_at_once() {
    run(async {
        let cluster = Cluster::of(3).await;
        let addresses = cluster.addresses();
        let runs = (0..4).map(|_| transaction::run(&addresses));
        for balances in futures::future::join_all(runs).await {
            assert_eq!(balances.unwrap(), (70, 30));
        }
    });
}

#[test]
fn the_events_example_hears_of_a_member_that_joins() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let addresses = cluster.addresses();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = heard.clone();
        let listening = tokio::spawn(async move {
            events::run(&addresses, |event| {
                notes.lock().unwrap().push(event.kind());
                event.kind() != EventKind::NodeLeft
            })
            .await
        });
        // A member is added until one was heard of: the first may have come before anybody listened.
        while !heard.lock().unwrap().contains(&EventKind::NodeJoined) {
            let number = cluster.add().await;
            cluster.join(number, 1).await.unwrap();
            cluster.ready().await;
        }
        cluster.client().leave_cluster(4).await.unwrap();
        listening.await.unwrap().unwrap();
        assert_eq!(heard.lock().unwrap().last(), Some(&EventKind::NodeLeft));
    });
}

#[test]
fn the_embedded_example_finds_its_data_again() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        for visits in 1..=2 {
            let seen = embedded::run(directory.path(), "127.0.0.1:0".parse().unwrap()).await;
            assert_eq!(seen.unwrap(), visits);
        }
    });
}
