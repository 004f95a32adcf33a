//! `kotoba health`: is anything wrong, and what to do about it. Exits with 1 when something is.

use std::io::Write;

use clap::Args;
use kotoba_proto::v1::CheckHealthResponse;
use serde_json::json;

use super::output::Output;
use super::{CliError, ClientArgs};

/// Say whether the cluster is healthy; exit code 1 if not
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kotoba health
  kotoba health -o json")]
pub struct HealthArgs {}

pub(super) async fn run(
    HealthArgs {}: HealthArgs,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let health = client.connect()?.check_health().await?;
    print(&health, output)
}

fn print(health: &CheckHealthResponse, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let json = json!({
        "is_healthy": health.is_healthy,
        "failed_nodes_count": health.failed_nodes_count,
        "findings": health.findings,
    });
    output.either(&json, &text(health))?;
    match health.is_healthy {
        true => Ok(()),
        false => {
            output.flush()?;
            Err(CliError::Unhealthy)
        }
    }
}

fn text(health: &CheckHealthResponse) -> String {
    let mut lines: Vec<_> = health.findings.iter().map(|finding| format!("- {finding}\n")).collect();
    if health.is_healthy {
        lines.insert(0, "healthy\n".to_owned());
    }
    if health.failed_nodes_count > 0 {
        lines.insert(0, format!("{} members failed\n", health.failed_nodes_count));
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    fn shown(health: &CheckHealthResponse) -> (String, bool) {
        let mut text = Vec::new();
        let done = print(health, &mut Output::new(Format::Table, &mut text));
        (String::from_utf8(text).unwrap(), done.is_ok())
    }

    #[test]
    fn a_healthy_cluster_says_so_and_succeeds() {
        let health = CheckHealthResponse {
            is_healthy: true,
            ..Default::default()
        };
        assert_eq!(shown(&health), ("healthy\n".to_owned(), true));
    }

    #[test]
    fn findings_are_listed_and_fail_the_command() {
        let health = CheckHealthResponse {
            is_healthy: false,
            failed_nodes_count: 1,
            findings: vec!["member 2 is down: start it".into()],
        };
        assert_eq!(
            shown(&health),
            ("1 members failed\n- member 2 is down: start it\n".to_owned(), false)
        );
    }
}
