//! From the resource as typed to a cluster that can be built: parsed once, defaults filled in, or a reason to act on.
//!
//! The API server has checked most of this by the CRD's rules. It is checked again because an older CRD may
//! still be installed; a wrong value must become a condition here, never a half-made cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};

use crate::crd::{Config, KotobaCluster, PullPolicy, Reclaim, Replacement, Resources, Topology, Update};
use crate::names::{ClusterName, PAUSED_ANNOTATION, REPLACE_ANNOTATION, RESTART_ANNOTATION};
use crate::recipe::Compute;

/// Names of pods, claims and label values are made from the cluster's name; with suffixes they must stay below 63.
const MAX_NAME_LENGTH: usize = 40;
/// The status lists every member, and one object holds at most about a megabyte.
const MAX_REPLICAS: u32 = 100;
/// The wire's `0` stands for "the database's default".
const DATABASE_DEFAULT: u32 = 0;

/// A cluster that every later step can rely on.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedCluster {
    pub name: ClusterName,
    /// Also the id of the database that is founded for it: a resource made again under the same name is another cluster.
    pub uid: String,
    pub created: Option<Timestamp>,
    pub generation: i64,
    pub owner: OwnerReference,
    pub image: String,
    /// The spec names it. Else it is only for a cluster that has none yet: an operator that comes with another default
    /// must not restart every cluster.
    pub image_is_named: bool,
    /// The operator's own, whatever the spec names.
    pub default_image: Option<String>,
    pub image_pull_policy: PullPolicy,
    pub replicas: u32,
    /// 0: the database's default.
    pub replication_factor: u32,
    /// 0: the database's default.
    pub partition_count: u32,
    pub storage_size: String,
    pub storage_class: Option<String>,
    /// CPU and memory of each pod.
    pub compute: Compute,
    /// Settings of the database.
    pub config: Config,
    pub topology: Topology,
    /// Another text than before asks for all pods to be made anew.
    pub restart: Option<String>,
    /// What becomes of disks that are no longer used.
    pub reclaim: Reclaim,
    pub update: Update,
    pub replacement: Replacement,
    /// Members that another may follow, because a person says that their disk is lost for good.
    pub replace: BTreeSet<u64>,
    pub suspend: bool,
    /// The operator only looks on.
    pub paused: bool,
}

/// Why a resource cannot be acted on; the text tells its author what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the resource has no {0}: it was not read from an API server")]
    Incomplete(&'static str),
    #[error(
        "metadata.name {0:?} must start with a letter, have only lower-case letters, digits and '-', and at most {MAX_NAME_LENGTH} characters: make the cluster under another name"
    )]
    Name(String),
    #[error("spec.replicas is {0}, and must be from 1 to {MAX_REPLICAS}")]
    Replicas(i32),
    #[error("spec.{field} is {value}, and must be at least 1")]
    BelowOne { field: &'static str, value: i32 },
    #[error("spec.config.{field} is {value}, and must be from {least} to {most}")]
    Config {
        field: &'static str,
        value: i64,
        least: i64,
        most: i64,
    },
    #[error(
        "the annotation {REPLACE_ANNOTATION} names {0:?}, and must be ids of members as in status.members[].memberId"
    )]
    Replace(String),
    #[error("spec.storage.size {0:?} is not a quantity such as 20Gi")]
    StorageSize(String),
    #[error(
        "spec.image is empty and the operator has no default image: set spec.image, or start the operator with --cluster-image"
    )]
    NoImage,
}

