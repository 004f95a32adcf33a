//! One pass over one cluster, in its six steps, and what comes after it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource, ResourceExt};

use crate::admin::Admin;
use crate::apply::{self, Applied, StepOutcome, apply_objects, grow_claims, mark_claims, perform, write_status};
use crate::build::build;
use crate::crd::{KotobaCluster, KotobaClusterStatus};
use crate::lease::{self, Leadership};
use crate::metrics::{Metrics, PassResult};
use crate::names::ClusterName;
use crate::observe::{self, Observed, ask_database, read_kubernetes};
use crate::plan::{Plan, plan};
use crate::status::{self, Notice, Severity, notices};
use crate::validate::{Invalid, ValidatedCluster, validate};

/// A pass that takes longer is given up: a call that hangs must not keep a cluster from being looked at.
const PASS_DEADLINE: Duration = Duration::from_secs(60);
/// After a pass that failed. The cause is mostly an API server that is busy.
const RETRY_AFTER_ERROR: Duration = Duration::from_secs(10);
/// After somebody else wrote first, or a step failed: the next look may already see it done.
const RETRY_SOON: Duration = Duration::from_secs(2);
/// After the database said no by a rule. Every request is an entry in its log.
const RECHECK_REFUSED: Duration = Duration::from_secs(30);
/// For a resource that only its author can mend; the watch brings the edit at once.
const RECHECK_INVALID: Duration = Duration::from_secs(300);
/// Characters of an event's note. The API refuses notes above a kibibyte, and a character may take four bytes.
const MAX_NOTE_LENGTH: usize = 250;

/// What every pass needs from outside.
pub struct Context {
    pub client: Client,
    pub admin: Admin,
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    pub leadership: Leadership,
    pub ending: Ending,
    /// Image of clusters that name none.
    pub cluster_image: Option<String>,
    /// The operator's own namespace, where it runs in one.
    pub namespace: Option<String>,
}

/// Clusters whose namespace is being deleted, by uid. That is never taken back, so nothing is done for them any more.
///
/// Bounded by the clusters there are: one that is gone is forgotten.
#[derive(Debug, Default)]
pub struct Ending(Mutex<BTreeSet<(ClusterName, String)>>);

impl Ending {
    fn has(&self, name: &ClusterName, uid: &str) -> bool {
        let ending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ending.contains(&(name.clone(), uid.to_owned()))
    }

    /// Tells it, once for each cluster.
    fn note(&self, name: &ClusterName, uid: &str) {
        let mut ending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ending.insert((name.clone(), uid.to_owned())) {
            let (namespace, name) = (&name.namespace, &name.name);
            tracing::info!(
                namespace,
                name,
                "the namespace is being deleted; nothing is done in it any more"
            );
        }
    }

    fn forget(&self, name: &ClusterName) {
        let mut ending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ending.retain(|(ending, _)| ending != name);
    }
}

/// Why a pass was not finished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read cluster {name}")]
    ReadCluster {
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error(transparent)]
    Observe(Box<observe::Error>),
    #[error(transparent)]
    Apply(Box<apply::Error>),
    #[error("this process does not hold the lease any more")]
    NotLeading,
    #[error("the pass took longer than {} s", PASS_DEADLINE.as_secs())]
    Deadline,
}

impl From<observe::Error> for Error {
    fn from(error: observe::Error) -> Self {
        Error::Observe(Box::new(error))
    }
}

impl From<apply::Error> for Error {
    fn from(error: apply::Error) -> Self {
        Error::Apply(Box::new(error))
    }
}

/// What the controller calls. The object that it hands over only names the cluster: a pass reads everything anew.
pub async fn reconcile(cluster: Arc<KotobaCluster>, context: Arc<Context>) -> Result<Action, Error> {
    let name = ClusterName {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
    };
    let started = Timestamp::now();
    context.metrics.pass_started(&name, started.as_second());
    let outcome = tokio::time::timeout(PASS_DEADLINE, pass(&name, &context))
        .await
        .unwrap_or(Err(Error::Deadline));
    let seconds = Timestamp::now().duration_since(started).as_secs_f64();
    let result = match &outcome {
        Ok(passed) => passed.result,
        Err(error) if is_conflict(error) => PassResult::Conflict,
        Err(_) => PassResult::Error,
    };
    context.metrics.pass_ended(&name, result, seconds);
    outcome.map(|passed| passed.action)
}

/// When a failed pass is tried again; the one place where its error is logged.
pub fn error_policy(cluster: Arc<KotobaCluster>, error: &Error, _context: Arc<Context>) -> Action {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    if is_conflict(error) {
        tracing::debug!(namespace, name, "somebody else wrote first; looking again");
        return Action::requeue(RETRY_SOON);
    }
    let causes = causes(error);
    tracing::warn!(namespace, name, error = causes, "the pass failed; it is tried again");
    Action::requeue(RETRY_AFTER_ERROR)
}

fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Apply(error) if error.is_conflict())
}

fn is_ending(error: &Error) -> bool {
    matches!(error, Error::Apply(error) if error.is_namespace_ending())
}

fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A pass that came to its end.
struct Passed {
    action: Action,
    result: PassResult,
}

