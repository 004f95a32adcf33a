//! What each command does, from what was typed to what is printed.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;
use k8s_openapi::jiff::Timestamp;
use kotoba_operator::crd::KotobaCluster;

use crate::args::{Args, Command, Format, MemberArgs};
use crate::error::Error;
use crate::explain::{Finding, explain};
use crate::leave::{self, Request};
use crate::resource::{Kubernetes, connect};
use crate::{output, show, table};

pub async fn run(args: Args, out: &mut impl Write) -> Result<(), Error> {
    if let Command::Completion { shell } = args.command {
        return Ok(out.write_all(&completion(shell))?);
    }
    let kubernetes = connect(args.context, args.namespace).await?;
    let format = args.output;
    match args.command {
        Command::Status(typed) => status(out, format, &kubernetes.cluster(&typed.cluster).await?),
        Command::Members(typed) => {
            let cluster = kubernetes.cluster(&typed.cluster).await?;
            Ok(output::records(out, format, &show::members(&cluster))?)
        }
        Command::Partitions(typed) => {
            let cluster = kubernetes.cluster(&typed.cluster).await?;
            Ok(output::pairs(out, format, &show::partitions(&cluster))?)
        }
        Command::Drain(typed) => ask(out, format, &kubernetes, &typed, Request::Drain).await,
        Command::Cancel(typed) => ask(out, format, &kubernetes, &typed, Request::Cancel).await,
        Command::Restart(typed) => {
            kubernetes.ask_for_restart(&typed.cluster, now()).await?;
            let says = format!(
                "Asked for; `kubectl kotoba status {}` shows how far it is.",
                typed.cluster
            );
            findings(out, format, &[Finding { says, to_do: None }])
        }
        Command::Explain(typed) => {
            let cluster = kubernetes.cluster(&typed.cluster).await?;
            findings(out, format, &explain(&cluster, &kubernetes.told(&typed.cluster).await))
        }
        Command::Completion { shell } => Ok(out.write_all(&completion(shell))?),
    }
}

/// People get lines and a table; programs the status as the API has it, since each of its fields is documented there.
fn status(out: &mut impl Write, format: Format, cluster: &KotobaCluster) -> Result<(), Error> {
    if format == Format::Json {
        return Ok(writeln!(out, "{}", show::whole(cluster))?);
    }
    output::pairs(out, format, &show::summary(cluster))?;
    let conditions = show::conditions(cluster);
    if !conditions.is_empty() {
        writeln!(out)?;
    }
    Ok(output::records(out, format, &conditions)?)
}

async fn ask(
    out: &mut impl Write,
    format: Format,
    kubernetes: &Kubernetes,
    typed: &MemberArgs,
    request: Request,
) -> Result<(), Error> {
    let cluster = kubernetes.cluster(&typed.cluster).await?;
    let progress = leave::ask(kubernetes, &cluster, &typed.member, request).await?;
    Ok(output::records(out, format, &[show::progress(&progress)])?)
}

/// Sentences for people, each with what to do below it.
fn findings(out: &mut impl Write, format: Format, findings: &[Finding]) -> Result<(), Error> {
    if format == Format::Json {
        let records: Vec<_> = findings.iter().map(show::finding).collect();
        return Ok(output::records(out, format, &records)?);
    }
    for finding in findings {
        writeln!(out, "{}", table::printable(&finding.says))?;
        if let Some(to_do) = &finding.to_do {
            writeln!(out, "  To do: {to_do}")?;
        }
    }
    Ok(())
}

/// Whole seconds: finer than a person types.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn completion(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "kubectl-kotoba", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completion(shell)).unwrap();
            assert!(script.contains("explain") && script.contains("partitions"), "{shell}");
        }
    }
}
