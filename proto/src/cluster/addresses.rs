//! The members a client knows by address: which one to ask next, and the connection to each.
//!
//! A connection is made at the first call and made anew by tonic whenever it broke; nothing here retries a call. An address that
//! refused a connection is passed over until somebody listens there again, which a task looks for: no call waits for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

use super::routes::{Routed, Routes};

use crate::calls::CallChannel;
use crate::v1::cluster_service_client::ClusterServiceClient;
use crate::{ClusterError, MAX_MESSAGE_BYTES};

/// May stand before an address.
const SCHEME: &str = "http://";
/// Longer than any healthy network needs for a TCP handshake, short against the default deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A peer that died without a word is noticed after two of these: interval, then no answer to the ping.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Before the first look whether somebody listens again at an address that refused a connection: a member that is restarted
/// is back after a few of these. Each pause is twice the one before it.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// Leaders that were named in redirects and are not in the list; a cluster has tens of members, so this is ample.
const MAX_REDIRECTS: usize = 64;

/// The client of one member's `ClusterService`.
pub(crate) type Client = ClusterServiceClient<Routed>;

/// Connection settings for one `HOST:PORT`, the same for every client of ours.
pub fn endpoint(address: &str) -> Result<Endpoint, ClusterError> {
    let wrong = || ClusterError::Address {
        address: address.to_owned(),
    };
    let bare = host_and_port(address);
    let (host, port) = bare.rsplit_once(':').ok_or_else(wrong)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    let endpoint = Endpoint::from_shared(format!("{SCHEME}{bare}")).map_err(|_| wrong())?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true))
}

fn host_and_port(address: &str) -> &str {
    address.strip_prefix(SCHEME).unwrap_or(address)
}

/// One address and the connection to it.
pub(crate) struct Member {
    pub address: String,
    endpoint: Endpoint,
    channel: OnceLock<CallChannel>,
    /// Nobody listened there when it was last looked; while this is set, a task looks again.
    is_passed_over: AtomicBool,
}

impl Member {
    fn new(address: &str) -> Result<Self, ClusterError> {
        Ok(Member {
            address: address.to_owned(),
            endpoint: endpoint(address)?,
            channel: OnceLock::new(),
            is_passed_over: AtomicBool::new(false),
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

    /// Notes that no connection could be made: calls ask other addresses until somebody listens at this one. Must be called inside
    /// a tokio runtime.
    pub(crate) fn refused_connection(self: &Arc<Self>) {
        if !self.is_passed_over.swap(true, Ordering::Relaxed) {
            tokio::spawn(look_until_somebody_listens(Arc::downgrade(self)));
        }
    }

    fn is_passed_over(&self) -> bool {
        self.is_passed_over.load(Ordering::Relaxed)
    }
}

/// Ends when the client is dropped, too.
async fn look_until_somebody_listens(member: Weak<Member>) {
    let mut pause = FIRST_LOOK;
    loop {
        sleep(pause).await;
        let Some(member) = member.upgrade() else {
            return;
        };
        let looked = timeout(CONNECT_TIMEOUT, TcpStream::connect(host_and_port(&member.address))).await;
        if matches!(looked, Ok(Ok(_))) {
            member.is_passed_over.store(false, Ordering::Relaxed);
            return;
        }
        pause = (pause * 2).min(LONGEST_LOOK);
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
    pub(crate) fn leader(&self, slot: u16) -> Option<Arc<Member>> {
        let address = self.routes.of(slot)?;
        let leader = self.members.iter().find(|member| member.address == address)?;
        (!leader.is_passed_over()).then(|| Arc::clone(leader))
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

    /// The next member in turn of those that neither are among `asked` nor passed over; where there is none, the next in turn.
    pub(crate) fn next(&self, asked: &[String]) -> Arc<Member> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % self.members.len();
        let (before, from) = self.members.split_at(start);
        let mut in_turn = from.iter().chain(before);
        let chosen = in_turn.find(|member| is_left(member, asked));
        Arc::clone(chosen.unwrap_or(&self.members[start]))
    }

    /// Whether there are members that neither are among `asked` nor passed over.
    pub(crate) fn others_than(&self, asked: &[String]) -> bool {
        self.members.iter().any(|member| is_left(member, asked))
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

fn is_left(member: &Member, asked: &[String]) -> bool {
    !member.is_passed_over() && !asked.contains(&member.address)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The addresses that are chosen, one after the other.
    fn chosen(addresses: &Addresses, asked: &[&str], times: usize) -> Vec<String> {
        let asked: Vec<String> = asked.iter().map(|address| (*address).to_owned()).collect();
        (0..times).map(|_| addresses.next(&asked).address.clone()).collect()
    }

    #[test]
    fn addresses_are_asked_in_turn() {
        let addresses = Addresses::parse("a:1, b:2 ,c:3,").unwrap();
        assert_eq!(chosen(&addresses, &[], 4), ["a:1", "b:2", "c:3", "a:1"]);
    }

    #[test]
    fn who_was_asked_already_comes_last() {
        let addresses = Addresses::parse("a:1,b:2,c:3").unwrap();
        assert_eq!(chosen(&addresses, &["a:1", "c:3"], 3), ["b:2", "b:2", "b:2"]);
        assert!(addresses.others_than(&["a:1".to_owned()]));
        let all = ["a:1", "b:2", "c:3"];
        assert!(!addresses.others_than(&all.map(str::to_owned)));
        assert_eq!(chosen(&addresses, &all, 3), all);
    }

    #[tokio::test]
    async fn an_address_that_refused_is_passed_over_until_somebody_listens_there() {
        // Refuses for as long as nobody listens: it is bound, so nobody else takes the port.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let addresses = Addresses::parse(&format!("{address},b:2")).unwrap();
        addresses.members[0].refused_connection();
        assert_eq!(chosen(&addresses, &[], 3), ["b:2", "b:2", "b:2"]);
        assert!(!addresses.others_than(&["b:2".to_owned()]));
        let is_back = async || {
            while addresses.members[0].is_passed_over() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let looked_in_vain = timeout(FIRST_LOOK * 4, is_back()).await;
        assert!(looked_in_vain.is_err(), "nobody listens yet");
        let _listener: TcpListener = socket.listen(8).unwrap();
        timeout(Duration::from_secs(20), is_back()).await.unwrap();
        assert!(chosen(&addresses, &[], 2).contains(&address));
    }

    #[tokio::test]
    async fn nobody_looks_for_the_members_of_a_client_that_is_gone() {
        let member = Arc::new(Member::new("127.0.0.1:1").unwrap());
        let looking = tokio::spawn(look_until_somebody_listens(Arc::downgrade(&member)));
        drop(member);
        timeout(Duration::from_secs(20), looking).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_lone_address_is_asked_even_if_it_refused() {
        let addresses = Addresses::parse("[::1]:7700").unwrap();
        addresses.members[0].refused_connection();
        assert_eq!(chosen(&addresses, &[], 1), ["[::1]:7700"]);
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
