//! Starts logging, once, as the command line wants it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::args::{LogFormat, RunArgs};

/// The filter given with --log is not one.
#[derive(Debug, thiserror::Error)]
#[error("--log {filter:?} is not a filter; write for example info or kotoba_operator=debug")]
pub struct Error {
    filter: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging to standard error.
pub fn start(args: &RunArgs) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&args.log).map_err(|source| Error {
        filter: args.log.clone(),
        source,
    })?;
    let to_stderr = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => to_stderr.init(),
        LogFormat::Json => to_stderr.json().init(),
    }
    Ok(())
}
