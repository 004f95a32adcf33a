//! Start-up, top down; and its reverse.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use kube::runtime::controller::Controller;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{Predicate, WatchStreamExt, controller, predicates, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{Admin, by_pod_ip};
use crate::args::Config;
use crate::crd::KotobaCluster;
use crate::http;
use crate::lease::{Lease, Lost};
use crate::metrics::Metrics;
use crate::names::{CLUSTER_LABEL, ClusterName, OPERATOR};
use crate::reconcile::{Context, Ending, error_policy, reconcile};

/// Passes that run at the same time, each over another cluster.
const CONCURRENCY: u16 = 16;

/// Why the operator did not start, or stopped without being told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("find a Kubernetes API server: is this a pod, or is there a kubeconfig?")]
    Client(#[source] Box<kube::Error>),
    #[error("listen for signals")]
    Signals(#[source] std::io::Error),
    #[error(transparent)]
    Http(#[from] http::Error),
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// Runs the operator until a signal tells it to stop, or it loses the lease.
pub async fn run(config: Config) -> Result<(), Error> {
    let client = Client::try_default()
        .await
        .map_err(|source| Error::Client(Box::new(source)))?;
    let stop = stop_on_signal()?;
    let metrics = Arc::new(Metrics::default());
    let listener = http::listen(config.listen).await?;
    let serving = tokio::spawn(http::serve(listener, metrics.clone(), stopped(stop.clone())));

    let lease_namespace = config.namespace.as_deref().unwrap_or(client.default_namespace());
    let mut lease = Lease::new(client.clone(), lease_namespace, &config.lease_name, &config.identity);
    let worked = work_while_leading(&mut lease, client.clone(), &config, &metrics, stop).await;

    metrics.set_leading(false);
    match worked {
        Ok(()) => lease.release().await,
        // The port closes with the process, which ends now: nothing of this replica may go on.
        Err(lost) => return Err(lost.into()),
    }
    serving.await.expect("the server does not panic").map_err(Error::Http)
}

/// Works as long as the lease is held; returns early only with its loss.
async fn work_while_leading(
    lease: &mut Lease,
    client: Client,
    config: &Config,
    metrics: &Arc<Metrics>,
    stop: watch::Receiver<bool>,
) -> Result<(), Lost> {
    let leadership = lease.leadership();
    tokio::select! {
        () = lease.acquire() => metrics.set_leading(true),
        () = stopped(stop.clone()) => return Ok(()),
    }
    let context = Arc::new(Context {
        admin: Admin::new(by_pod_ip()),
        recorder: Recorder::new(client.clone(), reporter(config)),
        metrics: metrics.clone(),
        leadership,
        ending: Ending::default(),
        cluster_image: config.cluster_image.clone(),
        namespace: config.namespace.clone(),
        client,
    });
    tokio::select! {
        () = control(context, &config.watch_namespaces, stop) => Ok(()),
        lost = lease.keep() => Err(lost),
    }
}

fn reporter(config: &Config) -> Reporter {
    Reporter {
        controller: OPERATOR.to_owned(),
        instance: Some(config.identity.clone()),
    }
}

/// One controller for all namespaces, or one for each that is named.
async fn control(context: Arc<Context>, namespaces: &[String], stop: watch::Receiver<bool>) {
    if namespaces.is_empty() {
        return controller(context, None, stop).await;
    }
    let each = namespaces
        .iter()
        .map(|namespace| controller(context.clone(), Some(namespace), stop.clone()));
    futures::future::join_all(each).await;
}

/// Starts a pass when a cluster's spec, one of its objects, pods or claims changes, and when a pass asked for another.
async fn controller(context: Arc<Context>, namespace: Option<&str>, stop: watch::Receiver<bool>) {
    let (reader, writer) = reflector::store();
    let metrics = context.metrics.clone();
    // Only what people write counts: a status that was just written must not start the pass that writes the next.
    let clusters = watcher(scope::<KotobaCluster>(&context, namespace), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .inspect(move |event| forget_deleted(&metrics, event))
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations),
            Default::default(),
        );
    let labelled = watcher::Config::default().labels(CLUSTER_LABEL);
    Controller::for_stream(clusters, reader)
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .owns(scope::<StatefulSet>(&context, namespace), labelled.clone())
        .owns(scope::<Service>(&context, namespace), labelled.clone())
        .owns(scope::<ConfigMap>(&context, namespace), labelled.clone())
        .owns(scope::<ServiceAccount>(&context, namespace), labelled.clone())
        .owns(scope::<PodDisruptionBudget>(&context, namespace), labelled.clone())
        .owns(scope::<NetworkPolicy>(&context, namespace), labelled.clone())
        .watches(scope::<Pod>(&context, namespace), labelled.clone(), cluster_of)
        .watches(
            scope::<PersistentVolumeClaim>(&context, namespace),
            labelled,
            cluster_of,
        )
        .graceful_shutdown_on(stopped(stop))
        .run(reconcile, error_policy, context)
        // Errors of a pass are logged by the policy; the rest are watches, which are opened again by themselves.
        .for_each(|outcome| {
            if let Err(error @ controller::Error::QueueError(_)) = outcome {
                tracing::warn!(%error, "a watch failed; it is opened again");
            }
            futures::future::ready(())
        })
        .await;
}

fn scope<K>(context: &Context, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned,
{
    match namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    }
}

/// Pods and claims belong to the StatefulSet, or to nobody, so the label names their cluster.
fn cluster_of(object: impl ResourceExt) -> Option<ObjectRef<KotobaCluster>> {
    let name = object.labels().get(CLUSTER_LABEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

fn forget_deleted(metrics: &Metrics, event: &watcher::Result<watcher::Event<KotobaCluster>>) {
    if let Ok(watcher::Event::Delete(cluster)) = event {
        metrics.forget(&ClusterName {
            namespace: cluster.namespace().unwrap_or_default(),
            name: cluster.name_any(),
        });
    }
}

/// Becomes true at the first SIGTERM or SIGINT.
fn stop_on_signal() -> Result<watch::Receiver<bool>, Error> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        sender.send_replace(true);
    });
    Ok(receiver)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone without a signal, which only the end of the process brings about.
    let _ = stop.wait_for(|stopped| *stopped).await;
}
