//! Leader election between two processes of the operator, in paused time.

use std::time::Duration;

use kotoba_operator::lease::{Lease, held};
use tokio::time::{sleep, timeout};

use crate::api_server::ApiServer;

fn lease(api: &ApiServer, identity: &str) -> Lease {
    Lease::new(api.client(), "kotoba-system", "kotoba-operator", identity)
}

#[tokio::test(start_paused = true)]
async fn the_second_process_waits_while_the_first_renews() {
    let api = ApiServer::default();
    let (mut first, mut second) = (lease(&api, "one"), lease(&api, "two"));
    first.acquire().await;
    assert!(held(&first.leadership()));
    tokio::select! {
        lost = first.keep() => panic!("{lost}"),
        () = second.acquire() => panic!("two processes lead"),
        () = sleep(Duration::from_secs(120)) => {}
    }
    assert!(held(&first.leadership()) && !held(&second.leadership()));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_is_followed_when_its_lease_has_run_out() {
    let api = ApiServer::default();
    let (mut first, mut second) = (lease(&api, "one"), lease(&api, "two"));
    first.acquire().await;
    let early = timeout(Duration::from_secs(12), second.acquire()).await;
    assert!(early.is_err(), "the lease was taken while it ran");
    assert!(!held(&first.leadership()), "the first goes on without renewing");
    timeout(Duration::from_secs(10), second.acquire()).await.unwrap();
    assert!(held(&second.leadership()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_free_at_once() {
    let api = ApiServer::default();
    let (mut first, mut second) = (lease(&api, "one"), lease(&api, "two"));
    first.acquire().await;
    first.release().await;
    assert!(!held(&first.leadership()));
    timeout(Duration::from_secs(1), second.acquire()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_cannot_renew_stops_before_others_may_begin() {
    let api = ApiServer::default();
    let mut first = lease(&api, "one");
    first.acquire().await;
    let lost = async {
        sleep(Duration::from_secs(5)).await;
        api.tripwire.arm(api.tripwire.writes(), crate::tripwire::When::Before);
        sleep(Duration::from_secs(60)).await;
    };
    tokio::select! {
        lost = timeout(Duration::from_secs(20), first.keep()) => assert!(lost.is_ok()),
        () = lost => panic!("it was never told"),
    }
    assert!(!held(&first.leadership()));
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_lease_was_taken_stops_at_once() {
    let api = ApiServer::default();
    let mut first = lease(&api, "one");
    first.acquire().await;
    api.store().edit("leases", "kotoba-operator", |lease| {
        lease["spec"]["holderIdentity"] = serde_json::json!("two");
    });
    timeout(Duration::from_secs(3), first.keep()).await.unwrap();
    assert!(!held(&first.leadership()));
}
