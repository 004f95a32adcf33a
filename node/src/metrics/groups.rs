//! The replicas on this member: who leads, how far each is, what each takes on disk.

use std::sync::atomic::AtomicI64;

use kotoba_state::ids::{GroupId, ReplicaId};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{as_gauge, gauge};
use crate::raft::{GroupObservation, Groups};

/// A group of this member, as a label.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GroupLabel {
    group: String,
}

impl GroupLabel {
    fn of(group: GroupId) -> Self {
        GroupLabel {
            group: group.to_string(),
        }
    }
}

type PerGroup = Family<GroupLabel, Gauge<i64, AtomicI64>>;

/// A value of each replica; none where it has none.
struct Column {
    name: &'static str,
    help: &'static str,
    value: fn(&GroupObservation) -> Option<u64>,
}

const COLUMNS: [Column; 8] = [
    Column {
        name: "raft_leading",
        help: "1 where the replica here leads its group",
        value: |seen| Some(u64::from(leads(seen))),
    },
    Column {
        name: "raft_term",
        help: "Term of the group, as its replica here knows it",
        value: |seen| Some(seen.term),
    },
    Column {
        name: "raft_last_log_index",
        help: "Index of the last entry in the log here",
        value: |seen| Some(seen.last_log_index),
    },
    Column {
        name: "raft_applied_index",
        help: "Index of the last entry applied here",
        value: |seen| Some(seen.applied),
    },
    Column {
        name: "raft_durable_applied_index",
        help: "Index up to which the state here survives a loss of power",
        value: |seen| Some(seen.durable_applied),
    },
    Column {
        name: "raft_follower_lag_entries",
        help: "Entries that the slowest voter is behind; of leaders only",
        value: |seen| leads(seen).then(|| lag(seen, |replica| votes(seen, replica))),
    },
    Column {
        name: "raft_follower_silence_seconds",
        help: "Since when the most silent voter was not heard from; of leaders only",
        value: |seen| leads(seen).then(|| silence_s(seen)),
    },
    Column {
        name: "replica_stopped",
        help: "1 where the replica here has stopped: its disk failed, or it is damaged",
        value: |seen| Some(u64::from(seen.stopped.is_some())),
    },
];

pub(super) fn register(registry: &mut Registry, groups: &Groups) {
    let seen: Vec<GroupObservation> = groups.list().iter().map(|group| group.observe()).collect();
    for Column { name, help, value } in COLUMNS {
        let values = seen.iter().map(|seen| (seen.group, value(seen)));
        per_group(registry, name, help, values);
    }
    lags(registry, &seen);
    sizes(registry, groups);
}

fn per_group(registry: &mut Registry, name: &str, help: &str, values: impl Iterator<Item = (GroupId, Option<u64>)>) {
    let family = PerGroup::default();
    for (group, value) in values {
        if let Some(value) = value {
            family.get_or_create(&GroupLabel::of(group)).set(as_gauge(value));
        }
    }
    registry.register(name, help, family);
}

/// Of the partitions that are led here; the new replicas of moves are the only learners they have.
fn lags(registry: &mut Registry, seen: &[GroupObservation]) {
    let led = || seen.iter().filter(|seen| leads(seen) && seen.group != GroupId::Meta);
    let voters = led().map(|seen| lag(seen, |replica| votes(seen, replica))).max();
    gauge(
        registry,
        "replication_lag_entries",
        "Entries that the slowest voter of any partition led here is behind",
        as_gauge(voters.unwrap_or(0)),
    );
    let learners = led()
        .map(|seen| lag(seen, |replica| seen.learners.contains(&replica)))
        .max();
    gauge(
        registry,
        "move_lag_entries",
        "Entries that the slowest new replica of any partition led here is behind",
        as_gauge(learners.unwrap_or(0)),
    );
}

fn sizes(registry: &mut Registry, groups: &Groups) {
    let sizes = groups.disk_usage();
    gauge(
        registry,
        "raft_log_file_bytes",
        "Size of the log that all groups here share",
        as_gauge(sizes.log_bytes),
    );
    let states = sizes.state_bytes.into_iter().map(|(group, bytes)| (group, Some(bytes)));
    per_group(
        registry,
        "state_file_bytes",
        "Size of the state of the replica here",
        states,
    );
}

fn leads(seen: &GroupObservation) -> bool {
    seen.leader == Some(seen.replica)
}

fn votes(seen: &GroupObservation, replica: ReplicaId) -> bool {
    seen.voters.iter().any(|voters| voters.contains(&replica))
}

fn lag(seen: &GroupObservation, is_counted: impl Fn(ReplicaId) -> bool) -> u64 {
    let counted = seen.progress.iter().filter(|(replica, _)| is_counted(**replica));
    let matched = counted.map(|(_, progress)| progress.matched_index.unwrap_or(0)).min();
    matched.map_or(0, |matched| seen.last_log_index.saturating_sub(matched))
}

fn silence_s(seen: &GroupObservation) -> u64 {
    let voters = seen.progress.iter().filter(|(replica, _)| votes(seen, **replica));
    // Not heard from in this term: for as long as this leader leads.
    let silence = voters.map(|(_, progress)| progress.silent_ms.or(seen.leading_ms).unwrap_or(0));
    silence.max().unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::ReplicaProgress;

    fn seen() -> GroupObservation {
        let progress = |matched_index, silent_ms| ReplicaProgress {
            matched_index,
            silent_ms,
        };
        GroupObservation {
            group: GroupId::Meta,
            replica: ReplicaId(1),
            leader: Some(ReplicaId(1)),
            term: 2,
            leading_ms: Some(9_000),
            last_log_index: 100,
            applied: 100,
            durable_applied: 90,
            purged_index: 0,
            voters: vec![[1, 2, 3].map(ReplicaId).into()],
            learners: [ReplicaId(4)].into(),
            members: Default::default(),
            membership_log_id: String::new(),
            membership_committed: true,
            progress: [
                (ReplicaId(2), progress(Some(98), Some(10))),
                (ReplicaId(3), progress(Some(70), Some(5_500))),
                (ReplicaId(4), progress(Some(5), Some(0))),
            ]
            .into(),
            stopped: None,
        }
    }

    fn value(name: &str, seen: &GroupObservation) -> Option<u64> {
        let column = COLUMNS.iter().find(|column| column.name == name).unwrap();
        (column.value)(seen)
    }

    #[test]
    fn a_new_replica_that_catches_up_is_no_lag_of_its_group() {
        assert_eq!(value("raft_follower_lag_entries", &seen()), Some(30));
        assert_eq!(lag(&seen(), |replica| seen().learners.contains(&replica)), 95);
    }

    #[test]
    fn a_voter_that_was_never_heard_is_silent_since_its_leader_leads() {
        assert_eq!(value("raft_follower_silence_seconds", &seen()), Some(5));
        let mut unheard = seen();
        unheard.progress.insert(ReplicaId(2), ReplicaProgress::default());
        assert_eq!(value("raft_follower_silence_seconds", &unheard), Some(9));
        assert_eq!(value("raft_follower_lag_entries", &unheard), Some(100));
    }

    #[test]
    fn only_a_leader_tells_of_others() {
        let follower = GroupObservation {
            leader: Some(ReplicaId(2)),
            ..seen()
        };
        assert_eq!(value("raft_leading", &follower), Some(0));
        assert_eq!(value("raft_follower_lag_entries", &follower), None);
    }
}
