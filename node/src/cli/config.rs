//! `kotoba config`: prints every setting with its default, as a file to start from, or as a table.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;

use super::CliError;
use super::output::Output;
use crate::config::Settings;
use crate::config::table::{Row, rows};

/// Print all settings of `serve` with their defaults, as a settings file
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kotoba config
  kotoba config --table")]
pub struct ConfigArgs {
    /// As a table (Markdown), with the flag and the environment variable of each
    #[arg(long)]
    table: bool,
}

pub(super) fn run(args: ConfigArgs, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let json = serde_json::to_value(Settings::defaults())
        .map_err(|error| CliError::Refused(format!("the defaults are no JSON: {error}")))?;
    let text = if args.table {
        as_table(&rows())
    } else {
        as_file(&rows())
    };
    Ok(output.either(&json, &text)?)
}

fn as_file(rows: &[Row]) -> String {
    let mut text = "\
# Settings of `kotoba serve`, with their defaults. An unknown key is refused.
# Each has an environment variable and a flag that win over this file: see docs/settings.md, or `kotoba config --table`.
"
    .to_owned();
    let mut section = "";
    for row in rows {
        let (table, key) = row.key.rsplit_once('.').unwrap_or(("", &row.key));
        if table != section {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[{table}]");
            section = table;
        }
        let _ = write!(text, "\n# {}.\n{key} = {}\n", row.meaning, row.default);
    }
    text
}

fn as_table(rows: &[Row]) -> String {
    let mut text = "\
# Settings of a member

Written by scripts/generate.sh from the code; edits are overwritten.

A flag of `kotoba serve` wins over its environment variable, that over the line in the file (`--config FILE`,
`KOTOBA_CONFIG`), that over the default. In the file `a.b` is the key `b` of the table `[a]`; an unknown key is refused.
`--address IP:PORT` (`KOTOBA_ADDRESS`) stands for all three listen addresses: PORT for members, PORT + 100 for clients,
PORT + 80 for probes and metrics. `kotoba config` prints the defaults as a file.

| key in the file | flag | environment variable | default | meaning |
|---|---|---|---|---|
"
    .to_owned();
    for row in rows {
        let Row {
            key,
            flag,
            variable,
            default,
            meaning,
        } = row;
        let _ = writeln!(text, "| `{key}` | `{flag}` | `{variable}` | `{default}` | {meaning} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_the_defaults_in_full() {
        let printed: Settings = toml::from_str(&as_file(&rows())).unwrap();
        assert_eq!(printed, Settings::defaults());
    }

    #[test]
    fn the_table_has_a_line_for_each_setting() {
        let table = as_table(&rows());
        let lines = table.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(lines.count(), rows().len());
    }
}
