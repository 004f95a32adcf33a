//! `kotoba dev`: a whole cluster in one process, to try things.

use std::path::{Path, PathBuf};

use clap::Args;

use super::CliError;

/// Enough to see zones, moves and failures; more members in one process only share its CPU.
const MAX_MEMBERS: i64 = 9;

/// Run a cluster of several members in one process
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  kotoba dev
  kotoba dev --members 1 --keep
  kotoba dev --data-dir ./play

Without --keep or --data-dir all data is gone when it ends.")]
pub struct DevArgs {
    /// Number of members, 1 to 9
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=MAX_MEMBERS))]
    pub members: u8,
    /// Keep the data here
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep the data in ~/.local/share/kotoba/dev
    #[arg(long, conflicts_with = "data_dir")]
    pub keep: bool,
}

impl DevArgs {
    /// Where the data stays; `None` for a temporary directory. `data_home` and `home` as the XDG base directories define them.
    pub fn kept_data_dir(&self, data_home: Option<&Path>, home: Option<&Path>) -> Result<Option<PathBuf>, CliError> {
        if !self.keep {
            return Ok(self.data_dir.clone());
        }
        let data_home = data_home
            .map(Path::to_owned)
            .or_else(|| home.map(|home| home.join(".local/share")));
        match data_home {
            Some(data_home) => Ok(Some(data_home.join("kotoba/dev"))),
            None => Err(CliError::Usage(
                "HOME is not set; say where to keep the data with --data-dir DIR".into(),
            )),
        }
    }
}

pub(super) async fn run(args: DevArgs) -> Result<(), CliError> {
    let home = |name| std::env::var_os(name).map(PathBuf::from);
    let kept = args.kept_data_dir(home("XDG_DATA_HOME").as_deref(), home("HOME").as_deref())?;
    crate::dev::run(args.members, kept)
        .await
        .map_err(|error| CliError::Refused(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(keep: bool) -> DevArgs {
        DevArgs {
            members: 3,
            data_dir: None,
            keep,
        }
    }

    #[test]
    fn data_is_kept_only_on_request_and_under_the_home_directory() {
        let home = Path::new("/home/ada");
        assert_eq!(args(false).kept_data_dir(None, Some(home)).unwrap(), None);
        let kept = args(true).kept_data_dir(None, Some(home)).unwrap();
        assert_eq!(kept, Some(home.join(".local/share/kotoba/dev")));
        let kept = args(true).kept_data_dir(Some(Path::new("/data")), Some(home)).unwrap();
        assert_eq!(kept, Some(PathBuf::from("/data/kotoba/dev")));
        assert!(args(true).kept_data_dir(None, None).is_err());
    }
}
