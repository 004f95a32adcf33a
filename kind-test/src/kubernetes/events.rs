//! What the operator told of a cluster: Kubernetes events, by their reason.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, ListParams};

use crate::wait::{Seen, until};

/// Events of one KotobaCluster.
#[derive(Clone, Debug)]
pub struct Events {
    api: Api<Event>,
    cluster: String,
}

impl Events {
    pub fn new(client: &Client, namespace: &str, cluster: &str) -> Self {
        Events {
            api: Api::namespaced(client.clone(), namespace),
            cluster: cluster.to_owned(),
        }
    }

    /// How often each thing with this reason was told; the notes of what was told.
    pub async fn told(&self, reason: &str) -> Result<Vec<String>> {
        let wanted = format!(
            "regarding.kind=KotobaCluster,regarding.name={},reason={reason}",
            self.cluster
        );
        let events = self.api.list(&ListParams::default().fields(&wanted)).await;
        let events = events.context("listing events")?;
        let note = |event: Event| {
            // One that is told again within some minutes is counted, not listed.
            let times = event.series.map_or(1, |series| series.count.max(1));
            let note = event.note.unwrap_or_default();
            std::iter::repeat_n(note, usize::try_from(times).unwrap_or(1))
        };
        Ok(events.into_iter().flat_map(note).collect())
    }

    /// Waits till it was told more often than before; gives the notes.
    pub async fn wait_for_more(&self, reason: &str, before: usize, limit: Duration) -> Result<Vec<String>> {
        until(&format!("event {reason}"), limit, || async {
            let notes = self.told(reason).await?;
            Ok(match notes.len() > before {
                true => Seen::Done(notes),
                false => Seen::Waiting(format!("told {before} times, as before")),
            })
        })
        .await
    }
}
