//! The ports of a process: peers, clients, probes. All limits of tonic, h2 and hyper are set here and in `http`.
//!
//! | limit | clients | peers | probes |
//! |---|---|---|---|
//! | connections; more are told so and closed | `listen.max_connections`, at most the open files less 768 | 384 | 128 |
//! | first bytes of a connection | the preface of HTTP/2 within 30 s | as clients | a byte in 30 s, the head in 30 s |
//! | idle connections | a ping each 10 s, answered within 10 s | as clients | the next head within 30 s, closed after 10 min |
//! | header list, decoded | 16 KiB | 16 KiB | 16 KiB, 64 headers |
//! | message | 16 MiB in and out | 16 MiB; frames of Raft less | no body is read |
//! | frame | 16 KiB | 16 KiB | - |
//! | calls at once on a connection | 1,024 | 1,024 | 1 |
//! | calls at once on a stream that they share; parts of an answer that are ahead of their reader | 2,048; 4 | 2,048; 4 | - |
//! | calls that were reset but not yet taken up (rapid reset), and resets that were provoked: then the connection is closed | 128, 128 | 128, 128 | - |
//! | flow control: bytes under way on a call, on a connection | 64 KiB, 1 MiB | 4 MiB, 16 MiB | - |
//! | time until a call is answered (streams: begins to be) | 60 s; the request itself gives up before | 16 min: the answer to a snapshot comes at its end | at once |
//!
//! There is no compression, so nothing grows by decoding. HTTP/1 is spoken on the port of the probes only. Empty frames,
//! CONTINUATION and SETTINGS floods are bounded by h2 itself (RUSTSEC-2024-0332, RUSTSEC-2026-0258), which is new enough.
//! A connection has no greatest age on the other ports: subscriptions and lanes live as long as their members.

mod connections;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kotoba_proto::FILE_DESCRIPTORS;
use kotoba_proto::calls::{CallServer, Calls};
use kotoba_proto::v1::admin_service_server::AdminServiceServer;
use kotoba_proto::v1::call_service_server::CallServiceServer;
use kotoba_proto::v1::cluster_service_server::ClusterServiceServer;
use kotoba_proto::v1::peer_service_server::PeerServiceServer;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

pub use connections::{Connection, Connections, raise_open_files};
use connections::{Hello, accept, bounded_by_open_files};

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
/// As HTTP/2 has it where nothing is said, said here so that it stays.
const CLIENT_STREAM_WINDOW: u32 = 64 << 10;
const CLIENT_CONNECTION_WINDOW: u32 = 1 << 20;
const MAX_FRAME_BYTES: u32 = 16 << 10;
/// Headers of a call: ours are a few hundred bytes.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// A client that drops many calls at once is in order; one that does nothing else is not (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 128;
/// Resets that this side had to send for what the other did.
const MAX_PROVOKED_RESETS: usize = 128;
/// Longer than any request of a client may take: a call that is here then hangs.
const CLIENT_CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than a snapshot may be on its way.
const PEER_CALL_TIMEOUT: Duration = Duration::from_secs(16 * 60);
/// Connections that the system holds until they are accepted. tokio asks for 128: of a storm of clients the others would wait
/// for seconds, each longer than the last. The system may allow less (net.core.somaxconn).
const BACKLOG: u32 = 4_096;
/// A connection that has not begun to speak by then is let go.
const HELLO_WITHIN: Duration = Duration::from_secs(30);
/// "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
const PREFACE_BYTES: usize = 24;
/// Members dial a few connections each. Together with those of probes these are not more than half of the descriptors that
/// clients leave.
const MAX_PEER_CONNECTIONS: usize = 384;
const MAX_PROBE_CONNECTIONS: usize = 128;
/// To gRPC software that is one too many: SETTINGS, then GOAWAY with ENHANCE_YOUR_CALM and a word on why.
const GO_AWAY: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x34\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b\
    too many connections: listen.max_connections";
