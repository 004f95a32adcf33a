//! Dials a peer: its name is resolved anew at every attempt, for a pod comes back under another address.

use std::sync::Arc;
use std::time::Duration;

use kotoba_proto::v1::Envelope;
use kotoba_proto::v1::raft_service_client::RaftServiceClient;
use kotoba_state::ids::MemberId;
use tonic::transport::{Channel, Endpoint};

use super::{MAX_FRAME_BYTES, envelope};

/// A connection that is not there by then counts as down.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an idle connection is tried, and how long the answer may take: a peer that vanished is noticed in eight seconds.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes under way in one stream; two of the largest requests.
pub const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes under way in one connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Where members are reached. Asked anew at every attempt to connect.
pub trait PeerAddresses: Send + Sync + 'static {
    /// `name:port`; `None` where the member is not known.
    fn address(&self, member: MemberId) -> Option<String>;
}

/// Cuts links on purpose, in tests.
pub trait LinkFilter: Send + Sync + 'static {
    fn allows(&self, from: MemberId, to: MemberId) -> bool;
}

/// Why a peer is not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("no address is known for member {0}")]
    UnknownMember(MemberId),
    #[error("{0:?} is not HOST:PORT")]
    Address(String),
    #[error("the link to member {0} is cut")]
    Cut(MemberId),
    #[error("member {member} is not reached at {address}")]
    Connect {
        member: MemberId,
        address: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("member {member} refuses: {reason}")]
    Refused { member: MemberId, reason: String },
    #[error("member {0} does not answer in time")]
    Timeout(MemberId),
}

/// Dials one peer.
#[derive(Clone)]
pub struct Dialer {
    pub cluster_id: Arc<str>,
    pub from: MemberId,
    pub to: MemberId,
    pub addresses: Arc<dyn PeerAddresses>,
    pub filter: Option<Arc<dyn LinkFilter>>,
}

impl Dialer {
    /// Who speaks to whom; the first message of each stream says it.
    pub fn envelope(&self) -> Envelope {
        envelope(&self.cluster_id, self.from, self.to)
    }

    /// Whether a test has cut the link.
    pub fn is_cut(&self) -> bool {
        let filter = self.filter.as_ref();
        filter.is_some_and(|filter| !filter.allows(self.from, self.to))
    }

    /// Opens a connection of its own.
    pub async fn connect(&self) -> Result<RaftServiceClient<Channel>, DialError> {
        if self.is_cut() {
            return Err(DialError::Cut(self.to));
        }
        let address = self
            .addresses
            .address(self.to)
            .ok_or(DialError::UnknownMember(self.to))?;
        let endpoint = endpoint(&address)?;
        let channel = endpoint.connect().await.map_err(|source| DialError::Connect {
            member: self.to,
            address,
            source,
        })?;
        Ok(RaftServiceClient::new(channel)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES))
    }
}

fn endpoint(address: &str) -> Result<Endpoint, DialError> {
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(|_| DialError::Address(address.to_owned()))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}
