//! Links between members that a test cuts and heals.

use std::collections::BTreeSet;
use std::sync::Mutex;

use kotoba_node::raft::LinkFilter;
use kotoba_state::ids::MemberId;

/// Which directions are cut: Raft's lanes and the calls from member to member.
#[derive(Default)]
pub struct Links {
    isolated: Mutex<BTreeSet<MemberId>>,
}

impl Links {
    /// Cuts a member off from all others, both ways. Clients still reach it.
    pub fn isolate(&self, member: MemberId) {
        self.isolated.lock().unwrap().insert(member);
    }

    pub fn heal(&self) {
        self.isolated.lock().unwrap().clear();
    }
}

impl LinkFilter for Links {
    fn allows(&self, from: MemberId, to: MemberId) -> bool {
        let isolated = self.isolated.lock().unwrap();
        from == to || !(isolated.contains(&from) || isolated.contains(&to))
    }
}
