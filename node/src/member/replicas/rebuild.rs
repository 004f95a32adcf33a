//! A replica whose state has diverged: found out here or by the meta leader, stopped, rebuilt, and served again.

use std::sync::Arc;

use kotoba_state::ids::{GroupId, MemberId, ReplicaId};
use kotoba_state::meta::{Answer, Command, Diverged, Evidence, Partition, ReplicaRole};
use kotoba_state::partition::PartitionMachine;
use tracing::{error, info, warn};

use super::{REPORT_TIMEOUT, ReplicaKeeper};
use crate::catalogue::client::MetaClient;

/// Tells the meta group that a replica here is not to be trusted; whether it may be stopped is decided there.
pub async fn report_diverged(meta: &MetaClient, partition: &Partition, replica: ReplicaId) {
    let report = Command::ReportDiverged {
        partition: partition.id,
        replica,
        evidence: Evidence::Scrub,
        now_ms: meta.now_ms(),
    };
    match meta.propose(&report, REPORT_TIMEOUT).await {
        Ok(Answer::Refused(reason)) => error!(reason, "a damaged replica is not known to the catalogue"),
        Ok(_) => error!(%replica, partition = %partition.id, "the replica is damaged"),
        Err(error) => warn!(%replica, %error, "a damaged replica could not be reported; the next look finds it again"),
    }
}

impl ReplicaKeeper {
    /// Replaces the state of a replica by that of its group's leader; says whether that is done.
    pub(super) async fn rebuild(&self, found: &Diverged, partition: &Partition, replica: ReplicaId) -> bool {
        let this_time = (replica, found.since_ms);
        if !self.is_rebuilt(this_time) {
            if let Some(local) = self.partitions.remove(partition.id, replica) {
                local.leader.stop();
            }
            if !self.fetch_from_leader(partition, replica).await {
                return false;
            }
            self.note_rebuilt(this_time);
        }
        let rebuilt = Command::ReportRebuilt {
            partition: partition.id,
            replica,
        };
        self.meta.propose(&rebuilt, REPORT_TIMEOUT).await.is_ok()
    }

    /// Any of the others may lead: those that do not refuse at once.
    async fn fetch_from_leader(&self, partition: &Partition, replica: ReplicaId) -> bool {
        let group = GroupId::Partition(partition.id);
        for leader in self.other_voters(partition) {
            let machine = Arc::new(PartitionMachine);
            match self.groups.rebuild_replica(group, replica, leader, machine).await {
                Ok(running) => {
                    self.serve(partition, running);
                    info!(%replica, partition = %partition.id, "a diverged replica was rebuilt");
                    return true;
                }
                Err(error) => warn!(%replica, partition = %partition.id, from = %leader, %error, "not rebuilt yet"),
            }
        }
        false
    }

    fn other_voters(&self, partition: &Partition) -> impl Iterator<Item = MemberId> {
        let voters = partition.replicas.values();
        let others = voters.filter(|placed| placed.role == ReplicaRole::Voter && placed.member != self.me);
        others.map(|placed| placed.member)
    }
}
