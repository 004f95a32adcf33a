//! The headless service that gives every pod a DNS name of its own, ready or not.
//!
//! Members must find each other before any of them is ready: without `publishNotReadyAddresses` a cluster that was
//! stopped as a whole never starts again (vault#8489, hashicorp/raft#532).

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::names::{CLIENT_PORT, PEER_PORT};
use crate::validate::ValidatedCluster;

pub(super) fn build(cluster: &ValidatedCluster) -> Service {
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        selector: Some(cluster.name.selector()),
        ports: Some(vec![port("peer", PEER_PORT), port("client", CLIENT_PORT)]),
        ..ServiceSpec::default()
    };
    Service {
        metadata: metadata(cluster, &cluster.name.peer_service()),
        spec: Some(spec),
        ..Service::default()
    }
}

/// A port under the name that the container gives it.
pub(super) fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
