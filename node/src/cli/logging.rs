//! Logs go to stderr, so that stdout stays the output. `KOTOBA_LOG` filters them, for example `info,kotoba_node::raft=debug`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::Command;

/// Variable that holds the filter.
const FILTER: &str = "KOTOBA_LOG";
/// Variable that chooses the form: `json` for collectors, anything else is text.
const FORM: &str = "KOTOBA_LOG_FORMAT";

/// Starts logging for this command: a server tells its life, what a person runs at a terminal only what is wrong.
pub fn init(command: &Command) {
    let default = if command.is_server() {
        "info,openraft=warn"
    } else {
        "error"
    };
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    if std::env::var(FORM).is_ok_and(|form| form == "json") {
        subscriber.json().init();
    } else {
        subscriber.init();
    }
}
