//! Every file in `tests/plans`: a scene above the line, what is planned and reported of it below.
//!
//! `UPDATE=1 cargo test -p kotoba-operator --test it plans` writes the lower parts anew; read the difference.

use std::fmt::Write;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kotoba_operator::apply::{Applied, Done, StepOutcome};
use kotoba_operator::crd::KotobaClusterStatus;
use kotoba_operator::plan::{Plan, Step, plan};
use kotoba_operator::status::derive;

use crate::scene;

const RULE: &str = "----\n";

#[test]
fn every_scene_gives_the_plan_and_the_status_that_are_written_below_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 20, "the scenes are gone");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (given, expected) = text.split_once(RULE).unwrap_or((&text, ""));
        let actual = outcome(given);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, format!("{given}{RULE}{actual}")).unwrap();
        } else {
            assert_eq!(actual, expected, "{}", file.display());
        }
    }
}

/// Plan and status of a scene, with a step that succeeds.
fn outcome(given: &str) -> String {
    let scene = scene::read(given);
    let plan = plan(&scene.cluster, &scene.observed);
    let applied = Applied {
        step: match &plan.step {
            None => StepOutcome::None,
            Some(Step::Bootstrap(_)) => StepOutcome::Done(Done::Bootstrapped),
            Some(Step::Join(step)) => StepOutcome::Done(Done::Joined {
                slot: step.slot,
                member_id: 9,
            }),
            Some(Step::Rebalance { .. }) => StepOutcome::Done(Done::RebalanceStarted { moves: 4 }),
            Some(Step::Drain(step)) => StepOutcome::Done(Done::DrainStarted {
                slot: step.slot,
                member_id: step.member_id,
            }),
            Some(Step::CancelDrain(step)) => StepOutcome::Done(Done::DrainCancelled {
                slot: step.slot,
                member_id: step.member_id,
            }),
            Some(Step::Remove(step)) => StepOutcome::Done(Done::Removing {
                slot: step.slot,
                member_id: step.member_id,
            }),
            Some(Step::DeleteClaim(step)) => StepOutcome::Done(Done::ClaimDeleted { slot: step.slot }),
            Some(Step::DeletePod(step)) => StepOutcome::Done(Done::PodDeleted { slot: step.slot }),
            Some(Step::ResizePod(step)) => StepOutcome::Done(Done::PodResized { slot: step.slot }),
            Some(Step::RecreateStatefulSet(_)) => StepOutcome::Done(Done::StatefulSetDeleted),
        },
        ..Applied::default()
    };
    let now = Time(scene::now());
    let status = derive(&scene.cluster, &scene.observed, &plan, &applied, &now);
    format!("{}{}", plan_text(&plan), status_text(&status))
}

fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    let budget = format!("{} available", plan.min_available);
    let look = plan.recheck_after.as_secs();
    writeln!(text, "slots {}, budget {budget}, next look in {look} s", plan.slots).unwrap();
    if plan.replicas != plan.slots {
        writeln!(text, "the StatefulSet gets {} replicas", plan.replicas).unwrap();
    }
    for growth in &plan.growth {
        writeln!(text, "the claim of g-{} asks for {}", growth.slot, growth.size).unwrap();
    }
    for mark in &plan.marks {
        writeln!(text, "notes disk {} on the claim of g-{}", mark.disk.disk_id, mark.slot).unwrap();
    }
    if plan.hold_objects {
        writeln!(text, "the objects are left alone").unwrap();
    }
    writeln!(text, "{:?}: {}", plan.activity, step_text(plan.step.as_ref())).unwrap();
    if let Some(wait) = &plan.waits {
        writeln!(text, "waits, {}: {}", wait.predicate.as_str(), wait.message).unwrap();
    }
    if let Some(cluster_id) = &plan.latch {
        writeln!(text, "latches {cluster_id}").unwrap();
    }
    text
}

fn step_text(step: Option<&Step>) -> String {
    match step {
        None => "no step".to_owned(),
        Some(Step::Bootstrap(step)) => {
            let of = |member: &kotoba_operator::plan::Candidate| format!("{}@{}", member.name, member.zone);
            let members: Vec<String> = step.members.iter().map(of).collect();
            let record = if step.recorded {
                "recorded before"
            } else {
                "to be recorded"
            };
            format!(
                "found {} with {} at g-{}, {record}",
                step.cluster_id,
                members.join(" "),
                step.seed_slot
            )
        }
        Some(Step::Join(step)) => format!(
            "join {} ({}, zone {}) through g-{}{}",
            step.candidate.name,
            step.candidate.disk_id,
            step.candidate.zone,
            step.through,
            step.replaces
                .map_or(String::new(), |member| format!(", in place of member {member}"))
        ),
        Some(Step::Rebalance { through }) => format!("rebalance through g-{through}"),
        Some(Step::Drain(step)) => format!(
            "drain member {} of g-{} through g-{}",
            step.member_id, step.slot, step.through
        ),
        Some(Step::CancelDrain(step)) => format!("keep member {} of g-{}", step.member_id, step.slot),
        Some(Step::Remove(step)) => format!("remove member {} of g-{}", step.member_id, step.slot),
        Some(Step::DeleteClaim(step)) => format!(
            "delete claim data-g-{} ({} at version {})",
            step.slot, step.uid, step.version
        ),
        Some(Step::ResizePod(step)) => format!("give pod g-{} ({}) {:?}", step.slot, step.uid, step.compute.requests),
        Some(Step::DeletePod(step)) => format!("delete pod g-{} ({})", step.slot, step.uid),
        Some(Step::RecreateStatefulSet(step)) => format!("delete the StatefulSet {} around its pods", step.uid),
    }
}

fn status_text(status: &KotobaClusterStatus) -> String {
    let mut text = String::new();
    for member in &status.members {
        let id = member.member_id.map_or("-".to_owned(), |id| id.to_string());
        writeln!(
            text,
            "{} member {id}: {:?} {:?}",
            member.slot, member.state, member.health
        )
        .unwrap();
    }
    if let Some(operation) = &status.operation {
        let done = operation
            .progress
            .map(|progress| format!("{} of {}", progress.done, progress.total))
            .unwrap();
        let blocked = operation
            .blocked_by
            .as_ref()
            .map_or("nothing", |blocked| &blocked.predicate);
        writeln!(
            text,
            "{:?} at {}{}, {done} done, blocked by {blocked}{}",
            operation.type_,
            operation.phase,
            operation
                .target
                .as_ref()
                .map_or(String::new(), |pod| format!(" of {pod}")),
            if operation.cancellable {
                ", can be taken back"
            } else {
                ""
            },
        )
        .unwrap();
        for line in &operation.plan {
            writeln!(text, "  {line}").unwrap();
        }
    }
    if !status.leaving.is_empty() {
        writeln!(text, "noted as leaving: {:?}", status.leaving).unwrap();
    }
    for condition in &status.conditions {
        let (type_, status, reason) = (&condition.type_, &condition.status, &condition.reason);
        writeln!(text, "{type_:<20} {status:<7} {reason}: {}", condition.message).unwrap();
    }
    text
}
