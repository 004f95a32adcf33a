//! Whether this member serves clients, and if not, what is missing.

use std::time::{Duration, Instant};

use kotoba_state::meta::MemberState;

use super::Process;
use super::running::Running;

impl Process {
    /// `Ok` when clients are served; else what is missing, in one line.
    pub fn ready(&self) -> Result<(), String> {
        let running = self.running().ok_or_else(|| self.why_not_running())?;
        running.ready()
    }
}

impl Running {
    /// As [`Process::ready`].
    pub fn ready(&self) -> Result<(), String> {
        if self.gateway().is_none() {
            return Err("waiting for a leader of the meta group".to_owned());
        }
        let catalogue = self.catalogue.get();
        let member = catalogue.members.get(&self.me).ok_or("waiting for the catalogue")?;
        match member.state {
            MemberState::Active | MemberState::Draining => {}
            MemberState::Joining => return Err("joining: catching up with the meta group".to_owned()),
            MemberState::Removed => return Err("this member was removed from the cluster".to_owned()),
        }
        let here = |partition: &&kotoba_state::meta::Partition| catalogue.replica_on(partition.id, self.me).is_some();
        let missing = catalogue
            .partitions
            .values()
            .filter(here)
            .filter(|partition| self.partitions.get(partition.id).is_none());
        match missing.count() {
            0 => Ok(()),
            count => Err(format!("{count} local replicas are still being opened")),
        }
    }

    /// Waits until every local replica has applied what it may have served before.
    pub(super) async fn recover(&self, within: Duration) {
        let deadline = Instant::now() + within;
        for group in self.groups.list() {
            let _ = group.wait_for_recovery(deadline).await;
        }
    }
}
