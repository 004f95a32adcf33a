//! All settings in one table: key in the file, flag, variable, default, meaning; derived from `Settings` itself.

use clap::{Arg, Args, Command};

use super::file::Settings;

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// In the file: `table.key`.
    pub key: String,
    pub flag: String,
    pub variable: String,
    /// As the file has it.
    pub default: String,
    pub meaning: String,
}

/// The settings in the order of their struct.
pub fn rows() -> Vec<Row> {
    let defaults = toml::Table::try_from(Settings::defaults()).expect("the defaults are text and numbers");
    arguments()
        .get_arguments()
        .filter_map(|argument| row(argument, &defaults))
        .collect()
}

/// The flag of a key, and its variable.
pub fn flag_of(key: &str) -> Option<String> {
    let row = rows().into_iter().find(|row| row.key == key)?;
    Some(format!("{} ({})", row.flag, row.variable))
}

fn arguments() -> Command {
    Settings::augment_args(Command::new("serve"))
}

fn row(argument: &Arg, defaults: &toml::Table) -> Option<Row> {
    let key = argument.get_id().to_string();
    Some(Row {
        flag: format!("--{}", argument.get_long()?),
        variable: argument.get_env()?.to_str()?.to_owned(),
        default: value_of(defaults, &key)?.to_string(),
        meaning: argument.get_help()?.to_string(),
        key,
    })
}

/// The value of a key like `table.key`.
pub(super) fn value_of<'a>(settings: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    match key.split_once('.') {
        Some((table, key)) => value_of(settings.get(table)?.as_table()?, key),
        None => settings.get(key),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every key that the file may have, by `Settings` alone.
    fn keys_of(settings: &toml::Table) -> Vec<String> {
        let mut keys = Vec::new();
        for (key, value) in settings {
            match value {
                toml::Value::Table(table) => {
                    keys.extend(keys_of(table).into_iter().map(|inner| format!("{key}.{inner}")));
                }
                _ => keys.push(key.clone()),
            }
        }
        keys
    }

    #[test]
    fn every_key_of_the_file_is_in_the_table_with_a_flag_and_a_variable() {
        let defaults = toml::Table::try_from(Settings::defaults()).unwrap();
        let keys: BTreeSet<_> = keys_of(&defaults).into_iter().collect();
        let rows = rows();
        assert_eq!(rows.iter().map(|row| row.key.clone()).collect::<BTreeSet<_>>(), keys);
        let flags: BTreeSet<_> = rows.iter().map(|row| &row.flag).collect();
        let variables: BTreeSet<_> = rows.iter().map(|row| &row.variable).collect();
        assert_eq!((flags.len(), variables.len()), (keys.len(), keys.len()));
        assert!(
            rows.iter()
                .all(|row| row.variable.starts_with("KOTOBA_") && row.meaning.len() > 10)
        );
    }

    #[test]
    fn every_number_has_its_unit_in_its_name() {
        let units = ["_ms", "_s", "_mib", "_rows", "_heartbeats", "_connections"];
        for row in rows().iter().filter(|row| row.default.parse::<u64>().is_ok()) {
            assert!(units.iter().any(|unit| row.key.ends_with(unit)), "{}", row.key);
        }
    }
}
