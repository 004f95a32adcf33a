//! Who may dial which port: the peer port is for the cluster's own pods and the operator, the others for everybody.
//!
//! The peer port trusts its callers (it founds clusters and carries Raft), so it must not be open to all.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{metadata, selector};
use crate::names::{CLIENT_PORT, HTTP_PORT, OPERATOR, PEER_PORT};
use crate::validate::ValidatedCluster;

pub(super) fn build(cluster: &ValidatedCluster, operator_namespace: Option<&str>) -> NetworkPolicy {
    let own_pods = NetworkPolicyPeer {
        pod_selector: Some(selector(cluster)),
        ..NetworkPolicyPeer::default()
    };
    let for_members = NetworkPolicyIngressRule {
        from: Some([own_pods].into_iter().chain(operator_namespace.map(operator)).collect()),
        ports: Some(vec![port(PEER_PORT)]),
    };
    let for_all = NetworkPolicyIngressRule {
        from: None,
        ports: Some(vec![port(CLIENT_PORT), port(HTTP_PORT)]),
    };
    NetworkPolicy {
        metadata: metadata(cluster, &cluster.name.name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(cluster)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![for_members, for_all]),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// The operator's pods, by the label that its chart sets.
fn operator(namespace: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(matching("kubernetes.io/metadata.name", namespace)),
        pod_selector: Some(matching("app.kubernetes.io/name", OPERATOR)),
        ..NetworkPolicyPeer::default()
    }
}

fn matching(label: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some([(label.to_owned(), value.to_owned())].into()),
        ..LabelSelector::default()
    }
}

fn port(number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    }
}
