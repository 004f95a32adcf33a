//! The two images under test, made from the static release binaries and given to all nodes.
//!
//! A tag is the hash of what is in the image, so that no node can start an older build under the same name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::platform::{ImageBuilder, Platform};
use crate::process::Program;
use crate::say::say;
use crate::settings::Settings;

/// One image, with nothing pulled but what the machine has.
const BUILD_LIMIT: Duration = Duration::from_secs(300);
/// Hex digits of the hash in a tag: 64 bits.
const TAG_DIGITS: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub repository: String,
    pub tag: String,
}

impl Image {
    pub fn name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

#[derive(Clone, Debug)]
pub struct Images {
    pub node: Image,
    pub operator: Image,
}

/// Both images, named after what is in them; nothing is built yet.
pub fn named(settings: &Settings) -> Result<Images> {
    Ok(Images {
        node: name(settings, "kotoba")?,
        operator: name(settings, "kotoba-operator")?,
    })
}

/// Builds what is not built yet and gives it to the nodes.
pub async fn provide(settings: &Settings, platform: &Platform) -> Result<Images> {
    let images = named(settings)?;
    for (target, image) in [("node", &images.node), ("operator", &images.operator)] {
        let archive = archive(settings, image);
        if !archive.is_file() {
            build(settings, platform.image_builder, target, image, &archive).await?;
        }
        platform.load_image(settings, &archive, &image.name()).await?;
        say(format!("{} is on all nodes", image.name()));
    }
    Ok(images)
}

fn name(settings: &Settings, binary: &str) -> Result<Image> {
    let path = settings.binaries().join(binary);
    ensure!(
        path.is_file(),
        "{} is missing: run scripts/build-release.sh bin",
        path.display()
    );
    let mut hasher = blake3::Hasher::new();
    for part in [&path, &settings.repository.join("Dockerfile")] {
        let bytes = std::fs::read(part).with_context(|| format!("reading {}", part.display()))?;
        hasher.update(&bytes);
    }
    let digits = hasher.finalize().to_hex();
    Ok(Image {
        repository: format!("localhost/{binary}"),
        tag: digits[..TAG_DIGITS].to_owned(),
    })
}

fn archive(settings: &Settings, image: &Image) -> PathBuf {
    let name = image.repository.replace('/', "-");
    let folder = settings.scratch.join("images");
    folder.join(format!("{name}-{}.tar", image.tag))
}

async fn build(settings: &Settings, builder: ImageBuilder, target: &str, image: &Image, archive: &Path) -> Result<()> {
    forget_older(archive)?;
    match builder {
        ImageBuilder::Docker => build_with_docker(settings, target, image, archive).await,
        ImageBuilder::Buildah => {
            Program::new(settings.cluster_script("build-image.sh"))
                .args([target, &image.name()])
                .arg(settings.binaries())
                .arg(archive)
                .run(BUILD_LIMIT)
                .await?;
            Ok(())
        }
    }
}

/// Only the newest archives are kept: each build makes two of tens of megabytes.
fn forget_older(archive: &Path) -> Result<()> {
    let folder = archive.parent().context("an archive without a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let prefix = archive
        .file_name()
        .and_then(|name| name.to_str()?.rsplit_once('-'))
        .map(|(prefix, _)| prefix.to_owned())
        .context("an archive without a name")?;
    for entry in std::fs::read_dir(folder).context("listing image archives")? {
        let path = entry.context("listing image archives")?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let same = name.and_then(|name| name.rsplit_once('-'));
        if same.is_some_and(|(of, _)| of == prefix) {
            std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

async fn build_with_docker(settings: &Settings, target: &str, image: &Image, archive: &Path) -> Result<()> {
    let binaries = format!("build={}", settings.binaries().display());
    Program::new("docker")
        .args(["build", "--target", target, "--tag", &image.name()])
        .args(["--build-context", &binaries])
        .arg(&settings.repository)
        .env("DOCKER_BUILDKIT", "1")
        .run(BUILD_LIMIT)
        .await?;
    Program::new("docker")
        .args(["save", "--output"])
        .arg(archive)
        .arg(image.name())
        .run(BUILD_LIMIT)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_archive_goes_and_another_image_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["localhost-kotoba-1.tar", "localhost-kotoba-operator-1.tar"] {
            std::fs::write(path(name), "").unwrap();
        }
        forget_older(&path("localhost-kotoba-2.tar")).unwrap();
        assert!(!path("localhost-kotoba-1.tar").exists());
        assert!(path("localhost-kotoba-operator-1.tar").exists());
    }
}