const GRPC_HELLO: Hello = Hello {
    bytes: PREFACE_BYTES,
    within: HELLO_WITHIN,
    refusal: GO_AWAY,
};
/// To a probe.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

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
    pub fn open(peer: SocketAddr, client: SocketAddr, http: SocketAddr) -> Result<Self, ListenError> {
        Ok(Ports {
            peer: listen(peer, "members", "peer-listen")?,
            client: listen(client, "clients", "client-listen")?,
            http: listen(http, "probes and metrics", "http-listen")?,
        })
    }
}

fn listen(address: SocketAddr, purpose: &'static str, flag: &'static str) -> Result<TcpListener, ListenError> {
    open(address).map_err(|source| ListenError {
        address,
        purpose,
        flag,
        source,
    })
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restarted member takes its port again, though connections of its last life linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
        .timeout(PEER_CALL_TIMEOUT)
        .initial_stream_window_size(PEER_STREAM_WINDOW)
        .initial_connection_window_size(PEER_CONNECTION_WINDOW)
        .add_service(process.raft_door.clone())
        .add_service(calls(peer.clone(), PEER_CALL_TIMEOUT, &cancel))
        .add_service(peer)
        .add_service(admin)
        .add_service(reflection()?)
        .serve_with_incoming_shutdown(
            accept(
                listener,
                Arc::new(Connections::new("peers", MAX_PEER_CONNECTIONS)),
                GRPC_HELLO,
            ),
            cancel.cancelled_owned(),
        )
        .await?;
    Ok(())
}

/// Serves clients until cancelled.
pub async fn serve_clients(
    listener: TcpListener,
    process: Arc<Process>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let connections = process.client_connections.clone();
    let service = ClusterServiceServer::new(Measured::new(ClientEndpoint { process }))
        .max_decoding_message_size(kotoba_proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(kotoba_proto::MAX_MESSAGE_BYTES);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ClusterServiceServer<Measured>>().await;
    builder()
        .timeout(CLIENT_CALL_TIMEOUT)
        .initial_stream_window_size(CLIENT_STREAM_WINDOW)
        .initial_connection_window_size(CLIENT_CONNECTION_WINDOW)
        .add_service(calls(service.clone(), CLIENT_CALL_TIMEOUT, &cancel))
        .add_service(service)
        .add_service(health_service)
        .add_service(reflection()?)
        .serve_with_incoming_shutdown(accept(listener, connections, GRPC_HELLO), cancel.cancelled_owned())
        .await?;
    Ok(())
}

/// Serves probes and metrics until cancelled.
pub async fn serve_http(listener: TcpListener, process: Arc<Process>, cancel: CancellationToken) -> anyhow::Result<()> {
    let hello = Hello {
        bytes: 1,
        within: http::HEADER_TIMEOUT,
        refusal: BUSY,
    };
    let connections = accept(
        listener,
        Arc::new(Connections::new("probes", MAX_PROBE_CONNECTIONS)),
        hello,
    );
    http::serve(connections, Arc::new(Metrics::new(process)), cancel).await;
    Ok(())
}

/// The calls of a service that come together.
fn calls<S: Calls>(service: S, within: Duration, cancel: &CancellationToken) -> CallServiceServer<CallServer<S>> {
    CallServiceServer::new(CallServer::new(service, within, cancel.clone()))
}

fn builder() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(MAX_STREAMS))
        .concurrency_limit_per_connection(MAX_STREAMS as usize)
        .http2_max_header_list_size(Some(MAX_HEADER_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES))
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_PROVOKED_RESETS))
        .http2_adaptive_window(Some(false))
        .accept_http1(false)
}

/// The connections of clients that this process takes; the limit of open files is to be raised before.
pub fn client_connections(max_connections: usize) -> Connections {
    Connections::new("clients", bounded_by_open_files(max_connections))
}

fn reflection() -> anyhow::Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTORS)
        .build_v1()?)
}
