//! What a person needs after a failed step, in files: resources, pods, events, logs of every container that ran.
//!
//! Collecting must never fail for the failure it describes: what cannot be read is written down as such.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kubernetes::pods;
use crate::say::say;

/// Of each container; older lines help nobody.
const LOG_LINES: i64 = 5_000;

/// Writes all it can into the folder.
pub async fn collect(client: &Client, namespaces: &[&str], folder: &Path) {
    if let Err(error) = std::fs::create_dir_all(folder) {
        say(format!("cannot make {}: {error}", folder.display()));
        return;
    }
    write_objects(Api::<Node>::all(client.clone()), folder.join("nodes.yaml")).await;
    for namespace in namespaces {
        let file = |kind: &str| folder.join(format!("{namespace}-{kind}"));
        write_objects(api::<StatefulSet>(client, namespace), file("statefulsets.yaml")).await;
        write_objects(api::<PersistentVolumeClaim>(client, namespace), file("claims.yaml")).await;
        write_events(client, namespace, &file("events.txt")).await;
        write_pods(client, namespace, folder).await;
    }
    say(format!("what there was to see is in {}", folder.display()));
}

/// Writes one file of a diagnosis; a failure is said, not returned.
pub fn write(path: &Path, text: &str) {
    if let Err(error) = std::fs::write(path, text) {
        say(format!("cannot write {}: {error}", path.display()));
    }
}

fn api<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(client.clone(), namespace)
}

async fn write_objects<K>(api: Api<K>, path: PathBuf)
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let text = match api.list(&ListParams::default()).await {
        Ok(list) => serde_yaml_ng::to_string(&list.items).unwrap_or_else(|e| e.to_string()),
        Err(error) => format!("could not be read: {error}\n"),
    };
    write(&path, &text);
}

async fn write_events(client: &Client, namespace: &str, path: &Path) {
    let text = match api::<Event>(client, namespace).list(&ListParams::default()).await {
        Ok(list) => events_text(list.items),
        Err(error) => format!("could not be read: {error}\n"),
    };
    write(path, &text);
}

fn events_text(mut events: Vec<Event>) -> String {
    events.sort_by_key(|event| event.metadata.creation_timestamp.clone());
    let mut text = String::new();
    for event in events {
        let at = event.metadata.creation_timestamp.map(|time| time.0.to_string());
        let object = event.involved_object;
        // Writing into a String cannot fail.
        let _written = writeln!(
            text,
            "{} x{} {}/{} {}: {}",
            at.unwrap_or_default(),
            event.count.unwrap_or(1),
            object.kind.unwrap_or_default(),
            object.name.unwrap_or_default(),
            event.reason.unwrap_or_default(),
            event.message.unwrap_or_default(),
        );
    }
    text
}

async fn write_pods(client: &Client, namespace: &str, folder: &Path) {
    let api = api::<Pod>(client, namespace);
    let list = match api.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) => {
            say(format!("cannot list the pods of {namespace}: {error}"));
            return;
        }
    };
    for pod in list {
        let name = pod.name_any();
        say(format!(
            "pod {namespace}/{name}: {}, {} restarts",
            pods::state_text(&pod),
            pods::restarts(&pod)
        ));
        let yaml = serde_yaml_ng::to_string(&pod).unwrap_or_else(|error| error.to_string());
        write(&folder.join(format!("{namespace}-{name}.yaml")), &yaml);
        for previous in [false, true] {
            write_log(&api, &name, previous, &folder.join(format!("{namespace}-{name}"))).await;
        }
    }
}

async fn write_log(api: &Api<Pod>, name: &str, previous: bool, stem: &Path) {
    let which = LogParams {
        previous,
        tail_lines: Some(LOG_LINES),
        timestamps: true,
        ..LogParams::default()
    };
    // A container that never restarted has no previous log: no file then.
    if let Ok(log) = api.logs(name, &which).await {
        let kind = if previous { "previous.log" } else { "log" };
        write(&stem.with_extension(kind), &log);
    }
}
