//! The condition types, and how a list of them is kept: `lastTransitionTime` moves only with the status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// A question that the status answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    Ready,
    Available,
    Progressing,
    Degraded,
    Initialized,
    Balanced,
    QuorumAtRisk,
    MembersUpToDate,
    VolumesHealthy,
    ClusterIdConsistent,
}

impl ConditionType {
    /// All of them, in the order they are shown in.
    pub const ALL: [ConditionType; 10] = [
        ConditionType::Ready,
        ConditionType::Available,
        ConditionType::Progressing,
        ConditionType::Degraded,
        ConditionType::Initialized,
        ConditionType::Balanced,
        ConditionType::QuorumAtRisk,
        ConditionType::MembersUpToDate,
        ConditionType::VolumesHealthy,
        ConditionType::ClusterIdConsistent,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ConditionType::Ready => "Ready",
            ConditionType::Available => "Available",
            ConditionType::Progressing => "Progressing",
            ConditionType::Degraded => "Degraded",
            ConditionType::Initialized => "Initialized",
            ConditionType::Balanced => "Balanced",
            ConditionType::QuorumAtRisk => "QuorumAtRisk",
            ConditionType::MembersUpToDate => "MembersUpToDate",
            ConditionType::VolumesHealthy => "VolumesHealthy",
            ConditionType::ClusterIdConsistent => "ClusterIdConsistent",
        }
    }
}

/// Yes, no, or not observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl ConditionStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }
}

/// The status of one condition in a list; a condition that is not there is Unknown.
pub fn truth_of(conditions: &[Condition], type_: ConditionType) -> ConditionStatus {
    let found = conditions.iter().find(|condition| condition.type_ == type_.as_str());
    match found.map(|condition| condition.status.as_str()) {
        Some("True") => ConditionStatus::True,
        Some("False") => ConditionStatus::False,
        Some(_) | None => ConditionStatus::Unknown,
    }
}

/// Gives each new condition the transition time of the old one whose status it repeats, else `now`.
///
/// The new list stands for itself: a type that is only in the old list is dropped.
pub fn set_conditions(old: &[Condition], mut new: Vec<Condition>, now: &Time) -> Vec<Condition> {
    for condition in &mut new {
        let same = old
            .iter()
            .find(|before| before.type_ == condition.type_ && before.status == condition.status);
        condition.last_transition_time = same.map_or(now, |before| &before.last_transition_time).clone();
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    fn ready(status: ConditionStatus, message: &str, second: i64) -> Condition {
        Condition {
            type_: "Ready".into(),
            status: status.as_str().into(),
            reason: "AllGood".into(),
            message: message.into(),
            last_transition_time: at(second),
            observed_generation: Some(1),
        }
    }

    #[test]
    fn a_condition_that_keeps_its_status_keeps_its_transition_time() {
        let old = [ready(ConditionStatus::True, "before", 10)];
        let new = set_conditions(&old, vec![ready(ConditionStatus::True, "after", 0)], &at(20));
        assert_eq!(new[0].last_transition_time, at(10));
        assert_eq!(new[0].message, "after");
    }

    #[test]
    fn a_condition_that_changes_its_status_gets_the_present_time() {
        let old = [ready(ConditionStatus::Unknown, "before", 10)];
        let new = set_conditions(&old, vec![ready(ConditionStatus::False, "after", 0)], &at(20));
        assert_eq!(new[0].last_transition_time, at(20));
    }

    #[test]
    fn a_condition_nobody_wrote_is_unknown() {
        assert_eq!(truth_of(&[], ConditionType::Ready), ConditionStatus::Unknown);
    }
}
