//! Where a setting was typed: reads the file, lays flags and environment over it, and names the place of what cannot be.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::check::Impossible;
use super::file::Settings;
use super::{Config, table};

/// Why the settings could not be used; the message names the key, and the file and line or the flag.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("read the settings file {path}: does it exist and may this user read it?")]
    ReadFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the settings file {path} is not understood")]
    ParseFile {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("a flag or a variable of the environment is not UTF-8")]
    NotText(#[source] Box<toml::ser::Error>),
    #[error("{place}{impossible}")]
    Impossible { place: Place, impossible: Impossible },
}

/// Where the value that cannot be was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In none: the value is a default that does not go with others, or is absent.
    Nowhere,
    Flag(String),
    Line {
        path: PathBuf,
        line: usize,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Nowhere => Ok(()),
            Place::Flag(flag) => write!(f, "{flag}: "),
            Place::Line { path, line } => write!(f, "line {line} of {}: ", path.display()),
        }
    }
}

/// A settings file as it was read.
struct File {
    path: PathBuf,
    text: String,
    settings: toml::Table,
}

impl File {
    /// An unknown key or a wrong type is refused with its line.
    fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::ReadFile {
            path: path.to_owned(),
            source,
        })?;
        let wrong = |source| SettingsError::ParseFile {
            path: path.to_owned(),
            source: Box::new(source),
        };
        toml::from_str::<Settings>(&text).map_err(wrong)?;
        Ok(File {
            settings: toml::from_str(&text).map_err(wrong)?,
            path: path.to_owned(),
            text,
        })
    }
}

/// What is used: the file where one is named, and over it what flags and environment say.
pub fn into_config(file: Option<&Path>, flags: &Settings) -> Result<Config, SettingsError> {
    let file = file.map(File::read).transpose()?;
    let over = toml::Table::try_from(flags).map_err(|error| SettingsError::NotText(Box::new(error)))?;
    let mut all = file.as_ref().map(|file| file.settings.clone()).unwrap_or_default();
    lay_over(&mut all, &over);
    let settings = Settings::deserialize(all).expect("both parts were of this type, and so is what they make together");
    settings.into_config().map_err(|impossible| SettingsError::Impossible {
        place: place_of(&impossible, file.as_ref(), &over),
        impossible,
    })
}

fn lay_over(settings: &mut toml::Table, over: &toml::Table) {
    for (key, value) in over {
        match (settings.get_mut(key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => drop(settings.insert(key.clone(), value.clone())),
        }
    }
}

/// Of the key itself, else of another one that its rule names.
fn place_of(impossible: &Impossible, file: Option<&File>, flags: &toml::Table) -> Place {
    let keys = std::iter::once(&impossible.key).chain(impossible.related);
    let place = |key: &&str| {
        if table::value_of(flags, key).is_some() {
            return table::flag_of(key).map(Place::Flag);
        }
        let file = file?;
        let line = line_of(&file.text, key)?;
        let path = file.path.clone();
        Some(Place::Line { path, line })
    };
    keys.into_iter().find_map(place).unwrap_or(Place::Nowhere)
}

/// From 1.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let offset = offset_of(document.get_ref(), key)?;
    Some(text[..offset].matches('\n').count() + 1)
}

fn offset_of(table: &DeTable<'_>, key: &str) -> Option<usize> {
    let (first, rest) = match key.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (key, None),
    };
    let value = table.get(first)?;
    match (rest, value.get_ref()) {
        (None, _) => Some(value.span().start),
        (Some(rest), DeValue::Table(table)) => offset_of(table, rest),
        (Some(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, flags: &Settings) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kotoba.toml");
        std::fs::write(&path, text).unwrap();
        let error = into_config(Some(&path), flags).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error} {}", cause.unwrap_or_default())
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = refused("zone = \"a\"\nzonne = \"b\"\n", &Settings::default());
        assert!(text.contains("zonne") && text.contains("line 2"), "{text}");
    }

    #[test]
    fn an_impossible_value_is_named_with_its_line() {
        let text = refused(
            "zone = \"a\"\n\n[queries]\n# Small.\nmemory_mib = 1\n",
            &Settings::default(),
        );
        assert!(
            text.starts_with("line 5 of ") && text.contains("queries.memory_mib = 1"),
            "{text}"
        );
        let text = refused("membership.max_missed_heartbeats = 900\n", &Settings::default());
        assert!(
            text.starts_with("line 1 of ") && text.contains("failure_timeout_ms"),
            "{text}"
        );
        let text = refused("zone = \"a\"\npeers = [\n  \"a:1\",\n  \"b\"]\n", &Settings::default());
        assert!(text.starts_with("line 2 of ") && text.contains("\"b\""), "{text}");
    }

    #[test]
    fn an_impossible_flag_is_named_and_not_the_line_that_it_overrides() {
        let mut flags = Settings::default();
        flags.queries.memory_mib = Some(2);
        let text = refused("[queries]\nmemory_mib = 1\n", &flags);
        let flag = "--query-memory-mib (KOTOBA_QUERY_MEMORY_MIB): queries.memory_mib = 2";
        assert!(text.starts_with(flag), "{text}");
    }

    #[test]
    fn flags_win_over_the_file_key_by_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kotoba.toml");
        std::fs::write(&path, "zone = \"file\"\n[queries]\nmax_rows = 1\nmemory_mib = 100\n").unwrap();
        let mut flags = Settings::default();
        flags.queries.max_rows = Some(2);
        let config = into_config(Some(&path), &flags).unwrap();
        assert_eq!(config.zone, "file");
        assert_eq!((config.queries.max_rows, config.queries.memory_bytes), (2, 100 << 20));
    }
}
