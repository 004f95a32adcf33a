//! Kubernetes in Docker: one control plane and three workers, each worker in a zone of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{ImageBuilder, Kind, Platform};
use crate::process::Program;
use crate::say::say;
use crate::settings::Settings;

const NAME: &str = "kotoba";
/// The node image of several hundred megabytes may have to be pulled first.
const CREATE_LIMIT: Duration = Duration::from_secs(900);
const LIMIT: Duration = Duration::from_secs(180);

const CONFIG: &str = r#"kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
  - role: worker
    labels: {topology.kubernetes.io/zone: zone-a}
  - role: worker
    labels: {topology.kubernetes.io/zone: zone-b}
  - role: worker
    labels: {topology.kubernetes.io/zone: zone-c}
"#;

pub async fn start(settings: &Settings) -> Result<Platform> {
    std::fs::create_dir_all(&settings.scratch).context("making the scratch folder")?;
    let kubeconfig = settings.scratch.join("kind.kubeconfig");
    let was_up = is_up().await?;
    if was_up {
        say("the kind cluster is already up");
        write_kubeconfig(&kubeconfig).await?;
    } else {
        create(settings, &kubeconfig).await?;
    }
    Ok(Platform {
        kind: Kind::Docker,
        kubeconfig,
        image_builder: ImageBuilder::Docker,
        was_up,
    })
}

async fn is_up() -> Result<bool> {
    let clusters = kind().args(["get", "clusters"]).run(LIMIT).await?;
    Ok(clusters.lines().any(|line| line.trim() == NAME))
}

async fn create(settings: &Settings, kubeconfig: &Path) -> Result<()> {
    let config = settings.scratch.join("kind.yaml");
    std::fs::write(&config, CONFIG).context("writing kind's configuration")?;
    kind()
        .args(["create", "cluster", "--name", NAME, "--wait", "300s"])
        .arg("--config")
        .arg(&config)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .loud()
        .run(CREATE_LIMIT)
        .await
        .map(drop)
}

async fn write_kubeconfig(path: &Path) -> Result<()> {
    let text = kind().args(["get", "kubeconfig", "--name", NAME]).run(LIMIT).await?;
    std::fs::write(path, text).context("writing kind's kubeconfig")
}

pub async fn load_image(archive: &Path) -> Result<()> {
    kind()
        .args(["load", "image-archive", "--name", NAME])
        .arg(archive)
        .run(LIMIT)
        .await
        .map(drop)
}

/// A node is a container: frozen, it answers nobody.
pub async fn pause_node(node: &str) -> Result<()> {
    docker("pause", node).await
}

pub async fn unpause_node(node: &str) -> Result<()> {
    docker("unpause", node).await
}

async fn docker(what: &str, node: &str) -> Result<()> {
    Program::new("docker").args([what, node]).run(LIMIT).await.map(drop)
}

pub async fn stop(settings: &Settings) -> Result<()> {
    kind()
        .args(["delete", "cluster", "--name", NAME, "--kubeconfig"])
        .arg(settings.scratch.join("kind.kubeconfig"))
        .run(LIMIT)
        .await
        .map(drop)
}

fn kind() -> Program {
    Program::new("kind")
}
