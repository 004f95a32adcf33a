//! Installs and removes the operator's chart, as a person would.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::images::Images;
use crate::process::Program;
use crate::settings::{Installation, Settings};
use crate::tools;

/// helm itself waits for nothing; the caller does, and says what is missing.
const LIMIT: Duration = Duration::from_secs(120);

/// A helm that talks to one cluster.
pub struct Helm<'a> {
    settings: &'a Settings,
    kubeconfig: &'a Path,
    installation: Installation,
}

impl<'a> Helm<'a> {
    pub fn new(settings: &'a Settings, kubeconfig: &'a Path, installation: Installation) -> Self {
        Helm {
            settings,
            kubeconfig,
            installation,
        }
    }

    /// Installs the chart with these images, or changes the release into that.
    pub async fn install(&self, images: &Images) -> Result<()> {
        let chart = self.settings.repository.join("charts/kotoba-operator");
        let values = [
            format!("image.repository={}", images.operator.repository),
            format!("image.tag={}", images.operator.tag),
            format!("clusterImage={}", images.node.name()),
            format!("watchNamespaces={{{}}}", self.installation.watched.join(",")),
        ];
        self.program()
            .await?
            // The CRD stays when a release goes, so another release may have to take it over.
            .args(["upgrade", "--install", "--take-ownership", self.installation.release])
            .arg(chart)
            .args(values.iter().flat_map(|value| ["--set", value]))
            .run(LIMIT)
            .await
            .map(drop)
    }

    /// What the chart brings to be tested with: whether the installation works.
    pub async fn test(&self) -> Result<()> {
        let limit = format!("{}s", LIMIT.as_secs());
        self.program()
            .await?
            .args(["test", self.installation.release, "--timeout", &limit])
            .run(2 * LIMIT)
            .await
            .map(drop)
    }

    pub async fn uninstall(&self) -> Result<()> {
        let release = self.installation.release;
        self.program()
            .await?
            .args(["uninstall", release, "--ignore-not-found"])
            .run(LIMIT)
            .await
            .map(drop)
    }

    async fn program(&self) -> Result<Program> {
        let helm = tools::find(self.settings, "helm").await?;
        let namespace = self.installation.operator_namespace;
        Ok(Program::new(helm)
            .env("KUBECONFIG", self.kubeconfig)
            .args(["--namespace", namespace]))
    }
}
