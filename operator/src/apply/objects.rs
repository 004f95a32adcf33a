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
///
/// Gives whether the controller of the StatefulSet has yet to see a change.
pub async fn apply_objects(client: &Client, objects: &Objects) -> Result<bool, Error> {
    apply(client, &objects.service_account).await?;
    apply(client, &objects.config_map).await?;
    apply(client, &objects.peer_service).await?;
    apply(client, &objects.client_service).await?;
    apply(client, &objects.network_policy).await?;
    apply(client, &objects.disruption_budget).await?;
    let set = apply(client, &objects.stateful_set).await?;
    let seen = set.status.as_ref().and_then(|status| status.observed_generation);
    Ok(seen < set.metadata.generation)
}

/// Forced: every field in these objects is the operator's, and an edit of one by hand is taken back.
async fn apply<K>(client: &Client, object: &K) -> Result<K, Error>
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
    applied.map_err(|source| Error::Object {
        kind: K::kind(&()).into_owned(),
        name,
        source,
    })
}
