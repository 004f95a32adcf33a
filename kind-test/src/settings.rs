//! Where things are and what they are called: folders of the checkout, folders outside it, namespaces and names.
//!
//! Everything that a person can set comes from here, read once; the rest of the crate reads no environment variable.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Environment variable that names the kubeconfig of a cluster to be used as it is.
pub const GIVEN_KUBECONFIG: &str = "KOTOBA_TEST_KUBECONFIG";
/// Command that gives an image to such a cluster's nodes; it gets the archive and the tag as arguments.
pub const LOAD_IMAGE_COMMAND: &str = "KOTOBA_TEST_LOAD_IMAGE";

/// One installation of the operator with one database: the tests' own, or the sample of `make up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installation {
    pub release: &'static str,
    pub operator_namespace: &'static str,
    pub namespace: &'static str,
    pub cluster: &'static str,
    /// Another namespace in which it works, made with the first.
    pub neighbour: Option<&'static str>,
    /// Where the operator works; two operators may not have a namespace in common.
    pub watched: &'static [&'static str],
}

/// What the tests install; its names differ from the sample's, so that both fit into one Kubernetes.
pub const TESTED: Installation = Installation {
    release: "kotoba-test",
    operator_namespace: "kotoba-test-system",
    namespace: "kotoba-test",
    cluster: "graph",
    neighbour: Some("kotoba-test-neighbour"),
    watched: &["kotoba-test", "kotoba-test-neighbour"],
};

/// What `make up` installs.
pub const SAMPLE: Installation = Installation {
    release: "kotoba-operator",
    operator_namespace: "kotoba-system",
    namespace: "kotoba-sample",
    cluster: "sample",
    neighbour: None,
    watched: &["kotoba-sample", "default"],
};

#[derive(Clone, Debug)]
pub struct Settings {
    /// The checkout.
    pub repository: PathBuf,
    /// What a failed step leaves for a person.
    pub artifacts: PathBuf,
    /// Image archives and generated graphs: rebuilt at will.
    pub scratch: PathBuf,
    /// Programs and the state of the self-made Kubernetes, outside the checkout.
    pub cache: PathBuf,
    pub given_kubeconfig: Option<PathBuf>,
    pub load_image_command: Option<String>,
    /// The LDBC mini data set, where it is there.
    pub ldbc: Option<PathBuf>,
}

impl Installation {
    /// All namespaces that were made for it.
    pub fn namespaces(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.operator_namespace, self.namespace]
            .into_iter()
            .chain(self.neighbour)
    }
}

impl Settings {
    pub fn from_environment() -> Result<Self> {
        let repository = repository()?;
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| repository.join("target"), PathBuf::from)
            .join("kind-test");
        let ldbc = path_variable("KOTOBA_TEST_LDBC").unwrap_or_else(|| repository.join("../shared/ldbc-mini"));
        Ok(Settings {
            artifacts: path_variable("KOTOBA_TEST_ARTIFACTS").unwrap_or(target.join("artifacts")),
            scratch: target,
            cache: cache()?,
            given_kubeconfig: path_variable(GIVEN_KUBECONFIG),
            load_image_command: env::var(LOAD_IMAGE_COMMAND).ok(),
            ldbc: ldbc.join("data").is_dir().then_some(ldbc),
            repository,
        })
    }

    /// A script of the self-made Kubernetes.
    pub fn cluster_script(&self, name: &str) -> PathBuf {
        self.repository.join("kind-test/cluster").join(name)
    }

    /// Folder with the static release binaries.
    pub fn binaries(&self) -> PathBuf {
        self.repository.join("bin")
    }
}

fn path_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn cache() -> Result<PathBuf> {
    if let Some(cache) = path_variable("KOTOBA_CACHE") {
        return Ok(cache);
    }
    let home = path_variable("HOME").context("neither KOTOBA_CACHE nor HOME is set: set one")?;
    Ok(home.join(".cache/kotoba"))
}

/// The checkout this program runs in, else the one it was built from.
fn repository() -> Result<PathBuf> {
    let here = env::current_dir().context("reading the current folder")?;
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .chain(built_from.ancestors())
        .find(|folder| folder.join("kind-test/cluster").is_dir())
        .map(Path::to_path_buf)
        .context("this is no checkout of KotobaDB: run it from inside one")
}
