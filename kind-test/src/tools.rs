//! Finds helm and kubectl: on the PATH, or where the self-made Kubernetes keeps what it has built.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process::Program;
use crate::settings::Settings;

/// Asking a script where a program is.
const LIMIT: Duration = Duration::from_secs(60);

/// The path of a program by its name.
pub async fn find(settings: &Settings, name: &str) -> Result<PathBuf> {
    if let Some(path) = on_path(name).or_else(|| cached(settings, name)) {
        return Ok(path);
    }
    let script = settings.cluster_script("tool.sh");
    if script.is_file() {
        let answer = Program::new(&script).arg(name).run(LIMIT).await?;
        let path = PathBuf::from(answer.trim());
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("{name} is neither on the PATH nor in the cache: install it, or run kind-test/cluster/install.sh as root")
}

/// The program on the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Of the newest Kubernetes version in the cache.
fn cached(settings: &Settings, name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(settings.cache.join("k8s")).ok()?;
    versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)))
        .filter(|path| path.is_file())
        .max()
}
