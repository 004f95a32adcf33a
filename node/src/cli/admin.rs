//! Calls to `AdminService`, which answers on the peer port, also in a process with an empty disk.

use std::future::Future;
use std::time::Duration;

use kotoba_proto::v1::admin_service_client::AdminServiceClient;
use kotoba_proto::v1::{
    BootstrapRequest, BootstrapResponse, CancelDrainRequest, DrainRequest, MemberProgress, RebalanceRequest,
    RebalanceResponse, RemoveMemberRequest, WhoAmIRequest, WhoAmIResponse,
};
use kotoba_proto::{ClusterError, cluster};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// The admin side of one member. Each call is tried once: a person is watching, and can call again.
pub(super) struct Admin {
    address: String,
    deadline: Duration,
    client: AdminServiceClient<Channel>,
}

impl Admin {
    pub(super) fn new(peer_address: &str, deadline: Duration) -> Result<Self, ClusterError> {
        Ok(Admin {
            address: peer_address.to_owned(),
            deadline,
            client: AdminServiceClient::new(cluster::endpoint(peer_address)?.connect_lazy()),
        })
    }

    pub(super) async fn who_am_i(&self) -> Result<WhoAmIResponse, ClusterError> {
        let mut client = self.client.clone();
        self.within_deadline(client.who_am_i(WhoAmIRequest {})).await
    }

    pub(super) async fn bootstrap(&self, request: BootstrapRequest) -> Result<BootstrapResponse, ClusterError> {
        let mut client = self.client.clone();
        self.within_deadline(client.bootstrap(request)).await
    }

    pub(super) async fn rebalance(&self, request: RebalanceRequest) -> Result<RebalanceResponse, ClusterError> {
        let mut client = self.client.clone();
        self.within_deadline(client.rebalance(request)).await
    }

    pub(super) async fn drain(&self, member_id: u64) -> Result<MemberProgress, ClusterError> {
        let mut client = self.client.clone();
        let answer = self.within_deadline(client.drain(DrainRequest { member_id })).await?;
        Ok(answer.progress.unwrap_or_default())
    }

    pub(super) async fn cancel_drain(&self, member_id: u64) -> Result<MemberProgress, ClusterError> {
        let mut client = self.client.clone();
        let answer = self
            .within_deadline(client.cancel_drain(CancelDrainRequest { member_id }))
            .await?;
        Ok(answer.progress.unwrap_or_default())
    }

    pub(super) async fn remove_member(&self, member_id: u64) -> Result<MemberProgress, ClusterError> {
        let mut client = self.client.clone();
        let answer = self
            .within_deadline(client.remove_member(RemoveMemberRequest { member_id }))
            .await?;
        Ok(answer.progress.unwrap_or_default())
    }

    async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ClusterError> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(ClusterError::from_status(&status, &self.address)),
            Err(_elapsed) => Err(ClusterError::Timeout {
                deadline: self.deadline,
                last: None,
            }),
        }
    }
}
