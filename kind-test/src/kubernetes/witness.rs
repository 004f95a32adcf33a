//! Watches the pods of a cluster change by change, so that a moment that asking now and then would miss is still seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::task::JoinHandle;

use super::pods::{Pods, is_ready, uid};
use crate::wait::{Seen, until};

/// The first list of the pods.
const BEGIN_LIMIT: Duration = Duration::from_secs(60);

/// A watch that runs until it is dropped.
#[derive(Debug)]
pub struct Witness {
    notes: Arc<Mutex<Notes>>,
    task: JoinHandle<()>,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// The most pods that did not serve at one time.
    pub most_down: usize,
    /// Names of the pods that were told to stop, in order.
    pub stopped: Vec<String>,
}

#[derive(Debug)]
struct Notes {
    expected: usize,
    has_begun: bool,
    /// By name: is ready, and was not told to stop.
    serves: BTreeMap<String, bool>,
    /// Uids of pods that were told to stop.
    ended: BTreeSet<String>,
    testimony: Testimony,
}

impl Witness {
    /// Begins, and returns when all pods there are have been seen.
    pub async fn start(pods: &Pods, expected: usize) -> Result<Self> {
        let notes = Arc::new(Mutex::new(Notes::new(expected)));
        let task = tokio::spawn(watch(pods.clone(), notes.clone()));
        let witness = Witness { notes, task };
        until("first list of the pods", BEGIN_LIMIT, || async {
            Ok(match witness.notes().has_begun {
                true => Seen::Done(()),
                false => Seen::Waiting("none yet".into()),
            })
        })
        .await?;
        Ok(witness)
    }

    /// What was seen up to now.
    pub fn testimony(&self) -> Testimony {
        self.notes().testimony.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        lock(&self.notes)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    // The notes are whole after each event, even if their holder panicked later.
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(pods: Pods, notes: Arc<Mutex<Notes>>) {
    let config = watcher::Config::default().labels(pods.selector());
    let events = watcher(pods.api(), config).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // After an error the watcher lists anew, and nothing is lost but what came and went in between.
        if let Ok(event) = event {
            lock(&notes).note(event);
        }
    }
}

impl Notes {
    fn new(expected: usize) -> Self {
        Notes {
            expected,
            has_begun: false,
            serves: BTreeMap::new(),
            ended: BTreeSet::new(),
            testimony: Testimony::default(),
        }
    }

    fn note(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.serves.clear(),
            Event::InitApply(pod) => self.see(&pod),
            Event::InitDone => {
                self.has_begun = true;
                self.count();
            }
            Event::Apply(pod) => {
                self.see(&pod);
                self.count();
            }
            Event::Delete(pod) => {
                self.serves.remove(&pod.name_any());
                self.count();
            }
        }
    }

    fn see(&mut self, pod: &Pod) {
        let stops = pod.metadata.deletion_timestamp.is_some();
        self.serves.insert(pod.name_any(), is_ready(pod) && !stops);
        if stops && self.ended.insert(uid(pod)) {
            self.testimony.stopped.push(pod.name_any());
        }
    }

    fn count(&mut self) {
        let serving = self.serves.values().filter(|serves| **serves).count();
        let down = self.expected.saturating_sub(serving);
        self.testimony.most_down = self.testimony.most_down.max(down);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, uid: &str, ready: &str, stops: bool) -> Pod {
        let deleted = stops.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": uid, "deletionTimestamp": deleted},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn begun() -> Notes {
        let mut notes = Notes::new(2);
        notes.note(Event::Init);
        notes.note(Event::InitApply(pod("g-0", "a", "True", false)));
        notes.note(Event::InitApply(pod("g-1", "b", "True", false)));
        notes.note(Event::InitDone);
        notes
    }

    #[test]
    fn a_pod_that_is_told_to_stop_serves_no_more_though_it_is_still_ready() {
        let mut notes = begun();
        assert_eq!(notes.testimony, Testimony::default());
        notes.note(Event::Apply(pod("g-1", "b", "True", true)));
        notes.note(Event::Apply(pod("g-1", "b", "False", true)));
        assert_eq!(notes.testimony.most_down, 1);
        assert_eq!(notes.testimony.stopped, ["g-1"]);
    }

    #[test]
    fn two_pods_that_are_down_at_once_are_remembered_when_both_are_back() {
        let mut notes = begun();
        notes.note(Event::Delete(pod("g-1", "b", "True", true)));
        notes.note(Event::Apply(pod("g-0", "a", "False", false)));
        notes.note(Event::Apply(pod("g-0", "a", "True", false)));
        notes.note(Event::Apply(pod("g-1", "c", "True", false)));
        assert_eq!(notes.testimony.most_down, 2);
    }
}
