//! What a pod is made from, as far as the author of a cluster decides it.
//!
//! It stands as text on the pod template, and so on every pod. A pod is outdated when its recipe is not that of the
//! template, and never because the template was written otherwise: another version of the operator may build other pods,
//! and they come as pods are made anew. A change of ours that must reach pods that run is a new `TEMPLATE`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::crd::{Config, PullPolicy, Topology};
use crate::validate::{ValidatedCluster, quantity_bytes};

/// Raised to have every pod of every cluster made anew after an upgrade of the operator: only where a pod of the older
/// template would be wrong, and with a word in the release notes.
const TEMPLATE: u32 = 1;

/// Everything in a spec that only another pod, or a change in place, can follow.
///
/// A field that is new gets the default of the spec, so that pods that were made without it are not outdated.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recipe {
    pub template: u32,
    pub image: String,
    pub image_pull_policy: PullPolicy,
    pub topology: Topology,
    pub restart: Option<String>,
    pub config: Config,
    pub compute: Compute,
}

/// CPU, memory and what else is counted, as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Compute {
    pub requests: BTreeMap<String, String>,
    pub limits: BTreeMap<String, String>,
}

impl Recipe {
    /// The recipe of a cluster's pods; `image` is the one that they get, which the spec need not name.
    pub fn of(cluster: &ValidatedCluster, image: &str) -> Self {
        Recipe {
            template: TEMPLATE,
            image: image.to_owned(),
            image_pull_policy: cluster.image_pull_policy,
            topology: cluster.topology.clone(),
            restart: cluster.restart.clone(),
            config: cluster.config.clone(),
            compute: cluster.compute.clone(),
        }
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("text, numbers and maps of text are JSON")
    }

    /// None where nobody can tell any more what the pod was made from.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether nothing but CPU and memory differs, which a running pod may be given.
    pub fn differs_only_in_compute(&self, other: &Recipe) -> bool {
        let like_the_other = Recipe {
            compute: other.compute.clone(),
            ..self.clone()
        };
        like_the_other == *other
    }
}

impl Compute {
    /// Has everything that is wanted; what an admission plugin put on top is no difference.
    pub fn holds(&self, wanted: &Compute) -> bool {
        let holds = |has: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
            let mut wanted = wanted.iter();
            wanted.all(|(name, amount)| has.get(name).is_some_and(|has| is_same(has, amount)))
        };
        holds(&self.requests, &wanted.requests) && holds(&self.limits, &wanted.limits)
    }

    /// Whether a running container may be asked to change to this: only CPU and memory can, nothing can be taken away,
    /// and a memory limit that sinks may stop the process that it is for. Whether it really can, Kubernetes says.
    pub fn may_become(&self, wanted: &Compute) -> bool {
        let may = |from: &BTreeMap<String, String>, to: &BTreeMap<String, String>| {
            let same = |name: &String| match (from.get(name), to.get(name)) {
                (Some(from), Some(to)) => is_same(from, to),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            let mut names = from.keys().chain(to.keys());
            let only_these = names.all(|name| matches!(name.as_str(), "cpu" | "memory") || same(name));
            only_these && from.keys().all(|name| to.contains_key(name))
        };
        let sinks = match (self.limits.get("memory"), wanted.limits.get("memory")) {
            (Some(from), Some(to)) => quantity_bytes(to) < quantity_bytes(from),
            (None, Some(_) | None) | (Some(_), None) => false,
        };
        may(&self.requests, &wanted.requests) && may(&self.limits, &wanted.limits) && !sinks
    }
}

fn is_same(one: &str, other: &str) -> bool {
    one == other || (quantity_bytes(one).is_some() && quantity_bytes(one) == quantity_bytes(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Compute {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned()))
                .collect()
        };
        Compute {
            requests: map(requests),
            limits: map(limits),
        }
    }

    #[test]
    fn a_recipe_is_read_back_as_it_was_written() {
        let recipe = Recipe {
            image: "kotoba:1".into(),
            compute: compute(&[("cpu", "100m")], &[]),
            ..Recipe::default()
        };
        assert_eq!(Recipe::from_text(&recipe.to_text()), Some(recipe));
        assert_eq!(Recipe::from_text("kotoba:1"), None);
    }

    /// So an operator that knows more, or less, than the one that made a pod does not restart it.
    #[test]
    fn a_field_that_a_pod_was_made_without_has_its_default_and_one_that_is_unknown_is_passed_over() {
        let older = Recipe::from_text(r#"{"template":1,"image":"kotoba:1","colour":"red"}"#).unwrap();
        let newer = Recipe {
            template: 1,
            image: "kotoba:1".into(),
            ..Recipe::default()
        };
        assert_eq!(older, newer);
    }

    #[test]
    fn the_same_amount_in_another_unit_is_no_difference() {
        let has = compute(&[("cpu", "1"), ("memory", "1Gi")], &[("memory", "2Gi")]);
        assert!(has.holds(&compute(&[("cpu", "1000m"), ("memory", "1024Mi")], &[])));
        assert!(!has.holds(&compute(&[("cpu", "2")], &[])));
        assert!(!has.holds(&compute(&[], &[("cpu", "2")])));
    }

    #[test]
    fn only_cpu_and_memory_that_do_not_vanish_change_in_place() {
        let from = compute(&[("cpu", "1"), ("hugepages-2Mi", "64Mi")], &[("memory", "1Gi")]);
        let mut to = from.clone();
        to.requests.insert("cpu".into(), "2".into());
        to.limits.insert("memory".into(), "2Gi".into());
        assert!(from.may_become(&to));
        let mut pages = to.clone();
        pages.requests.insert("hugepages-2Mi".into(), "128Mi".into());
        assert!(!from.may_become(&pages), "huge pages");
        let mut sinking = to.clone();
        sinking.limits.insert("memory".into(), "512Mi".into());
        assert!(!from.may_become(&sinking), "a memory limit that sinks");
        to.requests.remove("cpu");
        assert!(!from.may_become(&to), "a request that goes");
    }
}
