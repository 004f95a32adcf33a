//! Links between members that a test cuts and heals.

use std::collections::BTreeSet;
use std::sync::Mutex;

use kotoba_node::raft::LinkFilter;
use kotoba_state::ids::MemberId;

/// Which directions are cut: Raft's lanes and the calls from member to member.
#[derive(Default)]
pub struct Links {
    isolated: Mutex<BTreeSet<MemberId>>,
    /// Pairs, the smaller first.
    cut: Mutex<BTreeSet<(MemberId, MemberId)>>,
}

impl Links {
    /// Cuts a member off from all others, both ways. Clients still reach it.
    pub fn isolate(&self, member: MemberId) {
        self.isolated.lock().unwrap().insert(member);
    }

    /// Cuts the link between two members, both ways.
    pub fn cut(&self, a: MemberId, b: MemberId) {
        self.cut.lock().unwrap().insert((a.min(b), a.max(b)));
    }

    pub fn heal(&self) {
        self.isolated.lock().unwrap().clear();
        self.cut.lock().unwrap().clear();
    }
}

impl LinkFilter for Links {
    fn allows(&self, from: MemberId, to: MemberId) -> bool {
        let isolated = self.isolated.lock().unwrap();
        let cut = self.cut.lock().unwrap().contains(&(from.min(to), from.max(to)));
        from == to || !(cut || isolated.contains(&from) || isolated.contains(&to))
    }
}
