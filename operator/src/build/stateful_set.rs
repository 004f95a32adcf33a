//! The maker of pods and disks. It is used for nothing else: it neither updates, removes nor orders pods.
//!
//! `Parallel`, because a quorum system that is started one by one never becomes ready (rabbitmq/cluster-operator#609);
//! `OnDelete`, because a rolling update does not see whether the database can spare a pod (kubernetes#67250);
//! claims are retained when it shrinks, because deleting a disk is the operator's decision, and only after proof. When
//! the cluster is deleted Kubernetes keeps or deletes them itself, by the policy: no finalizer waits for an operator.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{metadata, pod, selector};
use crate::names::DATA_VOLUME;
use crate::observe::Observed;
use crate::validate::ValidatedCluster;

pub(super) fn build(cluster: &ValidatedCluster, observed: &Observed, replicas: u32) -> StatefulSet {
    let spec = StatefulSetSpec {
        replicas: Some(i32::try_from(replicas).expect("the spec allows at most 100 members")),
        service_name: Some(cluster.name.peer_service()),
        selector: selector(cluster),
        pod_management_policy: Some("Parallel".to_owned()),
        update_strategy: Some(StatefulSetUpdateStrategy {
            type_: Some("OnDelete".to_owned()),
            ..StatefulSetUpdateStrategy::default()
        }),
        persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
            when_deleted: Some(cluster.reclaim.on_cluster_delete.as_str().to_owned()),
            // Only the operator knows whether a member is gone, or its pod is only stopped.
            when_scaled: Some("Retain".to_owned()),
        }),
        template: pod::template(cluster, image(cluster, observed)),
        volume_claim_templates: Some(vec![claim_template(cluster, observed)]),
        ..StatefulSetSpec::default()
    };
    let seen = observed.stateful_set.as_ref();
    StatefulSet {
        // One that was seen is changed and never made anew: it may end between the look and this write, as when it is to
        // get larger claims, and with the template that was seen it would have to go again at once.
        metadata: ObjectMeta {
            uid: seen.map(|set| set.uid.clone()),
            ..metadata(cluster, &cluster.name.name)
        },
        spec: Some(spec),
        ..StatefulSet::default()
    }
}

/// The image that is named, else the one that was noted when the operator first saw the cluster: an operator that is
/// installed anew with another default restarts no pod. Not simply the one that runs: the spec may have named that, and
/// taken it back.
fn image<'a>(cluster: &'a ValidatedCluster, observed: &'a Observed) -> &'a str {
    let running = || observed.stateful_set.as_ref()?.image.as_deref();
    let noted = observed.recorded.default_image.as_deref();
    let unnamed = noted.or_else(running).filter(|_| !cluster.image_is_named);
    unnamed.unwrap_or(&cluster.image)
}

/// The claim template as it was made: Kubernetes refuses any change of it, and with it of the whole StatefulSet.
fn claim_template(cluster: &ValidatedCluster, observed: &Observed) -> PersistentVolumeClaim {
    let existing = observed.stateful_set.as_ref().and_then(|set| set.claim_size.clone());
    let size = existing.unwrap_or_else(|| cluster.storage_size.clone());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA_VOLUME.to_owned()),
            labels: Some(cluster.name.selector()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: cluster.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size))].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
