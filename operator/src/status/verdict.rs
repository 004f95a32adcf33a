//! An answer on its way to a condition: status, reason and message, before it has a time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::crd::{ConditionStatus, ConditionType};

/// One answer, before it becomes a condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) status: ConditionStatus,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn new(status: ConditionStatus, reason: &'static str, message: impl Into<String>) -> Self {
        Verdict {
            status,
            reason,
            message: message.into(),
        }
    }

    pub(super) fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::True, reason, message)
    }

    pub(super) fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::False, reason, message)
    }

    pub(super) fn unknown(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(ConditionStatus::Unknown, reason, message)
    }

    pub(super) fn not_initialized() -> Self {
        Self::unknown("NotInitialized", "the database is not founded yet")
    }

    pub(super) fn unreachable() -> Self {
        Self::unknown("Unreachable", "the database did not answer")
    }

    pub(super) fn into_condition(self, type_: ConditionType, generation: i64) -> Condition {
        Condition {
            type_: type_.as_str().to_owned(),
            status: self.status.as_str().to_owned(),
            reason: self.reason.to_owned(),
            message: self.message,
            observed_generation: Some(generation),
            // Replaced by `set_conditions`, which knows what was there before.
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }
}
