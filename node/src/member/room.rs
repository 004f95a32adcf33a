//! A member that runs short of room on its disk: which writes are refused, and who leads in its stead.
//!
//! `space` says how much room there is here, the meta group's leader who else is short. What follows from that is decided in
//! [`judge`], on sets alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kotoba_state::ids::{MemberId, PartitionId, ReplicaId};
use kotoba_state::meta::ReplicaRole;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::hand_over::successors;
use super::running::Running;
use crate::catalogue::local::LocalCatalogue;
use crate::raft::{Group, GroupObservation};
use crate::space::{Mib, Reading, ShortMembers, Space};
use crate::transaction::{Admission, Failure};

/// Decides for the partitions that are led here.
pub struct DiskAdmission {
    pub me: MemberId,
    pub space: Arc<Space>,
    pub short: Arc<ShortMembers>,
    pub catalogue: LocalCatalogue,
}

impl Admission for DiskAdmission {
    fn admit(&self, partition: PartitionId) -> Result<(), Failure> {
        let mine = self.space.reading();
        let short = self.short.with(self.me, mine);
        if short.is_empty() {
            return Ok(());
        }
        match judge(self.me, &voters(&self.catalogue, partition), &short) {
            Verdict::Write => Ok(()),
            Verdict::LeaderMoves => Err(Failure::Busy(format!(
                "the disk of member {} is full, and the partition's leader moves to another member",
                self.me
            ))),
            Verdict::Full(full) => Err(Failure::DiskFull(told(&full, self.me, mine))),
        }
    }
}

/// What becomes of a write.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Write,
    /// Enough of the others have room: one of them is about to lead.
    LeaderMoves,
    /// Too few have room for a majority: these have none.
    Full(BTreeSet<MemberId>),
}

fn judge(me: MemberId, voters: &BTreeSet<MemberId>, short: &BTreeSet<MemberId>) -> Verdict {
    let roomy = voters.difference(short).count();
    let has_majority = roomy > voters.len() / 2;
    if !has_majority {
        return Verdict::Full(
            voters
                .intersection(short)
                .copied()
                .chain(short.get(&me).copied())
                .collect(),
        );
    }
    match short.contains(&me) {
        true => Verdict::LeaderMoves,
        false => Verdict::Write,
    }
}

fn voters(catalogue: &LocalCatalogue, partition: PartitionId) -> BTreeSet<MemberId> {
    let catalogue = catalogue.get();
    let replicas = catalogue
        .partitions
        .get(&partition)
        .into_iter()
        .flat_map(|row| row.replicas.values());
    let voters = replicas.filter(|replica| match replica.role {
        ReplicaRole::Voter => true,
        ReplicaRole::Learner | ReplicaRole::Retiring => false,
    });
    voters.map(|replica| replica.member).collect()
}

fn told(full: &BTreeSet<MemberId>, me: MemberId, mine: Reading) -> String {
    let names: Vec<String> = full.iter().map(ToString::to_string).collect();
    let (whose, what) = match names.as_slice() {
        [one] => (format!("the disk of member {one} is full"), "this disk"),
        _ => (
            format!("the disks of members {} are full", names.join(", ")),
            "these disks",
        ),
    };
    let here = match full.contains(&me) {
        true => format!(
            " (member {me} has {} left and keeps {} in reserve)",
            Mib(mine.available_bytes),
            Mib(mine.reserve_bytes)
        ),
        false => String::new(),
    };
    format!(
        "{whose}{here}: the write was not applied; make room on {what} or enlarge them, then writes go on by themselves"
    )
}

/// Looks at the disk until cancelled; while it is short, hands over what is led here.
pub async fn watch(running: Arc<Running>, space: Arc<Space>, interval: Duration, cancel: CancellationToken) {
    while cancel.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        let (looking, groups) = (space.clone(), running.groups.clone());
        let look = move || looking.look(groups.unwritten_bytes());
        let Ok(reading) = tokio::task::spawn_blocking(look).await else {
            return;
        };
        if reading.is_short() {
            hand_over(&running, &running.short.with(running.me, reading)).await;
        }
    }
}

async fn hand_over(running: &Running, short: &BTreeSet<MemberId>) {
    let groups = running.groups.list().into_iter();
    for group in groups.filter(|group| group.leadership().leading) {
        if let Some(successor) = roomy_successor(&group, short) {
            // Whether it worked is seen at the next look.
            let transferred = group.transfer_leader(successor).await;
            info!(group = %group.observe().group, to = %successor, ?transferred, "a leader moves away from a full disk");
        }
    }
}

/// As for a planned end, among the members that have room.
fn roomy_successor(group: &Group, short: &BTreeSet<MemberId>) -> Option<ReplicaId> {
    let seen: GroupObservation = group.observe();
    let has_room = |replica: &ReplicaId| seen.members.get(replica).is_some_and(|member| !short.contains(member));
    successors(&seen).into_iter().rfind(has_room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &[u64]) -> BTreeSet<MemberId> {
        members.iter().copied().map(MemberId).collect()
    }

    fn verdict(me: u64, voters: &[u64], short: &[u64]) -> Verdict {
        judge(MemberId(me), &set(voters), &set(short))
    }

    #[test]
    fn a_partition_takes_writes_while_a_majority_of_its_voters_has_room() {
        assert_eq!(verdict(1, &[1, 2, 3], &[]), Verdict::Write);
        assert_eq!(verdict(1, &[1, 2, 3], &[3]), Verdict::Write);
        assert_eq!(verdict(1, &[1, 2, 3], &[2, 3]), Verdict::Full(set(&[2, 3])));
        assert_eq!(verdict(1, &[1, 2, 3], &[4, 5]), Verdict::Write);
        assert_eq!(verdict(1, &[1], &[1]), Verdict::Full(set(&[1])));
    }

    #[test]
    fn a_leader_without_room_gives_way_where_the_others_have_it() {
        assert_eq!(verdict(1, &[1, 2, 3], &[1]), Verdict::LeaderMoves);
        assert_eq!(verdict(1, &[1, 2, 3], &[1, 2]), Verdict::Full(set(&[1, 2])));
        // Of two voters both are the majority.
        assert_eq!(verdict(1, &[1, 2], &[1]), Verdict::Full(set(&[1])));
    }

    #[test]
    fn the_refusal_names_the_members_and_says_what_to_do() {
        let mine = Reading {
            available_bytes: 12 << 20,
            total_bytes: 4096 << 20,
            reserve_bytes: 64 << 20,
            level: crate::space::Level::Low,
        };
        let text = told(&set(&[1]), MemberId(1), mine);
        assert!(
            text.contains("member 1 is full (member 1 has 12 MiB left and keeps 64 MiB"),
            "{text}"
        );
        let text = told(&set(&[2, 3]), MemberId(1), mine);
        assert!(text.starts_with("the disks of members 2, 3 are full:"), "{text}");
    }
}
