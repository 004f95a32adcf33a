//! The Kubernetes that the tests run on: a given one, kind where a Docker engine runs, else nodes as network namespaces.
//!
//! A platform gives a kubeconfig, takes images, and is taken away again if it was not there before.

mod given;
mod kind;
mod namespaces;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process::Program;
use crate::say::say;
use crate::settings::Settings;

/// Where image archives come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageBuilder {
    Docker,
    Buildah,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Given,
    Docker,
    Namespaces,
}

/// A Kubernetes that is up.
#[derive(Debug)]
pub struct Platform {
    kind: Kind,
    pub kubeconfig: PathBuf,
    pub image_builder: ImageBuilder,
    /// It was there before this run, so it stays.
    pub was_up: bool,
}

/// A Kubernetes, or why there cannot be one on this machine.
#[derive(Debug)]
pub enum Start {
    Up(Platform),
    Unavailable(String),
}

/// Is a Docker engine there? The client alone says nothing.
const ENGINE_LIMIT: Duration = Duration::from_secs(20);

impl Platform {
    /// Finds out what this machine can do, and brings a Kubernetes up.
    pub async fn start(settings: &Settings) -> Result<Start> {
        if let Some(kubeconfig) = &settings.given_kubeconfig {
            say(format!("using the Kubernetes of {}", kubeconfig.display()));
            return given::start(kubeconfig).await.map(Start::Up);
        }
        if docker_runs().await && crate::tools::on_path("kind").is_some() {
            say("using kind: a Docker engine runs here");
            return kind::start(settings).await.map(Start::Up);
        }
        say("using nodes as network namespaces: no Docker engine with kind here");
        namespaces::start(settings).await
    }

    /// Gives an image to all nodes.
    pub async fn load_image(&self, settings: &Settings, archive: &Path, tag: &str) -> Result<()> {
        match self.kind {
            Kind::Given => given::load_image(settings, archive, tag).await,
            Kind::Docker => kind::load_image(archive).await,
            Kind::Namespaces => namespaces::load_image(settings, archive).await,
        }
    }

    /// It was made for tests, so its own objects may be changed, and its nodes stopped.
    pub fn is_ours(&self) -> bool {
        match self.kind {
            Kind::Given => false,
            Kind::Docker | Kind::Namespaces => true,
        }
    }

    /// Loses a node, without a word to it.
    pub async fn stop_node(&self, settings: &Settings, node: &str) -> Result<()> {
        match self.kind {
            Kind::Given => bail!("a node of a given Kubernetes is not stopped"),
            Kind::Docker => kind::pause_node(node).await,
            Kind::Namespaces => namespaces::node(settings, "stop", node).await,
        }
    }

    /// Brings it back.
    pub async fn start_node(&self, settings: &Settings, node: &str) -> Result<()> {
        match self.kind {
            Kind::Given => bail!("a node of a given Kubernetes is not started"),
            Kind::Docker => kind::unpause_node(node).await,
            Kind::Namespaces => namespaces::node(settings, "start", node).await,
        }
    }

    /// Takes it away, unless it was there before.
    pub async fn stop(&self, settings: &Settings) -> Result<()> {
        match self.kind {
            Kind::Given => Ok(()),
            Kind::Docker | Kind::Namespaces if self.was_up => Ok(()),
            Kind::Docker => kind::stop(settings).await,
            Kind::Namespaces => namespaces::stop(settings).await,
        }
    }
}

/// Takes away whatever `start` would have brought up, without asking who did.
pub async fn remove(settings: &Settings) -> Result<()> {
    if settings.given_kubeconfig.is_some() {
        return Ok(());
    }
    if docker_runs().await && crate::tools::on_path("kind").is_some() {
        return kind::stop(settings).await;
    }
    namespaces::stop(settings).await
}

async fn docker_runs() -> bool {
    Program::new("docker").arg("info").succeeds(ENGINE_LIMIT).await
}
