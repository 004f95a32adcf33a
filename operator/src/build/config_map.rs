//! The settings file of the members. Whatever differs from pod to pod is in the environment instead.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use super::pod::DATA_DIRECTORY;
use crate::names::{CLIENT_PORT, HTTP_PORT, PEER_PORT};
use crate::validate::ValidatedCluster;

/// The file's name in the map and in the pod.
pub(super) const FILE_NAME: &str = "kotoba.toml";

pub(super) fn build(cluster: &ValidatedCluster) -> ConfigMap {
    ConfigMap {
        metadata: metadata(cluster, &cluster.name.name),
        data: Some(BTreeMap::from([(FILE_NAME.to_owned(), settings())])),
        ..ConfigMap::default()
    }
}

fn settings() -> String {
    format!(
        "# Written by kotoba-operator; edits are overwritten.\n\
         data_dir = \"{DATA_DIRECTORY}\"\n\
         \n\
         [listen]\n\
         peer = \"0.0.0.0:{PEER_PORT}\"\n\
         client = \"0.0.0.0:{CLIENT_PORT}\"\n\
         http = \"0.0.0.0:{HTTP_PORT}\"\n"
    )
}
