//! Names, labels and ports that the objects of a cluster share. Anything that two objects must agree on is here.

use std::collections::BTreeMap;

/// Where members speak to each other, and where the operator speaks to them.
pub const PEER_PORT: i32 = 7600;
/// Where clients speak to a member (gRPC).
pub const CLIENT_PORT: i32 = 7700;
/// Probes and metrics of a member.
pub const HTTP_PORT: i32 = 7680;

/// The label that all objects of a cluster carry, and the only one in selectors: selectors cannot change later.
pub const CLUSTER_LABEL: &str = "kotoba.dev/cluster";
/// On a cluster, any text that changes (`kubectl kotoba restart` writes the time): it is put into the pod template, and so all
/// pods are made anew, one at a time.
pub const RESTART_ANNOTATION: &str = "kotoba.dev/restart";
/// On the pod template and so on every pod: what its author decided of it, as text (see `recipe`).
pub const RECIPE_ANNOTATION: &str = "kotoba.dev/recipe";
/// The one container of a pod.
pub const CONTAINER: &str = "kotoba";
/// Value of app.kubernetes.io/managed-by, and the field manager of what the operator applies.
pub const OPERATOR: &str = "kotoba-operator";
/// The volume claim template; claims are called `data-<pod>`.
pub const DATA_VOLUME: &str = "data";
/// On a claim: the id that the disk behind it gives itself. It outlives the pod, which alone could be asked.
pub const DISK_ANNOTATION: &str = "kotoba.dev/disk-id";
/// On a claim, for the person who reads it: the member on that disk.
pub const MEMBER_ANNOTATION: &str = "kotoba.dev/member-id";
/// On the resource: ids of members, with commas, whose disk is lost for good and that another may follow.
pub const REPLACE_ANNOTATION: &str = "kotoba.dev/replace-member";
/// On the resource: `true` keeps the operator from changing anything.
pub const PAUSED_ANNOTATION: &str = "kotoba.dev/paused";

/// A cluster's name in its namespace, from which all others follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterName {
    pub namespace: String,
    pub name: String,
}

impl ClusterName {
    /// The pod of a slot; the StatefulSet controller fixes this form.
    pub fn pod(&self, slot: u32) -> String {
        format!("{}-{slot}", self.name)
    }

    pub fn claim(&self, slot: u32) -> String {
        format!("{DATA_VOLUME}-{}", self.pod(slot))
    }

    /// The headless service that gives each pod a DNS name.
    pub fn peer_service(&self) -> String {
        format!("{}-peers", self.name)
    }

    /// What a member is dialled by. A DNS name, because a pod's IP changes when it is made anew.
    pub fn peer_address(&self, slot: u32) -> String {
        self.address(slot, PEER_PORT)
    }

    pub fn client_address(&self, slot: u32) -> String {
        self.address(slot, CLIENT_PORT)
    }

    fn address(&self, slot: u32, port: i32) -> String {
        let (pod, service) = (self.pod(slot), self.peer_service());
        format!("{pod}.{service}.{}.svc:{port}", self.namespace)
    }

    /// The slot of a pod or a member by its name; none if it is not one of this cluster's.
    pub fn slot_of(&self, pod: &str) -> Option<u32> {
        let ordinal = pod.strip_prefix(&self.name)?.strip_prefix('-')?;
        let slot = ordinal.parse().ok()?;
        (self.pod(slot) == pod).then_some(slot)
    }

    pub fn selector(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(CLUSTER_LABEL.to_owned(), self.name.clone())])
    }

    /// The selector as text, for list calls and for `status.selector`.
    pub fn selector_text(&self) -> String {
        format!("{CLUSTER_LABEL}={}", self.name)
    }

    pub fn labels(&self) -> BTreeMap<String, String> {
        let recommended = [
            ("app.kubernetes.io/name", "kotoba"),
            ("app.kubernetes.io/instance", &self.name),
            ("app.kubernetes.io/component", "database"),
            ("app.kubernetes.io/part-of", "kotoba"),
            ("app.kubernetes.io/managed-by", OPERATOR),
            (CLUSTER_LABEL, &self.name),
        ];
        recommended
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_read_back_from_its_pod_and_from_nothing_else() {
        let cluster = ClusterName {
            namespace: "graphs".into(),
            name: "g-1".into(),
        };
        assert_eq!(cluster.slot_of(&cluster.pod(12)), Some(12));
        for other in ["g-1", "g-1-", "g-1-01", "g-1-+1", "g-1-x", "g-2-1", "1"] {
            assert_eq!(cluster.slot_of(other), None, "{other}");
        }
    }
}
