//! The self-made Kubernetes of kind-test/cluster: three nodes as network namespaces of this machine, without Docker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{ImageBuilder, Kind, Platform, Start};
use crate::process::{Program, last_lines};
use crate::settings::Settings;

/// What the scripts exit with where the machine cannot do it.
const CANNOT: i32 = 77;
/// The script has said the particular reason on stderr.
const WHY_NOT: &str = "this machine offers neither a Docker engine with kind nor what kind-test/cluster/up.sh needs \
     (root, network namespaces; its reason stands above)";
/// The first time Kubernetes is built from source: 13 minutes on two cores, more where they are shared.
const UP_LIMIT: Duration = Duration::from_secs(40 * 60);
const LOAD_LIMIT: Duration = Duration::from_secs(180);
const NODE_LIMIT: Duration = Duration::from_secs(60);
const DOWN_LIMIT: Duration = Duration::from_secs(180);

pub async fn start(settings: &Settings) -> Result<Start> {
    let was_up = settings.cache.join("k8s/run/up").is_file();
    let output = Program::new(settings.cluster_script("up.sh"))
        .loud()
        .output(UP_LIMIT)
        .await?;
    if output.status.code() == Some(CANNOT) {
        return Ok(Start::Unavailable(WHY_NOT.to_owned()));
    }
    if !output.status.success() {
        bail!("up.sh failed ({}){}", output.status, last_lines(&output));
    }
    Ok(Start::Up(Platform {
        kind: Kind::Namespaces,
        kubeconfig: last_line(&output.stdout).context("up.sh named no kubeconfig")?,
        image_builder: ImageBuilder::Buildah,
        was_up,
    }))
}

fn last_line(stdout: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(stdout);
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map(|line| PathBuf::from(line.trim()))
}

pub async fn load_image(settings: &Settings, archive: &Path) -> Result<()> {
    Program::new(settings.cluster_script("load-image.sh"))
        .arg(archive)
        .run(LOAD_LIMIT)
        .await
        .map(drop)
}

/// `stop` or `start` of one node.
pub async fn node(settings: &Settings, what: &str, node: &str) -> Result<()> {
    Program::new(settings.cluster_script("node.sh"))
        .args([what, node])
        .run(NODE_LIMIT)
        .await
        .map(drop)
}

pub async fn stop(settings: &Settings) -> Result<()> {
    let output = Program::new(settings.cluster_script("down.sh"))
        .output(DOWN_LIMIT)
        .await?;
    match output.status.code() {
        Some(0 | CANNOT) => Ok(()),
        Some(_) | None => bail!("down.sh failed ({}){}", output.status, last_lines(&output)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubeconfig_is_the_last_line_that_says_anything() {
        let stdout = b"noise\n/somewhere/kubeconfig\n\n";
        assert_eq!(last_line(stdout), Some(PathBuf::from("/somewhere/kubeconfig")));
        assert_eq!(last_line(b"\n"), None);
    }
}
