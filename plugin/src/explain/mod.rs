//! `kubectl kotoba explain`: why a cluster waits, and what to do, in sentences. Pure: from the resource, and what was told of it.

mod advice;

use kotoba_operator::crd::{BlockedBy, ConditionStatus, ConditionType, KotobaCluster, KotobaClusterStatus, truth_of};
use kotoba_operator::plan::Predicate;

use crate::output::word;

/// Warnings that are repeated here; the newest say the most.
const WARNINGS_LIMIT: usize = 5;
/// What the operator writes as predicate where the database refused a step, or did not answer.
const STEP_FAILED: &str = "StepFailed";
/// What it gives as the reason of Progressing where nothing has moved for too long.
const STALLED: &str = "Stalled";

/// An event of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub warning: bool,
    /// Minutes since it was told last; none where nobody noted when.
    pub minutes: Option<u64>,
    pub reason: String,
    pub note: String,
}

/// One thing that is so, and what a person does about it; nothing where waiting is all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub says: String,
    pub to_do: Option<String>,
}

impl Finding {
    fn new(says: String, to_do: &str) -> Self {
        Finding {
            says,
            to_do: (!to_do.is_empty()).then(|| to_do.to_owned()),
        }
    }
}

/// Everything that is to be said, the most pressing first; the events are in the order in which they were told.
pub fn explain(cluster: &KotobaCluster, told: &[Told]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if cluster.metadata.deletion_timestamp.is_some() {
        findings.push(deleting(cluster));
    }
    match &cluster.status {
        None => findings.push(nobody_looked()),
        Some(status) => findings.extend(of_status(cluster, status)),
    }
    findings.extend(warnings(told));
    if findings.is_empty() {
        let says = "It is fine: ready, nothing is being done, and nothing is waited for.".to_owned();
        findings.push(Finding::new(says, ""));
    }
    findings
}

fn of_status(cluster: &KotobaCluster, status: &KotobaClusterStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    if status.observed_generation < cluster.metadata.generation {
        let says = "The operator has not yet looked at the last edit of the resource.".to_owned();
        findings.push(Finding::new(says, advice::OPERATOR));
    }
    findings.extend(operation(status));
    findings.extend(ConditionType::ALL.iter().filter_map(|type_| condition(status, *type_)));
    findings.extend(unknown(status));
    findings.extend(partitions(status));
    findings
}

fn deleting(cluster: &KotobaCluster) -> Finding {
    let finalizers = cluster.metadata.finalizers.clone().unwrap_or_default();
    let says = match finalizers.is_empty() {
        true => "It is being deleted. Its disks stay.".to_owned(),
        false => format!("It is being deleted, and that waits for {}.", finalizers.join(", ")),
    };
    Finding::new(says, "")
}

fn nobody_looked() -> Finding {
    Finding::new("No operator has looked at it yet.".to_owned(), advice::OPERATOR)
}

fn operation(status: &KotobaClusterStatus) -> Option<Finding> {
    let operation = status.operation.as_ref()?;
    let done = operation.progress.map_or(String::new(), |progress| {
        format!(", {} of {} done", progress.done, progress.total)
    });
    let under_way = format!("{} is under way, at {}{done}", word(&operation.type_), operation.phase);
    Some(match &operation.blocked_by {
        Some(blocked) => blocked_operation(&under_way, blocked),
        None => Finding::new(format!("{under_way}; it waits for nobody."), ""),
    })
}

fn blocked_operation(under_way: &str, blocked: &BlockedBy) -> Finding {
    if blocked.predicate == STEP_FAILED {
        let says = format!(
            "{under_way}; its last step failed, and is tried again: {}",
            blocked.message
        );
        return Finding::new(says, advice::STEP_FAILED);
    }
    let found = Predicate::ALL.into_iter().find(|one| one.as_str() == blocked.predicate);
    match found.map(advice::on_predicate) {
        Some(advice) => Finding::new(
            format!("{under_way}; it waits, because {}: {}", advice.because, blocked.message),
            advice.to_do,
        ),
        // An operator that is newer than this plugin.
        None => Finding::new(
            format!("{under_way}; it waits for {}: {}", blocked.predicate, blocked.message),
            "",
        ),
    }
}

/// What a condition says, unless it is unknown, or says what one wants to hear.
fn condition(status: &KotobaClusterStatus, type_: ConditionType) -> Option<Finding> {
    let written = status.conditions.iter().find(|one| one.type_ == type_.as_str())?;
    let known = advice::on_condition(type_);
    let truth = truth_of(&status.conditions, type_);
    let is_stalled = type_ == ConditionType::Progressing && written.reason == STALLED;
    let told = type_ == ConditionType::Progressing && status.operation.is_some() && !is_stalled;
    let says = match truth {
        ConditionStatus::Unknown => return None,
        ConditionStatus::True => "It is",
        ConditionStatus::False => "It is not",
    };
    let says = format!("{says} {} ({}): {}", known.question, written.reason, written.message);
    let to_do = if is_stalled { advice::STALLED } else { known.to_do };
    (truth != known.good && !told).then(|| Finding::new(says, to_do))
}

/// The questions that nobody could answer, one sentence for all that have the same cause.
fn unknown(status: &KotobaClusterStatus) -> Vec<Finding> {
    let mut causes: Vec<(&str, Vec<&str>)> = Vec::new();
    for type_ in ConditionType::ALL {
        let written = status.conditions.iter().find(|one| one.type_ == type_.as_str());
        let Some(written) = written.filter(|_| truth_of(&status.conditions, type_) == ConditionStatus::Unknown) else {
            continue;
        };
        let question = advice::on_condition(type_).question;
        match causes.iter_mut().find(|(cause, _)| *cause == written.message) {
            Some((_, questions)) => questions.push(question),
            None => causes.push((&written.message, vec![question])),
        }
    }
    let says = |(cause, questions): (&str, Vec<&str>)| {
        let questions = questions.join(", or ");
        Finding::new(format!("It is not known whether it is {questions}: {cause}"), "")
    };
    causes.into_iter().map(says).collect()
}

fn partitions(status: &KotobaClusterStatus) -> Option<Finding> {
    let partitions = status
        .partitions
        .as_ref()
        .filter(|partitions| partitions.no_leader > 0)?;
    let says = format!(
        "{} of {} partitions have no leader: their part of the graph can be neither read nor written.",
        partitions.no_leader, partitions.total
    );
    Some(Finding::new(says, advice::NO_LEADER))
}

fn warnings(told: &[Told]) -> Vec<Finding> {
    let warnings: Vec<&Told> = told.iter().filter(|told| told.warning).collect();
    let newest = warnings.iter().rev().take(WARNINGS_LIMIT);
    newest
        .map(|told| {
            let says = format!("It was warned{} ({}): {}", ago(told.minutes), told.reason, told.note);
            Finding::new(says, "")
        })
        .collect()
}

/// What was told long ago may be over by now.
fn ago(minutes: Option<u64>) -> String {
    match minutes {
        None => String::new(),
        Some(0) => " within the last minute".to_owned(),
        Some(1) => " a minute ago".to_owned(),
        Some(minutes) => format!(" {minutes} minutes ago"),
    }
}

#[cfg(test)]
mod tests;
