//! Logs go to stderr, so that stdout stays the output. `KOTOBA_LOG` filters them, for example `info,kotoba_node::raft=debug`.
//!
//! A member takes both from its settings; for what a person runs at a terminal there is the environment alone.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Variable that holds the filter.
const FILTER: &str = "KOTOBA_LOG";
/// Variable that chooses the form.
const FORM: &str = "KOTOBA_LOG_FORMAT";

/// Starts logging for a command: what a person runs at a terminal logs only what is wrong.
pub fn start_from_environment() {
    let form = std::env::var(FORM).ok();
    let form = form.and_then(|form| LogFormat::from_str(&form, true).ok());
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("error"));
    start_with(filter, form.unwrap_or_default());
}

/// Starts logging for a member, which tells its life.
pub fn start(config: &LogConfig) {
    start_with(EnvFilter::new(&config.filter), config.format);
}

fn start_with(filter: EnvFilter, format: LogFormat) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Json => subscriber.json().init(),
        LogFormat::Text => subscriber.init(),
    }
}
