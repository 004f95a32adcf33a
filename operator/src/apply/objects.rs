//! Server-side apply of a cluster's objects, what pods need first: a pod must not start without its settings.

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

use super::Error;
use crate::build::Objects;
use crate::names::OPERATOR;

/// Applies all objects in order; the first that fails ends it, and the next pass begins anew.
pub async fn apply_objects(client: &Client, objects: &Objects) -> Result<(), Error> {
    apply(client, &objects.service_account).await?;
    apply(client, &objects.config_map).await?;
    apply(client, &objects.peer_service).await?;
    apply(client, &objects.client_service).await?;
    apply(client, &objects.network_policy).await?;
    apply(client, &objects.disruption_budget).await?;
    apply(client, &objects.stateful_set).await
}

/// Forced: every field in these objects is the operator's, and an edit of one by hand is taken back.
async fn apply<K>(client: &Client, object: &K) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = object.name_any();
    let namespace = object
        .namespace()
        .expect("build gives every object the cluster's namespace");
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let params = PatchParams::apply(OPERATOR).force();
    let applied = api.patch(&name, &params, &Patch::Apply(object)).await;
    applied.map(drop).map_err(|source| Error::Object {
        kind: K::kind(&()).into_owned(),
        name,
        source,
    })
}
