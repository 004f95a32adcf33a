//! What no plan may ever do, whatever is observed and whatever is asked for.

mod observations;
mod rules;

use std::collections::BTreeMap;

use kotoba_operator::plan::{Step, plan};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use self::observations::{observed, spec};
use self::rules::check;

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_breaks_a_rule_of_safety(cluster in spec(), observed in observed()) {
        let plan = plan(&cluster, &observed);
        check(&plan, &cluster, &observed);
    }

    #[test]
    fn the_same_observation_gives_the_same_plan(cluster in spec(), observed in observed()) {
        prop_assert_eq!(plan(&cluster, &observed), plan(&cluster, &observed.clone()));
    }
}

/// Laws that hold because nothing ever happens would be worth nothing.
#[test]
fn the_observations_that_are_drawn_lead_to_every_step() {
    let mut runner = TestRunner::deterministic();
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..20_000 {
        let (cluster, observed) = (spec(), observed()).new_tree(&mut runner).unwrap().current();
        if let Some(step) = plan(&cluster, &observed).step {
            *taken.entry(kind(&step)).or_default() += 1;
        }
    }
    for kind in STEPS {
        assert!(taken.get(kind).is_some_and(|count| *count > 10), "{kind}: {taken:?}");
    }
}

const STEPS: [&str; 10] = [
    "Bootstrap",
    "Join",
    "Rebalance",
    "Drain",
    "CancelDrain",
    "Remove",
    "DeleteClaim",
    "DeletePod",
    "ResizePod",
    "RecreateStatefulSet",
];

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Bootstrap(_) => "Bootstrap",
        Step::Join(_) => "Join",
        Step::Rebalance { .. } => "Rebalance",
        Step::Drain(_) => "Drain",
        Step::CancelDrain(_) => "CancelDrain",
        Step::Remove(_) => "Remove",
        Step::DeleteClaim(_) => "DeleteClaim",
        Step::DeletePod(_) => "DeletePod",
        Step::ResizePod(_) => "ResizePod",
        Step::RecreateStatefulSet(_) => "RecreateStatefulSet",
    }
}
