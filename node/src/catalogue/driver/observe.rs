//! One look at all members: what each knows first-hand of its replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use kotoba_proto::v1::{ObserveReplicasRequest, ObserveReplicasResponse, ObservedReplica};
use kotoba_state::ids::{GroupId, MemberId, PartitionId, ReplicaId};
use kotoba_state::meta::driver::{LeaderView, NotedDigests, Observed};
use kotoba_state::meta::{Catalogue, MemberState};
use kotoba_state::partition::NotedDigest;

use crate::peer::clients::PeerClients;
use crate::raft::{Group, GroupObservation, ReplicaProgress};

/// A member that has not answered by then is left out of this pass.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What was seen in one pass.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The answers, by member; those that are silent are missing.
    pub members: BTreeMap<MemberId, ObserveReplicasResponse>,
    /// What each partition's leader says of its group.
    pub partitions: Observed,
    /// What this member, the leader of the meta group, says of that.
    pub meta: GroupObservation,
}

impl Observation {
    /// What the replicas of each partition noted last of their states.
    pub fn noted_digests(&self) -> NotedDigests {
        let mut digests = NotedDigests::new();
        for replica in self.members.values().flat_map(|answer| &answer.replicas) {
            let partition = match GroupId::from_number(replica.group) {
                Some(GroupId::Partition(partition)) => partition,
                Some(GroupId::Meta) | None => continue,
            };
            let Some(noted) = &replica.noted_digest else { continue };
            let Ok(digest) = noted.digest[..].try_into() else {
                continue;
            };
            let noted = NotedDigest {
                index: noted.index,
                digest,
            };
            let replicas = digests.entry(partition).or_default();
            replicas.insert(ReplicaId(replica.replica_id), noted);
        }
        digests
    }

    /// The time of day in the cluster: the median of all clocks, the lower one of two. One clock that is hours off, or jumps,
    /// neither ages what is recorded nor keeps it young.
    pub fn now_ms(&self) -> u64 {
        median(self.members.values().map(|answer| answer.now_ms))
    }

    /// Members whose disks are full, as they said.
    pub fn full_members(&self) -> BTreeSet<MemberId> {
        let full = self.members.iter().filter(|(_, answer)| answer.disk_full);
        full.map(|(member, _)| *member).collect()
    }

    /// The meta group in the form that the rules take.
    pub fn meta_view(&self) -> LeaderView {
        let meta = &self.meta;
        let matched = |progress: &ReplicaProgress| progress.matched_index;
        LeaderView {
            member: meta.members.get(&meta.replica).copied().unwrap_or_default(),
            replica: meta.replica,
            term: meta.term,
            led_ms: meta.leading_ms.unwrap_or(0),
            voters: meta.voters.iter().flatten().copied().collect(),
            learners: meta.learners.clone(),
            joint: meta.voters.len() > 1 || !meta.membership_committed,
            last_log_index: meta.last_log_index,
            membership_log_id: meta.membership_log_id.clone(),
            matched: meta
                .progress
                .iter()
                .filter_map(|(id, progress)| Some((*id, matched(progress)?)))
                .collect(),
            silent_ms: meta
                .progress
                .iter()
                .filter_map(|(id, progress)| Some((*id, progress.silent_ms?)))
                .collect(),
        }
    }
}

/// 0 is no time but the silence of an older version.
fn median(clocks: impl Iterator<Item = u64>) -> u64 {
    let mut clocks: Vec<u64> = clocks.filter(|now_ms| *now_ms > 0).collect();
    clocks.sort_unstable();
    clocks.get(clocks.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

/// Asks all members at once, and tells them what was learnt the last time.
pub async fn observe(
    catalogue: &Catalogue,
    meta: &Group,
    peers: &PeerClients,
    full_members: &BTreeSet<MemberId>,
) -> Observation {
    let current = catalogue
        .members
        .values()
        .filter(|member| member.state != MemberState::Removed);
    let asked = current.map(|member| ask(peers, member.id, full_members));
    let members: BTreeMap<_, _> = join_all(asked).await.into_iter().flatten().collect();
    let partitions = catalogue
        .partitions
        .keys()
        .map(|id| (*id, leader_view(*id, &members)))
        .collect();
    Observation {
        members,
        partitions,
        meta: meta.observe(),
    }
}

async fn ask(
    peers: &PeerClients,
    member: MemberId,
    full_members: &BTreeSet<MemberId>,
) -> Option<(MemberId, ObserveReplicasResponse)> {
    let request = ObserveReplicasRequest {
        envelope: peers.envelope(member),
        full_member_ids: full_members.iter().map(|member| member.0).collect(),
    };
    let mut client = peers.client(member).ok()?;
    let answer = tokio::time::timeout(ANSWER_WITHIN, client.observe_replicas(request)).await;
    Some((member, answer.ok()?.ok()?.into_inner()))
}

/// The view of the replica that leads in the highest term; a deposed leader may still believe in a lower one.
fn leader_view(partition: PartitionId, members: &BTreeMap<MemberId, ObserveReplicasResponse>) -> Option<LeaderView> {
    let group = GroupId::Partition(partition).number();
    members
        .iter()
        .flat_map(|(member, answer)| answer.replicas.iter().map(move |replica| (*member, replica)))
        .filter(|(_, replica)| replica.group == group && replica.leader_replica_id == replica.replica_id)
        .max_by_key(|(_, replica)| replica.term)
        .map(|(member, replica)| view_of(member, replica))
}

fn view_of(member: MemberId, replica: &ObservedReplica) -> LeaderView {
    let ids = |ids: &[u64]| ids.iter().map(|id| ReplicaId(*id)).collect();
    LeaderView {
        member,
        replica: ReplicaId(replica.replica_id),
        term: replica.term,
        led_ms: replica.leading_ms.unwrap_or(0),
        voters: ids(&replica.voters),
        learners: ids(&replica.learners),
        joint: replica.joint,
        last_log_index: replica.last_log_index,
        membership_log_id: replica.membership_log_id.clone(),
        matched: replica
            .progress
            .iter()
            .filter_map(|progress| Some((ReplicaId(progress.replica_id), progress.matched_index?)))
            .collect(),
        silent_ms: replica
            .progress
            .iter()
            .filter_map(|progress| Some((ReplicaId(progress.replica_id), progress.silent_ms?)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_clock_that_is_off_does_not_count() {
        let of = |clocks: &[u64]| median(clocks.iter().copied());
        assert_eq!(of(&[100, 101, 9_999_999]), 101);
        assert_eq!(of(&[100, 101, 1]), 100);
        assert_eq!(of(&[100, 9_999_999]), 100);
        assert_eq!(of(&[0, 0, 100]), 100);
        assert_eq!(of(&[]), 0);
    }
}
