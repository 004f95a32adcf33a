//! The members a client knows by address: which one to ask next, and the connection to each.
//!
//! A connection is made at the first call and made anew by tonic whenever it broke; nothing here waits or retries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tonic::transport::Endpoint;

use super::routes::{Routed, Routes};

use crate::calls::CallChannel;
use crate::v1::cluster_service_client::ClusterServiceClient;
use crate::{ClusterError, MAX_MESSAGE_BYTES};

/// Longer than any healthy network needs for a TCP handshake, short against the default deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A peer that died without a word is noticed after two of these: interval, then no answer to the ping.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long an address that refused a connection is passed over while another one may be asked.
const PASS_OVER: Duration = Duration::from_secs(1);
/// Leaders that were named in redirects and are not in the list; a cluster has tens of members, so this is ample.
const MAX_REDIRECTS: usize = 64;

/// The client of one member's `ClusterService`.
pub(crate) type Client = ClusterServiceClient<Routed>;

/// Connection settings for one `HOST:PORT`, the same for every client of ours.
pub fn endpoint(address: &str) -> Result<Endpoint, ClusterError> {
    let wrong = || ClusterError::Address {
        address: address.to_owned(),
    };
    let bare = address.strip_prefix("http://").unwrap_or(address);
    let (host, port) = bare.rsplit_once(':').ok_or_else(wrong)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    let endpoint = Endpoint::from_shared(format!("http://{bare}")).map_err(|_| wrong())?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true))
}

/// One address and the connection to it.
pub(crate) struct Member {
    pub address: String,
    endpoint: Endpoint,
    channel: OnceLock<CallChannel>,
    pass_over_until: Mutex<Option<Instant>>,
}

impl Member {
    fn new(address: &str) -> Result<Self, ClusterError> {
        Ok(Member {
            address: address.to_owned(),
            endpoint: endpoint(address)?,
            channel: OnceLock::new(),
            pass_over_until: Mutex::new(None),
        })
    }

    /// Must be called inside a tokio runtime: the first call spawns the connection's task.
    fn client(&self, slot: Option<u16>, routes: &Arc<Routes>) -> Client {
        let connect = || CallChannel::new(self.endpoint.connect_lazy(), None);
        let channel = self.channel.get_or_init(connect);
        let routed = Routed {
            channel: channel.clone(),
            slot,
            routes: Arc::clone(routes),
        };
        ClusterServiceClient::new(routed)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Notes that no connection could be made, so that the next calls try other addresses first.
    pub(crate) fn refused_connection(&self, now: Instant) {
        let mut until = self.pass_over_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(now + PASS_OVER);
    }

    fn is_passed_over(&self, now: Instant) -> bool {
        let until = self.pass_over_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until)
    }
}

/// The addresses as the user gave them, asked in turn, and the leaders learnt from redirects.
pub(crate) struct Addresses {
    /// Invariant: not empty.
    members: Vec<Arc<Member>>,
    turn: AtomicUsize,
    redirects: Mutex<BTreeMap<String, Arc<Member>>>,
    routes: Arc<Routes>,
}

impl Addresses {
    /// Parses `host:port,host2:port`.
    pub(crate) fn parse(list: &str) -> Result<Self, ClusterError> {
        let addresses = list.split(',').map(str::trim).filter(|part| !part.is_empty());
        let members = addresses
            .map(|address| Member::new(address).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        if members.is_empty() {
            return Err(ClusterError::Address {
                address: list.to_owned(),
            });
        }
        Ok(Addresses {
            members,
            turn: AtomicUsize::new(0),
            redirects: Mutex::default(),
            routes: Arc::default(),
        })
    }

    /// The member that leads a slot, where that is known and it is one of those that the user named: others may be out of reach.
    pub(crate) fn leader(&self, slot: u16, now: Instant) -> Option<Arc<Member>> {
        let address = self.routes.of(slot)?;
        let leader = self.members.iter().find(|member| member.address == address)?;
        (!leader.is_passed_over(now)).then(|| Arc::clone(leader))
    }

    /// A client of a member, for a request about a slot.
    pub(crate) fn client(&self, member: &Member, slot: Option<u16>) -> Client {
        member.client(slot, &self.routes)
    }

    /// Notes that a member did not answer: what it led is looked for again.
    pub(crate) fn silent(&self, member: &Member) {
        self.routes.forget(&member.address);
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The next member in turn, one that refused a connection just now only if all did.
    pub(crate) fn next(&self, now: Instant) -> Arc<Member> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..self.members.len()).map(|i| start.wrapping_add(i) % self.members.len());
        let chosen = in_turn
            .clone()
            .find(|index| !self.members[*index].is_passed_over(now))
            .unwrap_or(start % self.members.len());
        Arc::clone(&self.members[chosen])
    }

    /// The member at the address that a redirect named; `None` if that is no address.
    pub(crate) fn redirect(&self, address: &str) -> Option<Arc<Member>> {
        if let Some(known) = self.members.iter().find(|member| member.address == address) {
            return Some(Arc::clone(known));
        }
        let mut redirects = self.redirects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = redirects.get(address) {
            return Some(Arc::clone(known));
        }
        if redirects.len() >= MAX_REDIRECTS {
            redirects.clear();
        }
        let member = Arc::new(Member::new(address).ok()?);
        redirects.insert(address.to_owned(), Arc::clone(&member));
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_asked_in_turn() {
        let addresses = Addresses::parse("a:1, b:2 ,c:3,").unwrap();
        let asked: Vec<_> = (0..4).map(|_| addresses.next(Instant::now()).address.clone()).collect();
        assert_eq!(asked, ["a:1", "b:2", "c:3", "a:1"]);
    }

    #[test]
    fn an_address_that_refused_is_passed_over_for_a_while() {
        let addresses = Addresses::parse("a:1,b:2").unwrap();
        let now = Instant::now();
        addresses.next(now).refused_connection(now);
        let asked: Vec<_> = (0..3).map(|_| addresses.next(now).address.clone()).collect();
        assert_eq!(asked, ["b:2", "b:2", "b:2"]);
        assert_eq!(addresses.next(now + PASS_OVER).address, "a:1");
    }

    #[test]
    fn a_lone_address_is_asked_even_if_it_refused() {
        let addresses = Addresses::parse("[::1]:7700").unwrap();
        let now = Instant::now();
        addresses.next(now).refused_connection(now);
        assert_eq!(addresses.next(now).address, "[::1]:7700");
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for wrong in ["", ",", "localhost", "localhost:", ":7700", "a:70000", "a b:1"] {
            assert!(Addresses::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn redirects_are_remembered_up_to_a_bound() {
        let addresses = Addresses::parse("a:1").unwrap();
        assert!(Arc::ptr_eq(&addresses.redirect("a:1").unwrap(), &addresses.members[0]));
        let first = addresses.redirect("b:1").unwrap();
        assert!(Arc::ptr_eq(&first, &addresses.redirect("b:1").unwrap()));
        for port in 0..1000 {
            addresses.redirect(&format!("c:{port}")).unwrap();
        }
        assert!(addresses.redirects.lock().unwrap().len() <= MAX_REDIRECTS);
        assert!(addresses.redirect("nonsense").is_none());
    }
}
