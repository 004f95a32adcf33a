//! What the database says of itself, in the words of the wire.

use kotoba_proto::v1;

use super::catalogue::{Listed, Standing, State};

const PARTITIONS: u32 = 16;

impl State {
    pub(super) fn progress(&self, id: u64) -> v1::MemberProgress {
        let status = self.member_status(id, &self.members[&id]);
        v1::MemberProgress {
            member_id: id,
            state: status.state,
            replicas: status.replicas,
            drained: status.drained,
            waiting_for: status.waiting_for,
            linearizable: self.has_majority(),
            ..v1::MemberProgress::default()
        }
    }

    pub(super) fn member_status(&self, id: u64, member: &Listed) -> v1::MemberStatus {
        let state = match member.standing {
            Standing::Joining => v1::MemberState::Joining,
            Standing::Active => v1::MemberState::Active,
            Standing::Draining { .. } => v1::MemberState::Draining,
            Standing::Removed => v1::MemberState::Removed,
        };
        let health = if self.runs(member) {
            v1::MemberHealth::Alive
        } else {
            v1::MemberHealth::Failed
        };
        let draining = matches!(member.standing, Standing::Draining { .. });
        let waiting_for = match (draining, member.replicas) {
            (false, _) => String::new(),
            (true, 0) => "it is being removed".to_owned(),
            (true, left) => format!("{left} replicas are left"),
        };
        v1::MemberStatus {
            id,
            peer_address: member.peer_address.clone(),
            disk_id: member.disk_id.clone(),
            name: member.name.clone(),
            zone: member.zone.clone(),
            state: state.into(),
            health: health.into(),
            replicas: member.replicas,
            drained: draining && member.replicas == 0,
            waiting_for,
            disk_full: member.disk_full,
            ..v1::MemberStatus::default()
        }
    }

    pub(super) fn status(&self, pod: &str) -> v1::GetStatusResponse {
        let failed = self.current().filter(|(_, member)| !self.runs(member)).count();
        let of = |bad: bool| if bad { PARTITIONS } else { 0 };
        let leader = self.current().find(|(_, member)| self.runs(member));
        v1::GetStatusResponse {
            cluster_id: self.cluster_id.clone(),
            member_id: self.disks[pod].member_id,
            leader_member_id: leader.map_or(0, |(id, _)| *id),
            linearizable: self.has_majority(),
            members: self
                .members
                .iter()
                .map(|(id, member)| self.member_status(*id, member))
                .collect(),
            membership: Some(v1::ClusterStats {
                partition_count: PARTITIONS,
                replication_factor: u32::try_from(self.replication_factor).unwrap(),
                ..v1::ClusterStats::default()
            }),
            replication: Some(v1::ReplicationHealth {
                under_replicated_partitions: of(failed > 0),
                leaderless_partitions: of(failed * 2 > self.replication_factor),
                quorum_critical_partitions: (0..of(failed > 0)).collect(),
                ..v1::ReplicationHealth::default()
            }),
            rebalance: Some(v1::RebalanceStatus {
                balanced: self.balanced(),
                moves_open: self.moves_open,
                moves_finished: self.moves_finished,
                ..v1::RebalanceStatus::default()
            }),
            ..v1::GetStatusResponse::default()
        }
    }
}
