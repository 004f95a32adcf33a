//! Requests as any program could send them, without the client library's care.

use futures::{Stream, StreamExt, TryStreamExt};
use kotoba_proto::ClusterError;
use kotoba_proto::cluster::endpoint;
use kotoba_proto::v1::cluster_service_client::ClusterServiceClient;
use kotoba_proto::v1::{
    ExecuteOperationRequest, ExecuteOperationResponse, ExecuteQueryRequest, ExecuteQueryResponse, GetHistoryRequest,
    GetHistoryResponse,
};
use tonic::transport::Channel;

use crate::cluster::Cluster;

/// Sends one request, once, to one member.
pub async fn send(
    cluster: &Cluster,
    member: u64,
    request: &ExecuteOperationRequest,
) -> Result<ExecuteOperationResponse, ClusterError> {
    let (mut client, address) = client(cluster, member);
    let answer = client.execute_operation(request.clone()).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| ClusterError::from_status(&status, &address))
}

/// Asks one query and takes its first message.
pub async fn ask(
    cluster: &Cluster,
    member: u64,
    request: ExecuteQueryRequest,
) -> Result<Option<ExecuteQueryResponse>, ClusterError> {
    answers(cluster, member, request).await?.next().await.transpose()
}

/// Asks one query and takes its last message.
pub async fn ask_to_the_end(
    cluster: &Cluster,
    member: u64,
    request: ExecuteQueryRequest,
) -> Result<Option<ExecuteQueryResponse>, ClusterError> {
    let all: Vec<_> = answers(cluster, member, request).await?.try_collect().await?;
    Ok(all.into_iter().last())
}

async fn answers(
    cluster: &Cluster,
    member: u64,
    request: ExecuteQueryRequest,
) -> Result<impl Stream<Item = Result<ExecuteQueryResponse, ClusterError>> + Unpin, ClusterError> {
    let (mut client, address) = client(cluster, member);
    let failed = move |status| ClusterError::from_status(&status, &address);
    let messages = client.execute_query(request).await.map_err(&failed)?.into_inner();
    Ok(messages.map_err(failed))
}

/// Asks for the versions of one entity.
pub async fn history(
    cluster: &Cluster,
    member: u64,
    request: GetHistoryRequest,
) -> Result<GetHistoryResponse, ClusterError> {
    let (mut client, address) = client(cluster, member);
    let answer = client.get_history(request).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| ClusterError::from_status(&status, &address))
}

fn client(cluster: &Cluster, member: u64) -> (ClusterServiceClient<Channel>, String) {
    let address = cluster.host(member).addresses.client.to_string();
    let channel = endpoint(&address).unwrap().connect_lazy();
    // What is too large is to be found by the member, not here.
    let client = ClusterServiceClient::new(channel).max_encoding_message_size(usize::MAX);
    (client, address)
}