/// Checks a resource and fills in what its author left out.
pub fn validate(cluster: &KotobaCluster, default_image: Option<&str>) -> Result<ValidatedCluster, Invalid> {
    let spec = &cluster.spec;
    if quantity_bytes(&spec.storage.size).is_none_or(|bytes| bytes < 1.0) {
        return Err(Invalid::StorageSize(spec.storage.size.clone()));
    }
    Ok(ValidatedCluster {
        name: name_of(cluster)?,
        uid: cluster.uid().ok_or(Invalid::Incomplete("uid"))?,
        created: cluster.creation_timestamp().map(|time| time.0),
        generation: cluster.metadata.generation.unwrap_or_default(),
        owner: cluster.controller_owner_ref(&()).ok_or(Invalid::Incomplete("uid"))?,
        image_is_named: spec.image.as_ref().is_some_and(|image| !image.is_empty()),
        image: image_of(spec.image.as_deref(), default_image)?,
        default_image: default_image.map(str::to_owned),
        image_pull_policy: spec.image_pull_policy,
        replicas: replicas_of(spec.replicas)?,
        replication_factor: at_least_one("replicationFactor", spec.replication_factor)?,
        partition_count: at_least_one("partitions", spec.partitions)?,
        storage_size: spec.storage.size.clone(),
        storage_class: spec.storage.storage_class_name.clone(),
        compute: Compute {
            requests: quantities(&requests_of(&spec.resources)),
            limits: quantities(&spec.resources.limits),
        },
        config: config_of(&spec.config)?,
        topology: spec.topology.clone(),
        restart: cluster.annotations().get(RESTART_ANNOTATION).cloned(),
        reclaim: spec.storage.reclaim.clone(),
        update: spec.update.clone(),
        replacement: spec.replacement.clone(),
        replace: replace_of(cluster)?,
        suspend: spec.suspend,
        paused: annotation(cluster, PAUSED_ANNOTATION) == Some("true"),
    })
}

/// The cluster's name, checked against what a service and a label may be called.
pub fn name_of(cluster: &KotobaCluster) -> Result<ClusterName, Invalid> {
    let name = cluster.name_any();
    let first_is_letter = name.starts_with(|letter: char| letter.is_ascii_lowercase());
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if !first_is_letter || !name.chars().all(allowed) || name.ends_with('-') || name.len() > MAX_NAME_LENGTH {
        return Err(Invalid::Name(name));
    }
    Ok(ClusterName {
        namespace: cluster.namespace().ok_or(Invalid::Incomplete("namespace"))?,
        name,
    })
}

/// What is asked for, and the default of what is not named at all: a limit alone is what Kubernetes asks for, too.
fn requests_of(resources: &Resources) -> BTreeMap<String, IntOrString> {
    let Resources { requests, limits } = resources;
    let mut asked = Resources::default().requests;
    asked.retain(|name, _| !limits.contains_key(name));
    asked.extend(requests.clone());
    asked
}

fn annotation<'a>(cluster: &'a KotobaCluster, key: &str) -> Option<&'a str> {
    cluster.annotations().get(key).map(String::as_str)
}

fn replace_of(cluster: &KotobaCluster) -> Result<BTreeSet<u64>, Invalid> {
    let typed = annotation(cluster, REPLACE_ANNOTATION).unwrap_or_default();
    let ids = typed.split(',').map(str::trim).filter(|id| !id.is_empty());
    ids.map(|id| id.parse().map_err(|_| Invalid::Replace(id.to_owned())))
        .collect()
}

fn config_of(typed: &Config) -> Result<Config, Invalid> {
    for number in typed.numbers() {
        let (least, most) = number.allowed.into_inner();
        if let Some(value) = number.value.filter(|value| *value < least || *value > most) {
            return Err(Invalid::Config {
                field: number.field,
                value,
                least,
                most,
            });
        }
    }
    Ok(typed.clone())
}

fn image_of(typed: Option<&str>, default: Option<&str>) -> Result<String, Invalid> {
    typed
        .filter(|image| !image.is_empty())
        .or(default.filter(|image| !image.is_empty()))
        .map(str::to_owned)
        .ok_or(Invalid::NoImage)
}

fn replicas_of(typed: i32) -> Result<u32, Invalid> {
    u32::try_from(typed)
        .ok()
        .filter(|replicas| (1..=MAX_REPLICAS).contains(replicas))
        .ok_or(Invalid::Replicas(typed))
}

fn at_least_one(field: &'static str, typed: Option<i32>) -> Result<u32, Invalid> {
    let Some(value) = typed else {
        return Ok(DATABASE_DEFAULT);
    };
    u32::try_from(value)
        .ok()
        .filter(|value| *value > 0)
        .ok_or(Invalid::BelowOne { field, value })
}

