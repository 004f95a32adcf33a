//! The ports of a process: peers, clients, probes. All limits of tonic, h2 and axum are set here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kotoba_proto::FILE_DESCRIPTORS;
use kotoba_proto::v1::admin_service_server::AdminServiceServer;
use kotoba_proto::v1::cluster_service_server::ClusterServiceServer;
use kotoba_proto::v1::peer_service_server::PeerServiceServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::gateway::measured::Measured;
use crate::gateway::service::ClientEndpoint;
use crate::http;
use crate::member::Process;
use crate::metrics::Metrics;
use crate::peer::admin::AdminEndpoint;
use crate::peer::clients::MAX_MESSAGE_BYTES;
use crate::peer::service::PeerEndpoint;

/// Calls at once on one connection; a client that wants more opens another.
const MAX_STREAMS: u32 = 1_024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Snapshots and pages between members need more than HTTP/2's 64 KiB on the way.
const PEER_STREAM_WINDOW: u32 = 4 << 20;
const PEER_CONNECTION_WINDOW: u32 = 16 << 20;
/// Headers of a call: ours are a few hundred bytes.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} for {purpose}: is the port in use? choose another with --{flag}")]
pub struct ListenError {
    address: SocketAddr,
    purpose: &'static str,
    flag: &'static str,
    #[source]
    source: std::io::Error,
}

/// The open ports, before anything answers on them.
pub struct Ports {
    pub peer: TcpListener,
    pub client: TcpListener,
    pub http: TcpListener,
}

impl Ports {
    pub async fn open(peer: SocketAddr, client: SocketAddr, http: SocketAddr) -> Result<Self, ListenError> {
        Ok(Ports {
            peer: listen(peer, "members", "peer-listen").await?,
            client: listen(client, "clients", "client-listen").await?,
            http: listen(http, "probes and metrics", "http-listen").await?,
        })
    }
}

async fn listen(address: SocketAddr, purpose: &'static str, flag: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError {
        address,
        purpose,
        flag,
        source,
    })
}

/// Serves members until cancelled.
pub async fn serve_peers(
    listener: TcpListener,
    process: Arc<Process>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let endpoint = PeerEndpoint {
        process: process.clone(),
    };
    let peer = PeerServiceServer::new(endpoint)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let admin = AdminServiceServer::new(AdminEndpoint {
        process: process.clone(),
    });
    builder()
        .initial_stream_window_size(PEER_STREAM_WINDOW)
        .initial_connection_window_size(PEER_CONNECTION_WINDOW)
        .add_service(process.raft_door.clone())
        .add_service(peer)
        .add_service(admin)
        .add_service(reflection()?)
        .serve_with_incoming_shutdown(incoming(listener), cancel.cancelled_owned())
        .await?;
    Ok(())
}

/// Serves clients until cancelled.
pub async fn serve_clients(
    listener: TcpListener,
    process: Arc<Process>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let service = ClusterServiceServer::new(Measured::new(ClientEndpoint { process }))
        .max_decoding_message_size(kotoba_proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(kotoba_proto::MAX_MESSAGE_BYTES);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ClusterServiceServer<Measured>>().await;
    builder()
        .add_service(service)
        .add_service(health_service)
        .add_service(reflection()?)
        .serve_with_incoming_shutdown(incoming(listener), cancel.cancelled_owned())
        .await?;
    Ok(())
}

/// Serves probes and metrics until cancelled.
pub async fn serve_http(listener: TcpListener, process: Arc<Process>, cancel: CancellationToken) -> anyhow::Result<()> {
    http::serve(listener, Arc::new(Metrics::new(process)), cancel).await?;
    Ok(())
}

fn builder() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(MAX_STREAMS))
        .http2_max_header_list_size(Some(MAX_HEADER_BYTES))
        .tcp_nodelay(true)
}

fn incoming(listener: TcpListener) -> TcpListenerStream {
    TcpListenerStream::new(listener)
}

fn reflection() -> anyhow::Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTORS)
        .build_v1()?)
}
