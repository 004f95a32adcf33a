//! Reads the resource and what was told of it, and asks for a restart.

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kotoba_operator::crd::KotobaCluster;
use kotoba_operator::names::RESTART_ANNOTATION;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use serde_json::json;

use crate::error::Error;
use crate::explain::Told;

/// Events of one resource that are looked at. They live for an hour; more than this no person reads.
const EVENTS_LIMIT: u32 = 200;

/// A client, and the namespace it works in.
pub struct Kubernetes {
    pub client: Client,
    pub namespace: String,
}

/// By the kubeconfig as kubectl reads it, or by the account of the pod this runs in.
pub async fn connect(context: Option<String>, namespace: Option<String>) -> Result<Kubernetes, Error> {
    let config = match context {
        Some(_) => {
            let options = KubeConfigOptions {
                context,
                ..KubeConfigOptions::default()
            };
            let read = Config::from_kubeconfig(&options).await;
            read.map_err(|source| Error::Kubeconfig(Box::new(source)))?
        }
        None => {
            let inferred = Config::infer().await;
            inferred.map_err(|source| Error::Client(Box::new(kube::Error::InferConfig(source))))?
        }
    };
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|source| Error::Client(Box::new(source)))?;
    Ok(Kubernetes { client, namespace })
}

impl Kubernetes {
    pub async fn cluster(&self, name: &str) -> Result<KotobaCluster, Error> {
        let found = self.clusters().get_opt(name).await.map_err(|source| Error::Read {
            name: name.to_owned(),
            source: Box::new(source),
        })?;
        found.ok_or_else(|| Error::NotFound {
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        })
    }

    /// What was told of a cluster, the newest last. Events are a courtesy: without the right to read them there are none.
    pub async fn told(&self, name: &str) -> Vec<Told> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let wanted = format!("regarding.kind=KotobaCluster,regarding.name={name}");
        let listed = api
            .list(&ListParams::default().fields(&wanted).limit(EVENTS_LIMIT))
            .await;
        let mut events = listed.map(|list| list.items).unwrap_or_default();
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        let now = Timestamp::now();
        events.into_iter().map(|event| told(event, now)).collect()
    }

    /// Writes the time into the annotation that the operator puts into the pod template.
    pub async fn ask_for_restart(&self, name: &str, now: Timestamp) -> Result<(), Error> {
        let patch = json!({ "metadata": { "annotations": { RESTART_ANNOTATION: now.to_string() } } });
        let patched = self
            .clusters()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.map(drop).map_err(|source| Error::Annotate {
            name: name.to_owned(),
            source: Box::new(source),
        })
    }

    fn clusters(&self) -> Api<KotobaCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn told(event: Event, now: Timestamp) -> Told {
    let last = event.series.map(|series| series.last_observed_time.0);
    let last = last
        .or(event.event_time.map(|time| time.0))
        .or(event.deprecated_last_timestamp.map(|time| time.0));
    let minutes = last.map(|last| now.duration_since(last).as_mins());
    Told {
        minutes: minutes.map(|minutes| u64::try_from(minutes).unwrap_or(0)),
        warning: event.type_.as_deref() == Some("Warning"),
        reason: event.reason.unwrap_or_default(),
        note: event.note.unwrap_or_default(),
    }
}
