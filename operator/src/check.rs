//! `kotoba-operator check`: whether the installation works, as `helm test` asks. It reads, and changes nothing.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::time::{Instant, sleep};

use crate::args::CheckArgs;
use crate::crd::KotobaCluster;

/// For an operator that was installed a moment ago to start and to take the lease, from one that died if need be.
const LEASE_LIMIT: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What of the installation does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("find a Kubernetes API server: is this a pod, or is there a kubeconfig?")]
    Client(#[source] Box<kube::Error>),
    #[error("read clusters: is the CRD installed, and may this account read them?")]
    ReadClusters(#[source] Box<kube::Error>),
    #[error("read the lease {name}")]
    ReadLease {
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("no operator renewed the lease {0} within {limit} s: look at the operator's log", limit = LEASE_LIMIT.as_secs())]
    NobodyWorks(String),
}

/// Checks what there is, and says in a line that it works.
pub async fn run(args: CheckArgs) -> Result<String, Error> {
    let client = Client::try_default()
        .await
        .map_err(|source| Error::Client(Box::new(source)))?;
    check(client, &args).await
}

/// Clusters can be read, and an operator is at work.
pub async fn check(client: Client, args: &CheckArgs) -> Result<String, Error> {
    read_clusters(&client, args).await?;
    let namespace = args.namespace.as_deref().unwrap_or(client.default_namespace());
    let holder = wait_for_renewal(&Api::namespaced(client.clone(), namespace), &args.lease_name).await?;
    Ok(format!("KotobaClusters are served, and {holder} works on them"))
}

async fn read_clusters(client: &Client, args: &CheckArgs) -> Result<(), Error> {
    let named = args.watch_namespaces.iter().filter(|name| !name.is_empty());
    let mut apis: Vec<Api<KotobaCluster>> = named.map(|name| Api::namespaced(client.clone(), name)).collect();
    if apis.is_empty() {
        apis.push(Api::all(client.clone()));
    }
    for api in apis {
        let listed = api.list(&ListParams::default().limit(1)).await;
        listed.map_err(|source| Error::ReadClusters(Box::new(source)))?;
    }
    Ok(())
}

/// Waits until somebody renews the lease, and says who. By two looks and not by the time in it: clocks may differ.
async fn wait_for_renewal(api: &Api<Lease>, name: &str) -> Result<String, Error> {
    let deadline = Instant::now() + LEASE_LIMIT;
    let mut first: Option<MicroTime> = None;
    while Instant::now() < deadline {
        let lease = api.get_opt(name).await.map_err(|source| Error::ReadLease {
            name: name.to_owned(),
            source: Box::new(source),
        })?;
        let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
        match (spec.renew_time, spec.holder_identity) {
            (Some(renewed), Some(holder)) if first.as_ref().is_some_and(|first| *first != renewed) => {
                return Ok(holder);
            }
            (renewed, _) => first = first.or(renewed),
        }
        sleep(ASK_EVERY).await;
    }
    Err(Error::NobodyWorks(name.to_owned()))
}
