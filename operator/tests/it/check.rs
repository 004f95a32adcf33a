//! What `helm test` asks of an installation.

use kotoba_operator::args::CheckArgs;
use kotoba_operator::check::{Error, check};
use kotoba_operator::lease::Lease;

use crate::api_server::ApiServer;

fn args(watch_namespaces: &[&str]) -> CheckArgs {
    CheckArgs {
        watch_namespaces: watch_namespaces.iter().map(ToString::to_string).collect(),
        namespace: Some("kotoba-system".into()),
        lease_name: "kotoba-operator".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_installation_works_where_somebody_renews_the_lease() {
    let api = ApiServer::default();
    let mut lease = Lease::new(api.client(), "kotoba-system", "kotoba-operator", "one");
    lease.acquire().await;
    for namespaces in [&[][..], &["a", "b"]] {
        let args = args(namespaces);
        let checked = tokio::select! {
            checked = check(api.client(), &args) => checked.unwrap(),
            lost = lease.keep() => panic!("{lost}"),
        };
        assert!(checked.contains("one works on them"), "{checked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_renews_is_no_operator() {
    let api = ApiServer::default();
    let nobody = check(api.client(), &args(&[])).await;
    assert!(matches!(nobody, Err(Error::NobodyWorks(_))), "{nobody:?}");
    Lease::new(api.client(), "kotoba-system", "kotoba-operator", "dead")
        .acquire()
        .await;
    let dead = check(api.client(), &args(&[])).await;
    assert!(matches!(dead, Err(Error::NobodyWorks(_))), "{dead:?}");
}
