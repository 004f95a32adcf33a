//! How even a placement is.

use std::collections::BTreeMap;

use super::{Candidate, Placement};
use crate::ids::MemberId;

/// Replicas per member, against the ideal of equal shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionStats {
    pub replicas: BTreeMap<MemberId, u32>,
}

impl DistributionStats {
    pub(super) fn new(candidates: &[Candidate], placement: &Placement) -> Self {
        let mut replicas: BTreeMap<_, _> = candidates.iter().map(|candidate| (candidate.id, 0)).collect();
        for member in placement.0.values().flatten() {
            *replicas.entry(*member).or_default() += 1;
        }
        DistributionStats { replicas }
    }

    /// Replicas per member if all had the same.
    pub fn ideal(&self) -> f64 {
        let total: u32 = self.replicas.values().sum();
        f64::from(total) / (self.replicas.len().max(1) as f64)
    }

    /// Mean squared distance from the ideal, in replicas squared; 0 where all have the same.
    pub fn variance(&self) -> f64 {
        let ideal = self.ideal();
        let squares: f64 = self
            .replicas
            .values()
            .map(|count| (f64::from(*count) - ideal).powi(2))
            .sum();
        squares / (self.replicas.len().max(1) as f64)
    }

    pub fn most_loaded_node(&self) -> Option<MemberId> {
        self.replicas
            .iter()
            .max_by_key(|(id, count)| (**count, std::cmp::Reverse(**id)))
            .map(|(id, _)| *id)
    }

    pub fn least_loaded_node(&self) -> Option<MemberId> {
        self.replicas
            .iter()
            .min_by_key(|(id, count)| (**count, **id))
            .map(|(id, _)| *id)
    }
}