async fn pass(name: &ClusterName, context: &Context) -> Result<Passed, Error> {
    let nothing_to_do = Passed {
        action: Action::await_change(),
        result: PassResult::Done,
    };
    let Some(cluster) = read(name, context).await? else {
        context.metrics.forget(name);
        context.ending.forget(name);
        return Ok(nothing_to_do);
    };
    let uid = cluster.uid().unwrap_or_default();
    if cluster.metadata.deletion_timestamp.is_some() || context.ending.has(name, &uid) {
        return Ok(nothing_to_do);
    }
    let now = now();
    let passed = match validate(&cluster, context.cluster_image.as_deref()) {
        Ok(valid) => pass_valid(&cluster, &valid, context, &now).await,
        Err(reason) => pass_invalid(&cluster, name, &reason, context, &now).await,
    };
    match passed {
        Err(error) if is_ending(&error) => {
            context.ending.note(name, &uid);
            Ok(nothing_to_do)
        }
        passed => passed,
    }
}

async fn pass_valid(
    cluster: &KotobaCluster,
    valid: &ValidatedCluster,
    context: &Context,
    now: &Time,
) -> Result<Passed, Error> {
    let observed = observe(cluster, valid, context).await?;
    let plan = plan(valid, &observed);
    let version = cluster.resource_version().unwrap_or_default();
    let (applied, version) = apply(valid, &observed, &plan, version, context).await?;
    let status = status::derive(valid, &observed, &plan, &applied, now);
    report(cluster, &valid.name, &version, &status, context).await?;
    Ok(passed(&plan, &applied))
}

async fn pass_invalid(
    cluster: &KotobaCluster,
    name: &ClusterName,
    reason: &Invalid,
    context: &Context,
    now: &Time,
) -> Result<Passed, Error> {
    let before = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation.unwrap_or_default();
    let status = status::invalid(&before, generation, reason, now);
    let version = cluster.resource_version().unwrap_or_default();
    report(cluster, name, &version, &status, context).await?;
    Ok(Passed {
        action: Action::requeue(RECHECK_INVALID),
        result: PassResult::Invalid,
    })
}

async fn read(name: &ClusterName, context: &Context) -> Result<Option<KotobaCluster>, Error> {
    let api: Api<KotobaCluster> = Api::namespaced(context.client.clone(), &name.namespace);
    api.get_opt(&name.name).await.map_err(|source| Error::ReadCluster {
        name: name.name.clone(),
        source: Box::new(source),
    })
}

async fn observe(cluster: &KotobaCluster, valid: &ValidatedCluster, context: &Context) -> Result<Observed, Error> {
    let recorded = cluster.status.clone().unwrap_or_default();
    let observed = read_kubernetes(&context.client, valid, recorded).await?;
    Ok(ask_database(&context.admin, &valid.name, observed).await)
}

async fn apply(
    valid: &ValidatedCluster,
    observed: &Observed,
    plan: &Plan,
    version: String,
    context: &Context,
) -> Result<(Applied, String), Error> {
    let mut growth_refusals = Vec::new();
    let mut set_is_unseen = false;
    still_leading(context)?;
    if !plan.hold_objects {
        let objects = build(valid, observed, plan, context.namespace.as_deref());
        mark_claims(&context.client, &valid.name, &plan.marks).await?;
        growth_refusals = grow_claims(&context.client, &valid.name, &plan.growth).await;
        set_is_unseen = apply_objects(&context.client, &objects).await?;
    }
    still_leading(context)?;
    let step = plan.step.as_ref();
    let performed = perform(&context.client, &context.admin, &valid.name, observed, version, step).await?;
    let (applied, version) = performed;
    let applied = Applied {
        growth_refusals,
        set_is_unseen,
        ..applied
    };
    Ok((applied, version))
}

fn still_leading(context: &Context) -> Result<(), Error> {
    lease::held(&context.leadership).then_some(()).ok_or(Error::NotLeading)
}

/// Writes the status if it says something new, and then tells what changed.
async fn report(
    cluster: &KotobaCluster,
    name: &ClusterName,
    version: &str,
    status: &KotobaClusterStatus,
    context: &Context,
) -> Result<(), Error> {
    let before = cluster.status.clone().unwrap_or_default();
    context.metrics.set_status(name, status);
    if !status::worth_writing(&before, status) {
        return Ok(());
    }
    write_status(&context.client, name, version, status).await?;
    for notice in notices(&before, status) {
        tracing::info!(
            namespace = name.namespace,
            name = name.name,
            reason = notice.reason,
            note = notice.note,
            "the status changed"
        );
        publish(cluster, name, &notice, context).await;
    }
    Ok(())
}

/// An event is a courtesy: where it cannot be written, the status still tells.
async fn publish(cluster: &KotobaCluster, name: &ClusterName, notice: &Notice, context: &Context) {
    let event = Event {
        type_: match notice.severity {
            Severity::Normal => EventType::Normal,
            Severity::Warning => EventType::Warning,
        },
        reason: notice.reason.to_owned(),
        note: Some(notice.note.chars().take(MAX_NOTE_LENGTH).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    match context.recorder.publish(&event, &cluster.object_ref(&())).await {
        Ok(()) => {}
        Err(error) if apply::is_namespace_ending(&error) => {
            context.ending.note(name, &cluster.uid().unwrap_or_default());
        }
        Err(error) => tracing::warn!(%error, reason = notice.reason, "the event is not published"),
    }
}

fn passed(plan: &Plan, applied: &Applied) -> Passed {
    match applied.step {
        StepOutcome::None | StepOutcome::Done(_) => Passed {
            action: Action::requeue(plan.recheck_after),
            result: PassResult::Done,
        },
        StepOutcome::Refused(_) => Passed {
            action: Action::requeue(RECHECK_REFUSED),
            result: PassResult::StepFailed,
        },
        StepOutcome::Failed(_) => Passed {
            action: Action::requeue(RETRY_SOON),
            result: PassResult::StepFailed,
        },
    }
}

/// Whole seconds, as the API server keeps times: else a status read back would differ from the one written.
fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
