//! The operator's side of the database's admin and cluster services. Every call has a deadline and a bound on how
//! many run at once; nothing is retried here, because the next pass decides anew.

mod call;
mod route;

use std::sync::Arc;

use kotoba_proto::v1;
use tokio::sync::Semaphore;

pub use call::CallError;
use call::call;
pub use route::{Port, Route, Target, by_pod_ip};

/// Calls that run at the same time, of all clusters together. A hundred clusters must not open a thousand sockets.
const MAX_CALLS: usize = 32;

/// Calls members of any cluster.
#[derive(Clone)]
pub struct Admin {
    route: Route,
    slots: Arc<Semaphore>,
}

impl Admin {
    /// `route` turns a target into a host and port; [`by_pod_ip`] does outside of tests.
    pub fn new(route: Route) -> Self {
        Admin {
            route,
            slots: Arc::new(Semaphore::new(MAX_CALLS)),
        }
    }

    /// Asks a process who it is; answered in every state.
    pub async fn who_am_i(&self, target: &Target) -> Result<v1::WhoAmIResponse, CallError> {
        call(self, target, Port::Peer, async |channel| {
            let mut client = v1::admin_service_client::AdminServiceClient::new(channel);
            client.who_am_i(v1::WhoAmIRequest {}).await
        })
        .await
    }

    pub async fn get_status(&self, target: &Target) -> Result<v1::GetStatusResponse, CallError> {
        call(self, target, Port::Client, async |channel| {
            let mut client = v1::cluster_service_client::ClusterServiceClient::new(channel);
            client.get_status(v1::GetStatusRequest {}).await
        })
        .await
    }

    pub async fn bootstrap(
        &self,
        target: &Target,
        request: v1::BootstrapRequest,
    ) -> Result<v1::BootstrapResponse, CallError> {
        call(self, target, Port::Peer, async |channel| {
            let mut client = v1::admin_service_client::AdminServiceClient::new(channel);
            client.bootstrap(request).await
        })
        .await
    }

    pub async fn join(
        &self,
        target: &Target,
        request: v1::JoinClusterRequest,
    ) -> Result<v1::JoinClusterResponse, CallError> {
        call(self, target, Port::Client, async |channel| {
            let mut client = v1::cluster_service_client::ClusterServiceClient::new(channel);
            client.join_cluster(request).await
        })
        .await
    }

    pub async fn rebalance(&self, target: &Target) -> Result<v1::RebalanceResponse, CallError> {
        call(self, target, Port::Peer, async |channel| {
            let mut client = v1::admin_service_client::AdminServiceClient::new(channel);
            client.rebalance(v1::RebalanceRequest { dry_run: false }).await
        })
        .await
    }

    pub async fn drain(&self, target: &Target, member_id: u64) -> Result<v1::DrainResponse, CallError> {
        call(self, target, Port::Peer, async |channel| {
            let mut client = v1::admin_service_client::AdminServiceClient::new(channel);
            client.drain(v1::DrainRequest { member_id }).await
        })
        .await
    }

    pub async fn cancel_drain(&self, target: &Target, member_id: u64) -> Result<v1::CancelDrainResponse, CallError> {
        call(self, target, Port::Peer, async |channel| {
            let mut client = v1::admin_service_client::AdminServiceClient::new(channel);
            client.cancel_drain(v1::CancelDrainRequest { member_id }).await
        })
        .await
    }

    pub async fn remove_member(&self, target: &Target, member_id: u64) -> Result<v1::RemoveMemberResponse, CallError> {
        call(self, target, Port::Peer, async |channel| {
            let mut client = v1::admin_service_client::AdminServiceClient::new(channel);
            client.remove_member(v1::RemoveMemberRequest { member_id }).await
        })
        .await
    }
}
