//! What GetStatus must say before a step may go on: pure checks, each giving the first thing that is missing.

use std::collections::BTreeMap;

use kotoba_proto::v1::{GetStatusResponse, MemberHealth, MemberState, MemberStatus, PartitionStatus, ReplicaRole};

/// Why the cluster is not whole with this many members; `None` if it is.
pub fn not_whole(status: &GetStatusResponse, members: usize) -> Option<String> {
    let active: Vec<&MemberStatus> = active(status).collect();
    if active.len() != members {
        return Some(format!("{} of {members} members are Active", active.len()));
    }
    let silent = active.iter().find(|one| one.health() != MemberHealth::Alive);
    if let Some(member) = silent {
        return Some(format!("member {} is {:?}", member.id, member.health()));
    }
    if status.partitions.is_empty() {
        return Some("there are no partitions".into());
    }
    let wanted = replication_factor(status, members);
    status
        .partitions
        .iter()
        .find_map(|partition| partition_not_whole(partition, wanted))
}

fn partition_not_whole(partition: &PartitionStatus, wanted: usize) -> Option<String> {
    let id = partition.id;
    if partition.leader_member_id == 0 {
        return Some(format!("partition {id} has no leader"));
    }
    let voters = voters(partition).count();
    if voters != wanted {
        return Some(format!("partition {id} has {voters} of {wanted} voters"));
    }
    let in_sync = partition.voters_in_sync;
    (in_sync as usize != wanted).then(|| format!("partition {id} has {in_sync} of {wanted} voters in sync"))
}

fn replication_factor(status: &GetStatusResponse, members: usize) -> usize {
    let wanted = status
        .membership
        .as_ref()
        .map_or(0, |stats| stats.replication_factor as usize);
    wanted.min(members)
}

pub fn active(status: &GetStatusResponse) -> impl Iterator<Item = &MemberStatus> {
    status
        .members
        .iter()
        .filter(|member| member.state() == MemberState::Active)
}

/// Members that hold a voter of the partition.
pub fn voters(partition: &PartitionStatus) -> impl Iterator<Item = u64> {
    partition
        .replicas
        .iter()
        .filter(|replica| replica.role() == ReplicaRole::Voter)
        .map(|replica| replica.member_id)
}

/// Member id and disk id by the host part of the peer address, which starts with the pod's name.
pub fn identities(status: &GetStatusResponse) -> BTreeMap<String, (u64, String)> {
    active(status)
        .map(|member| (pod_of(member), (member.id, member.disk_id.clone())))
        .collect()
}

/// The pod that runs a member.
pub fn pod_of(member: &MemberStatus) -> String {
    let end = member
        .peer_address
        .find(['.', ':'])
        .unwrap_or(member.peer_address.len());
    member.peer_address[..end].to_owned()
}

/// One line for progress.
pub fn summary(status: &GetStatusResponse) -> String {
    let leaderless = status
        .partitions
        .iter()
        .filter(|partition| partition.leader_member_id == 0)
        .count();
    let rebalance = status.rebalance.clone().unwrap_or_default();
    format!(
        "{} members Active, {} partitions ({leaderless} without leader), {} moves open, {} finished, balanced {}",
        active(status).count(),
        status.partitions.len(),
        rebalance.moves_open,
        rebalance.moves_finished,
        rebalance.balanced
    )
}

#[cfg(test)]
pub mod examples {
    use super::*;
    use kotoba_proto::v1::{ClusterStats, ReplicaStatus};

    /// A cluster whose members are in these zones and whose partitions have voters on these members (from 1).
    pub fn cluster(zones: &[&str], placement: &[&[u64]]) -> GetStatusResponse {
        GetStatusResponse {
            membership: Some(ClusterStats {
                replication_factor: 3,
                ..ClusterStats::default()
            }),
            members: (1..).zip(zones).map(|(id, zone)| member(id, zone)).collect(),
            partitions: (0..).zip(placement).map(|(id, voters)| partition(id, voters)).collect(),
            ..GetStatusResponse::default()
        }
    }

    fn member(id: u64, zone: &str) -> MemberStatus {
        MemberStatus {
            id,
            zone: zone.to_owned(),
            peer_address: format!("g-{}.g-peers.ns.svc:7600", id - 1),
            disk_id: format!("disk-{id}"),
            state: MemberState::Active.into(),
            health: MemberHealth::Alive.into(),
            ..MemberStatus::default()
        }
    }

    fn partition(id: u32, voters: &[u64]) -> PartitionStatus {
        PartitionStatus {
            id,
            leader_member_id: voters[0],
            voters_in_sync: u32::try_from(voters.len()).unwrap(),
            replicas: voters
                .iter()
                .map(|member| ReplicaStatus {
                    member_id: *member,
                    role: ReplicaRole::Voter.into(),
                    ..ReplicaStatus::default()
                })
                .collect(),
            ..PartitionStatus::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> GetStatusResponse {
        examples::cluster(&["a", "b", "c"], &[&[1, 2, 3], &[2, 3, 1]])
    }

    #[test]
    fn a_cluster_with_all_members_and_voters_is_whole() {
        assert_eq!(not_whole(&whole(), 3), None);
    }

    #[test]
    fn a_missing_member_a_leaderless_partition_and_a_lagging_voter_are_each_named() {
        assert!(not_whole(&whole(), 5).unwrap().contains("3 of 5 members"));
        let mut leaderless = whole();
        leaderless.partitions[1].leader_member_id = 0;
        assert_eq!(not_whole(&leaderless, 3).unwrap(), "partition 1 has no leader");
        let mut lagging = whole();
        lagging.partitions[0].voters_in_sync = 2;
        assert!(not_whole(&lagging, 3).unwrap().contains("2 of 3 voters in sync"));
        let mut silent = whole();
        silent.members[2].health = MemberHealth::Suspected.into();
        assert!(not_whole(&silent, 3).unwrap().contains("member 3"));
    }

    #[test]
    fn a_member_is_known_by_its_pod() {
        let identities = identities(&whole());
        assert_eq!(identities["g-1"], (2, "disk-2".to_owned()));
    }
}
