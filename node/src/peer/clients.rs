//! One gRPC channel per peer, dialled by name and shared by all calls to it.
//!
//! Addresses come from the catalogue at every call, so a member that moved is found again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kotoba_proto::calls::CallChannel;
use kotoba_proto::v1::Envelope;
use kotoba_proto::v1::peer_service_client::PeerServiceClient;
use kotoba_state::ids::MemberId;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;
use tonic::transport::{Channel, Endpoint};

use crate::raft::{LinkFilter, PeerAddresses};

/// The largest message between members: a page of 4 MiB, with room for its frame.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// The version of everything that members send each other.
pub const PEER_FORMAT: u32 = 1;
/// A connection that is not there by then counts as down; the call fails and may be retried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// The member cannot be dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    #[error("no address is known for member {0}")]
    UnknownMember(MemberId),
    #[error("{0:?} is not HOST:PORT")]
    Address(String),
    #[error("the link to member {0} is cut")]
    Cut(MemberId),
}

/// The channels to all peers.
pub struct PeerClients {
    cluster_id: String,
    me: MemberId,
    addresses: Arc<dyn PeerAddresses>,
    /// Cuts links on purpose, in tests; the same that cuts Raft's.
    filter: Option<Arc<dyn LinkFilter>>,
    channels: Mutex<BTreeMap<String, CallChannel>>,
    call_timeout: Duration,
}

impl PeerClients {
    pub fn new(
        cluster_id: String,
        me: MemberId,
        addresses: Arc<dyn PeerAddresses>,
        filter: Option<Arc<dyn LinkFilter>>,
        call_timeout: Duration,
    ) -> Self {
        PeerClients {
            cluster_id,
            me,
            addresses,
            filter,
            channels: Mutex::default(),
            call_timeout,
        }
    }

    pub fn me(&self) -> MemberId {
        self.me
    }

    /// How long one call may take.
    pub fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// What every message to a member starts with: the receiver checks that it is meant.
    pub fn envelope(&self, to: MemberId) -> Option<Envelope> {
        Some(Envelope {
            cluster_id: self.cluster_id.clone(),
            from_member_id: self.me.0,
            to_member_id: to.0,
            format: PEER_FORMAT,
        })
    }

    /// A client of a member's peer service; dials at the first call.
    pub fn client(&self, member: MemberId) -> Result<PeerServiceClient<CallChannel>, DialError> {
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.allows(self.me, member))
        {
            return Err(DialError::Cut(member));
        }
        let address = self.addresses.address(member).ok_or(DialError::UnknownMember(member))?;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&address) {
            return Ok(with_limits(channel.clone()));
        }
        let channel = lazy_channel(&address, self.call_timeout)?;
        let channel = CallChannel::new(channel, Some(self.call_timeout));
        channels.insert(address, channel.clone());
        Ok(with_limits(channel))
    }
}

/// A client of a process that has no member id yet, by its address.
pub fn client_at(address: &str, call_timeout: Duration) -> Result<PeerServiceClient<Channel>, DialError> {
    lazy_channel(address, call_timeout).map(with_limits)
}

/// A channel that connects at its first call and again after each break, resolving the name anew.
pub fn lazy_channel(address: &str, call_timeout: Duration) -> Result<Channel, DialError> {
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(|_| DialError::Address(address.to_owned()))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(call_timeout)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_lazy())
}

fn with_limits<T>(channel: T) -> PeerServiceClient<T>
where
    T: GrpcService<Body, ResponseBody = Body, Error: Into<StdError>>,
{
    PeerServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}
