//! A cluster that somebody else runs: its kubeconfig is used, its nodes get images by a command, it is never removed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{ImageBuilder, Kind, Platform, docker_runs};
use crate::process::Program;
use crate::say::say;
use crate::settings::{GIVEN_KUBECONFIG, LOAD_IMAGE_COMMAND, Settings};

/// A push to a registry and the nodes' pulls.
const LOAD_LIMIT: Duration = Duration::from_secs(600);

pub async fn start(kubeconfig: &Path) -> Result<Platform> {
    if !kubeconfig.is_file() {
        bail!("{GIVEN_KUBECONFIG} names {}, which is no file", kubeconfig.display());
    }
    let docker = docker_runs().await;
    Ok(Platform {
        kind: Kind::Given,
        kubeconfig: kubeconfig.to_owned(),
        image_builder: if docker {
            ImageBuilder::Docker
        } else {
            ImageBuilder::Buildah
        },
        was_up: true,
    })
}

pub async fn load_image(settings: &Settings, archive: &Path, tag: &str) -> Result<()> {
    let Some(command) = &settings.load_image_command else {
        say(format!(
            "{LOAD_IMAGE_COMMAND} is not set: the nodes must find {tag} themselves"
        ));
        return Ok(());
    };
    Program::new("sh")
        .args(["-c", &format!("{command} \"$1\" \"$2\""), "load-image"])
        .arg(archive)
        .arg(tag)
        .run(LOAD_LIMIT)
        .await
        .map(drop)
}
