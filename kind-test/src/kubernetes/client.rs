//! A client of the Kubernetes API from a kubeconfig file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

/// One call; the API server is on this machine or near it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

pub async fn connect(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("using {}", kubeconfig.display()))?;
    config.read_timeout = Some(READ_TIMEOUT);
    Client::try_from(config).context("making a Kubernetes client")
}
