//! The pod template: one container that runs a member, with no rights on its Kubernetes node and none in Kubernetes.
//!
//! Pods are made anew when their recipe changes, and for nothing else: what changes here reaches a pod when it is made
//! anew for another reason. So whatever of a spec is built in here belongs into the recipe.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
    WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{config_map, selector};
use crate::names::{CLIENT_PORT, CONTAINER, DATA_VOLUME, HTTP_PORT, PEER_PORT, RECIPE_ANNOTATION, RESTART_ANNOTATION};
use crate::recipe::Recipe;
use crate::validate::ValidatedCluster;

pub(super) const DATA_DIRECTORY: &str = "/var/lib/kotoba";
const CONFIG_DIRECTORY: &str = "/etc/kotoba";
const CONFIG_VOLUME: &str = "config";
/// The user of the image; the same number owns the files on the disk.
const USER: i64 = 65532;
/// Time to hand leaders over and close the stores before the kubelet kills the process.
const TERMINATION_GRACE_S: i64 = 60;

pub(super) fn template(cluster: &ValidatedCluster, image: &str) -> PodTemplateSpec {
    let spec = PodSpec {
        service_account_name: Some(cluster.name.name.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(TERMINATION_GRACE_S),
        security_context: Some(pod_security()),
        topology_spread_constraints: Some(vec![spread_over_zones(cluster)]),
        affinity: Some(apart_on_hosts(cluster)),
        containers: vec![container(cluster, image)],
        volumes: Some(vec![config_volume(cluster)]),
        ..PodSpec::default()
    };
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(cluster.name.labels()),
            annotations: Some(annotations(cluster, image)),
            ..ObjectMeta::default()
        }),
        spec: Some(spec),
    }
}

fn annotations(cluster: &ValidatedCluster, image: &str) -> BTreeMap<String, String> {
    let recipe = (RECIPE_ANNOTATION.to_owned(), Recipe::of(cluster, image).to_text());
    let restart = cluster
        .restart
        .iter()
        .map(|asked| (RESTART_ANNOTATION.to_owned(), asked.clone()));
    restart.chain([recipe]).collect()
}

fn container(cluster: &ValidatedCluster, image: &str) -> Container {
    let config_file = format!("{CONFIG_DIRECTORY}/{}", config_map::FILE_NAME);
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(cluster.image_pull_policy.as_str().to_owned()),
        args: Some(vec!["serve".to_owned(), "--config".to_owned(), config_file]),
        env: Some(environment(cluster)),
        ports: Some(vec![
            port("client", CLIENT_PORT),
            port("peer", PEER_PORT),
            port("http", HTTP_PORT),
        ]),
        resources: Some(resources(cluster)),
        security_context: Some(container_security()),
        // Ten minutes: a member with much state recovers it before it serves /livez.
        startup_probe: Some(probe("/livez", 5, 120)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 5, 2)),
        volume_mounts: Some(vec![
            mount(DATA_VOLUME, DATA_DIRECTORY, false),
            mount(CONFIG_VOLUME, CONFIG_DIRECTORY, true),
        ]),
        ..Container::default()
    }
}

/// Name and addresses, made from the pod's name by the kubelet; and the settings of `spec.config`, which are here and not
/// in the settings file so that a bad one reaches only the pod that is made anew with it. The zone is not among them: a pod cannot see its
/// node's labels, so the operator tells it to the database.
fn environment(cluster: &ValidatedCluster) -> Vec<EnvVar> {
    let pod_name = EnvVarSource {
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".to_owned()),
            field_path: "metadata.name".to_owned(),
        }),
        ..EnvVarSource::default()
    };
    let host = format!(
        "$(POD_NAME).{}.{}.svc",
        cluster.name.peer_service(),
        cluster.name.namespace
    );
    let value = |name: &str, value: String| EnvVar {
        name: name.to_owned(),
        value: Some(value),
        ..EnvVar::default()
    };
    let settings = cluster.config.variables().into_iter();
    let mut variables = vec![
        EnvVar {
            name: "POD_NAME".to_owned(),
            value_from: Some(pod_name),
            ..EnvVar::default()
        },
        value("KOTOBA_NODE_ID", "$(POD_NAME)".to_owned()),
        value("KOTOBA_PEER_ADVERTISE", format!("{host}:{PEER_PORT}")),
        value("KOTOBA_CLIENT_ADVERTISE", format!("{host}:{CLIENT_PORT}")),
    ];
    variables.extend(settings.map(|(variable, setting)| value(variable, as_typed(&setting))));
    variables
}

/// The kubelet puts other variables in where it finds `$(NAME)`, and a single `$` where there are two.
fn as_typed(setting: &str) -> String {
    setting.replace('$', "$$")
}

fn resources(cluster: &ValidatedCluster) -> ResourceRequirements {
    let quantities = |from: &BTreeMap<String, String>| {
        let pairs = from.iter().map(|(name, value)| (name.clone(), Quantity(value.clone())));
        (!from.is_empty()).then(|| pairs.collect())
    };
    ResourceRequirements {
        requests: quantities(&cluster.compute.requests),
        limits: quantities(&cluster.compute.limits),
        ..ResourceRequirements::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        // A large disk is not walked file by file on every start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        ..SecurityContext::default()
    }
}

fn spread_over_zones(cluster: &ValidatedCluster) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: cluster.topology.zone_key.clone(),
        when_unsatisfiable: cluster.topology.when_unsatisfiable.as_str().to_owned(),
        label_selector: Some(selector(cluster)),
        ..TopologySpreadConstraint::default()
    }
}

/// Preferred, not required: on a Kubernetes of one node a cluster of three must still start.
fn apart_on_hosts(cluster: &ValidatedCluster) -> Affinity {
    let term = PodAffinityTerm {
        topology_key: "kubernetes.io/hostname".to_owned(),
        label_selector: Some(selector(cluster)),
        ..PodAffinityTerm::default()
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: term,
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn probe(path: &str, period_s: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_s),
        timeout_seconds: Some(3),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn config_volume(cluster: &ValidatedCluster) -> Volume {
    Volume {
        name: CONFIG_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: cluster.name.name.clone(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}