fn quantities(typed: &BTreeMap<String, IntOrString>) -> BTreeMap<String, String> {
    let text = |value: &IntOrString| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    typed.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// A Kubernetes quantity as a number, to compare two of them; none if it is not one.
///
/// f64 is exact up to 2^53 bytes (9 PiB), which is above any disk a member could have.
pub fn quantity_bytes(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 13] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1.0));
    let digits = number.trim_start_matches(['+', '-']);
    let number = digits
        .starts_with(|first: char| first.is_ascii_digit() || first == '.')
        .then_some(number)?;
    number.parse::<f64>().ok().map(|value| value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::KotobaClusterSpec;

    fn cluster(name: &str) -> KotobaCluster {
        let spec = KotobaClusterSpec {
            replicas: 3,
            ..KotobaClusterSpec::default()
        };
        let mut cluster = KotobaCluster::new(name, spec);
        cluster.metadata.namespace = Some("graphs".into());
        cluster.metadata.uid = Some("uid-1".into());
        cluster
    }

    #[test]
    fn what_the_author_left_out_is_filled_in() {
        let valid = validate(&cluster("g"), Some("kotoba:1")).unwrap();
        assert_eq!(
            (valid.image.as_str(), valid.replication_factor),
            ("kotoba:1", DATABASE_DEFAULT)
        );
        assert_eq!(
            (valid.storage_size.as_str(), valid.compute.requests["cpu"].as_str()),
            ("10Gi", "100m")
        );
    }

    #[test]
    fn what_is_not_asked_for_has_its_default_unless_it_is_limited() {
        let asked = |requests: &[(&str, &str)], limits: &[(&str, &str)]| {
            let quantities = |named: &[(&str, &str)]| {
                let quantity =
                    |(name, value): &(&str, &str)| (name.to_string(), IntOrString::String(value.to_string()));
                named.iter().map(quantity).collect()
            };
            let mut typed = cluster("g");
            typed.spec.resources = Resources {
                requests: quantities(requests),
                limits: quantities(limits),
            };
            let requests = validate(&typed, Some("kotoba:1")).unwrap().compute.requests;
            let text = |(name, value): (String, String)| format!("{name}={value}");
            requests.into_iter().map(text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(asked(&[("cpu", "2")], &[]), "cpu=2 memory=256Mi");
        assert_eq!(asked(&[("cpu", "2")], &[("memory", "128Mi")]), "cpu=2");
        assert_eq!(
            asked(&[("memory", "1Gi"), ("hugepages-2Mi", "4Mi")], &[]),
            "cpu=100m hugepages-2Mi=4Mi memory=1Gi"
        );
    }

    #[test]
    fn the_image_in_the_spec_wins_over_the_default() {
        let mut typed = cluster("g");
        typed.spec.image = Some("mine:2".into());
        assert_eq!(validate(&typed, Some("kotoba:1")).unwrap().image, "mine:2");
        typed.spec.image = None;
        assert_eq!(validate(&typed, None), Err(Invalid::NoImage));
    }

    #[test]
    fn a_name_that_no_service_can_have_is_refused() {
        for name in ["9g", "a.b", "a-", "G", &"g".repeat(41)] {
            assert_eq!(validate(&cluster(name), Some("i")), Err(Invalid::Name(name.to_owned())));
        }
    }

    #[test]
    fn a_size_that_is_no_quantity_is_refused() {
        for size in ["", "Gi", "ten", "0", "-1Gi", "1GiB", "inf", "NaN"] {
            let mut typed = cluster("g");
            typed.spec.storage.size = size.into();
            assert_eq!(
                validate(&typed, Some("i")),
                Err(Invalid::StorageSize(size.into())),
                "{size}"
            );
        }
    }

    #[test]
    fn a_setting_out_of_its_bounds_is_refused_by_its_name() {
        let mut typed = cluster("g");
        typed.spec.config.query_memory_mib = Some(1);
        let refusal = validate(&typed, Some("i")).unwrap_err().to_string();
        assert!(refusal.contains("spec.config.queryMemoryMib is 1"), "{refusal}");
    }

    #[test]
    fn quantities_in_different_units_compare() {
        assert_eq!(quantity_bytes("1Gi"), quantity_bytes("1024Mi"));
        assert!(quantity_bytes("1G") < quantity_bytes("1Gi"));
        assert_eq!(quantity_bytes("2e3"), Some(2000.0));
    }
}
