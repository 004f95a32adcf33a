//! Where a pod is dialled.
//!
//! By its IP, as Kubernetes reports it now: a DNS name of a new pod is published seconds later, and the answer
//! "no such name" is cached. An IP may be given to another pod meanwhile, so whoever answers is checked by name.

use std::net::IpAddr;
use std::sync::Arc;

use crate::names::{CLIENT_PORT, PEER_PORT};

/// A pod that is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub namespace: String,
    pub pod: String,
    pub ip: String,
}

/// Which of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Peer,
    Client,
}

/// Turns a target into `host:port`.
pub type Route = Arc<dyn Fn(&Target, Port) -> String + Send + Sync>;

/// The route that is used in a Kubernetes cluster.
pub fn by_pod_ip() -> Route {
    Arc::new(|target, port| {
        let number = match port {
            Port::Peer => PEER_PORT,
            Port::Client => CLIENT_PORT,
        };
        match target.ip.parse() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{number}"),
            Ok(IpAddr::V4(_)) | Err(_) => format!("{}:{number}", target.ip),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_written_as_a_url_needs_them() {
        let target = |ip: &str| Target {
            namespace: "graphs".into(),
            pod: "g-0".into(),
            ip: ip.into(),
        };
        let route = by_pod_ip();
        assert_eq!(route(&target("10.0.0.7"), Port::Peer), "10.0.0.7:7600");
        assert_eq!(route(&target("fd00::7"), Port::Client), "[fd00::7]:7700");
    }
}
