//! kubectl as a person types it, and the plugin beside it.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{Program, last_lines};
use crate::tools;
use crate::trial::Trial;

/// One command; the API server is on this machine or near it.
const LIMIT: Duration = Duration::from_secs(60);

/// A program that finds the cluster by the kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: &'static str,
}

impl Kubectl {
    pub async fn find(trial: &Trial) -> Result<Self> {
        let program = tools::find(&trial.settings, "kubectl").await?;
        Ok(Kubectl::of(trial, program))
    }

    /// The plugin, as kubectl would call it.
    pub fn plugin(trial: &Trial) -> Result<Self> {
        let program = trial.settings.binaries().join("kubectl-kotoba");
        ensure!(
            program.is_file(),
            "{} is missing: run scripts/build-release.sh bin",
            program.display()
        );
        Ok(Kubectl::of(trial, program))
    }

    fn of(trial: &Trial, program: PathBuf) -> Self {
        Kubectl {
            program,
            kubeconfig: trial.platform.kubeconfig.clone(),
            namespace: trial.installation.namespace,
        }
    }

    /// Must succeed; gives what it printed.
    pub async fn run(&self, typed: &str) -> Result<String> {
        let output = self.output(typed).await?;
        ensure!(output.status.success(), "`{typed}` failed{}", last_lines(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Must fail, with this in what it says.
    pub async fn is_refused(&self, typed: &str, because: &str) -> Result<()> {
        let output = self.output(typed).await?;
        ensure!(!output.status.success(), "`{typed}` was not refused");
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            told.contains(because),
            "`{typed}` was refused without saying {because:?}{}",
            last_lines(&output)
        );
        Ok(())
    }

    /// Arguments are separated by blanks, and none has a blank in it.
    async fn output(&self, typed: &str) -> Result<Output> {
        Program::new(&self.program)
            .args(["--namespace", self.namespace])
            .args(typed.split_whitespace())
            .env("KUBECONFIG", &self.kubeconfig)
            .output(LIMIT)
            .await
            .with_context(|| format!("running `{typed}`"))
    }
}
