//! The service that clients dial: any ready member answers.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use super::metadata;
use super::peer_service::port;
use crate::names::{CLIENT_PORT, HTTP_PORT};
use crate::validate::ValidatedCluster;

pub(super) fn build(cluster: &ValidatedCluster) -> Service {
    let client = ServicePort {
        app_protocol: Some("grpc".to_owned()),
        ..port("client", CLIENT_PORT)
    };
    let http = ServicePort {
        app_protocol: Some("http".to_owned()),
        ..port("http", HTTP_PORT)
    };
    let spec = ServiceSpec {
        selector: Some(cluster.name.selector()),
        ports: Some(vec![client, http]),
        ..ServiceSpec::default()
    };
    Service {
        metadata: metadata(cluster, &cluster.name.name),
        spec: Some(spec),
        ..Service::default()
    }
}
