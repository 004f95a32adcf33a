//! Where the members are: as the catalogue says, and before it is here, as the identity record says.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use kotoba_state::ids::MemberId;

use super::identity::PeerAddress;
use crate::catalogue::local::LocalCatalogue;
use crate::raft::PeerAddresses;

/// The addresses of all members known here.
#[derive(Clone, Default)]
pub struct AddressBook {
    first: Arc<RwLock<BTreeMap<MemberId, String>>>,
    catalogue: Arc<OnceLock<LocalCatalogue>>,
}

impl AddressBook {
    /// Starts from the identity record.
    pub fn new(peers: &[PeerAddress]) -> Self {
        let first = peers.iter().map(|peer| (peer.member, peer.address.clone())).collect();
        AddressBook {
            first: Arc::new(RwLock::new(first)),
            catalogue: Arc::default(),
        }
    }

    /// From here on the catalogue is asked first.
    pub fn follow(&self, catalogue: LocalCatalogue) {
        let _ = self.catalogue.set(catalogue);
    }
}

impl PeerAddresses for AddressBook {
    fn address(&self, member: MemberId) -> Option<String> {
        let known = self.catalogue.get().and_then(|catalogue| {
            let catalogue = catalogue.get();
            catalogue.members.get(&member).map(|row| row.peer_address.clone())
        });
        known.or_else(|| {
            let first = self.first.read().unwrap_or_else(PoisonError::into_inner);
            first.get(&member).cloned()
        })
    }
}
