//! Test vectors of whole placements. Every member computes them for itself, so members of different versions must agree.

use super::{Candidate, Placement, place};
use crate::ids::MemberId;

const ZONES: [&str; 3] = ["a", "b", "c"];

fn members(count: u64) -> Vec<Candidate> {
    let member = |id: u64| Candidate {
        id: MemberId(id),
        zone: ZONES[(id as usize - 1) % 3].to_owned(),
    };
    (1..=count).map(member).collect()
}

fn text(placement: &Placement) -> String {
    let line = |members: &std::collections::BTreeSet<MemberId>| {
        members.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    placement.0.values().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn placements_are_frozen() {
    let four = place(&members(4), &Placement::default(), 2, 8);
    assert_eq!(text(&four), "2 4, 2 4, 2 4, 1 3, 1 3, 1 3, 3 4, 1 2");
    let seven = place(&members(7), &four, 3, 8);
    assert_eq!(text(&seven), "2 4 6, 2 4 6, 2 4 6, 1 3 5, 3 5 7, 1 3 5, 3 5 7, 1 2 6");
    let without_the_first = place(&members(7)[1..], &seven, 3, 8);
    assert_eq!(
        text(&without_the_first),
        "2 4 6, 2 4 6, 2 4 6, 3 4 5, 3 5 7, 3 5 7, 3 5 7, 2 6 7"
    );
}
