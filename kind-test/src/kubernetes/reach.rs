//! A way from this machine to the client service: its address where that is routed here, else `kubectl port-forward`.
//!
//! A forward ends with the pod it goes to, so a task starts it again as long as the `Reach` lives.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::process::Program;
use crate::say::say;
use crate::settings::Settings;
use crate::tools;
use crate::wait::{Seen, until};

/// Name of the client port in the service.
const CLIENT_PORT_NAME: &str = "client";
/// A routed address answers in milliseconds; one that is not routed never does.
const ROUTED_LIMIT: Duration = Duration::from_secs(5);
/// The first forward has to find a running pod.
const FORWARD_LIMIT: Duration = Duration::from_secs(60);
/// Between two forwards, so that a service without pods does not burn a core.
const FORWARD_PAUSE: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub struct Reach {
    /// host:port
    pub address: String,
    forward: Option<JoinHandle<()>>,
}

impl Drop for Reach {
    fn drop(&mut self) {
        if let Some(forward) = &self.forward {
            forward.abort();
        }
    }
}

/// The client service of the only cluster in the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientService {
    pub name: String,
    pub address: String,
    pub port: u16,
}

pub async fn find_service(client: &Client, namespace: &str) -> Result<ClientService> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let services = api.list(&ListParams::default()).await;
    let services = services.context("listing services")?;
    services
        .iter()
        .find_map(client_service)
        .with_context(|| format!("no service with a port named {CLIENT_PORT_NAME} in {namespace}"))
}

fn client_service(service: &Service) -> Option<ClientService> {
    let spec = service.spec.as_ref()?;
    let address = spec.cluster_ip.clone().filter(|ip| ip != "None")?;
    let port = spec
        .ports
        .iter()
        .flatten()
        .find(|port| port.name.as_deref() == Some(CLIENT_PORT_NAME))?;
    Some(ClientService {
        name: service.name_any(),
        address,
        port: u16::try_from(port.port).ok()?,
    })
}

/// Opens a way to the service.
pub async fn open(
    settings: &Settings,
    kubeconfig: &std::path::Path,
    namespace: &str,
    service: &ClientService,
) -> Result<Reach> {
    let direct = format!("{}:{}", service.address, service.port);
    if answers(&direct).await {
        say(format!("clients use the service address {direct}"));
        return Ok(Reach {
            address: direct,
            forward: None,
        });
    }
    let kubectl = tools::find(settings, "kubectl").await?;
    let port = free_port()?;
    let forward = forward(kubectl, kubeconfig.to_owned(), namespace, service, port);
    let reach = Reach {
        address: format!("127.0.0.1:{port}"),
        forward: Some(tokio::spawn(forward)),
    };
    until("a forwarded port", FORWARD_LIMIT, || async {
        Ok(if answers(&reach.address).await {
            Seen::Done(())
        } else {
            Seen::Waiting("nothing listens yet".into())
        })
    })
    .await?;
    say(format!("clients use port-forward on {}", reach.address));
    Ok(reach)
}

async fn answers(address: &str) -> bool {
    let connected = tokio::time::timeout(ROUTED_LIMIT, TcpStream::connect(address)).await;
    matches!(connected, Ok(Ok(_)))
}

/// Given up again at once, so another program may take it; the tests' machine has no such neighbour.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
    Ok(listener.local_addr().context("reading a port")?.port())
}

fn forward(
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    namespace: &str,
    service: &ClientService,
    port: u16,
) -> impl Future<Output = ()> + Send + 'static {
    let target = format!("service/{}", service.name);
    let ports = format!("{port}:{}", service.port);
    let namespace = namespace.to_owned();
    async move {
        loop {
            let child = Program::new(&kubectl)
                .args(["--namespace", &namespace, "port-forward", &target, &ports])
                .env("KUBECONFIG", &kubeconfig)
                .spawn();
            if let Ok(mut child) = child {
                // However it ended, the next one is started.
                let _ended = child.wait().await;
            }
            tokio::time::sleep(FORWARD_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(cluster_ip: &str, port_name: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "g"},
            "spec": {"clusterIP": cluster_ip, "ports": [{"name": port_name, "port": 7700}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_headless_service_is_not_for_clients() {
        assert_eq!(client_service(&service("None", "client")), None);
        assert_eq!(client_service(&service("10.0.0.1", "peer")), None);
        let found = client_service(&service("10.0.0.1", "client")).unwrap();
        assert_eq!((found.address.as_str(), found.port), ("10.0.0.1", 7700));
    }
}
