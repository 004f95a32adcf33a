//! What the operator measures, for `/metrics`.

use std::sync::Mutex;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::crd::{ConditionStatus, ConditionType, KotobaClusterStatus, truth_of};
use crate::names::ClusterName;

/// Seconds of a pass: some reads of the API at best, a call that runs into its deadline at worst.
const PASS_SECONDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum PassResult {
    Done,
    StepFailed,
    Invalid,
    Conflict,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabels {
    result: PassResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    namespace: String,
    name: String,
    condition: &'static str,
}

/// The operator's metrics. Cheap to update; encoded when they are asked for.
pub struct Metrics {
    registry: Mutex<Registry>,
    passes: Family<PassLabels, Counter>,
    pass_seconds: Histogram,
    leading: Gauge,
    pass_started: Family<ClusterLabels, Gauge>,
    last_observed: Family<ClusterLabels, Gauge>,
    conditions: Family<ConditionLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Metrics {
            registry: Mutex::new(Registry::default()),
            passes: Family::default(),
            pass_seconds: Histogram::new(PASS_SECONDS),
            leading: Gauge::default(),
            pass_started: Family::default(),
            last_observed: Family::default(),
            conditions: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.registry.lock().expect("nothing panics while it holds this lock");
        registry.register(
            "kotoba_operator_passes",
            "Passes over a cluster, by result",
            self.passes.clone(),
        );
        registry.register(
            "kotoba_operator_pass_seconds",
            "How long a pass takes",
            self.pass_seconds.clone(),
        );
        registry.register(
            "kotoba_operator_leading",
            "1 in the replica that holds the lease",
            self.leading.clone(),
        );
        registry.register(
            "kotoba_operator_pass_started_timestamp_seconds",
            "When the running pass over a cluster began; 0 while none runs. Old: it is stuck",
            self.pass_started.clone(),
        );
        registry.register(
            "kotoba_cluster_last_observed_timestamp_seconds",
            "When the database of a cluster last answered the operator",
            self.last_observed.clone(),
        );
        registry.register(
            "kotoba_cluster_condition",
            "A condition of a cluster: 1 True, 0 False, -1 Unknown",
            self.conditions.clone(),
        );
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().expect("nothing panics while it holds this lock");
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    pub fn set_leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    pub fn pass_started(&self, name: &ClusterName, at_s: i64) {
        self.pass_started.get_or_create(&labels(name)).set(at_s);
    }

    pub fn pass_ended(&self, name: &ClusterName, result: PassResult, seconds: f64) {
        self.pass_started.get_or_create(&labels(name)).set(0);
        self.passes.get_or_create(&PassLabels { result }).inc();
        self.pass_seconds.observe(seconds);
    }

    pub fn set_status(&self, name: &ClusterName, status: &KotobaClusterStatus) {
        let observed = status.last_observed_time.as_ref().map_or(0, |time| time.0.as_second());
        self.last_observed.get_or_create(&labels(name)).set(observed);
        for type_ in ConditionType::ALL {
            let value = match truth_of(&status.conditions, type_) {
                ConditionStatus::True => 1,
                ConditionStatus::False => 0,
                ConditionStatus::Unknown => -1,
            };
            self.conditions.get_or_create(&condition_labels(name, type_)).set(value);
        }
    }

    /// Drops what was measured of a cluster that is gone.
    pub fn forget(&self, name: &ClusterName) {
        self.pass_started.remove(&labels(name));
        self.last_observed.remove(&labels(name));
        for type_ in ConditionType::ALL {
            self.conditions.remove(&condition_labels(name, type_));
        }
    }
}

fn labels(name: &ClusterName) -> ClusterLabels {
    ClusterLabels {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}

fn condition_labels(name: &ClusterName, type_: ConditionType) -> ConditionLabels {
    ConditionLabels {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        condition: type_.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_of_a_cluster_goes_with_it() {
        let metrics = Metrics::default();
        let name = ClusterName {
            namespace: "graphs".into(),
            name: "g".into(),
        };
        metrics.pass_ended(&name, PassResult::Done, 0.2);
        metrics.set_status(&name, &KotobaClusterStatus::default());
        let shown = r#"kotoba_cluster_condition{namespace="graphs",name="g",condition="Ready"} -1"#;
        assert!(metrics.encode().unwrap().contains(shown));
        metrics.forget(&name);
        let text = metrics.encode().unwrap();
        assert!(
            !text.contains("graphs") && text.contains(r#"passes_total{result="Done"} 1"#),
            "{text}"
        );
    }
}
