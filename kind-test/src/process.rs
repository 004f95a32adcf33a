//! Other programs: run to their end within a limit, with what they wrote kept for the error.
//!
//! A program that outlives its limit, or the caller that waits for it, is killed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::say::duration_text;

/// Lines of a failed program's output that go into the error.
const ERROR_LINES: usize = 30;

/// A program, its arguments and its environment.
#[derive(Debug)]
pub struct Program {
    command: tokio::process::Command,
    name: String,
    /// Shows what the program writes to stderr as it comes.
    loud: bool,
}

impl Program {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let name = Path::new(program)
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let mut command = tokio::process::Command::new(program);
        command.kill_on_drop(true).stdin(Stdio::null());
        Program {
            command,
            name,
            loud: false,
        }
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn loud(mut self) -> Self {
        self.loud = true;
        self
    }

    /// Runs to the end, whatever the exit code.
    pub async fn output(mut self, limit: Duration) -> Result<Output> {
        self.command.stdout(Stdio::piped());
        self.command
            .stderr(if self.loud { Stdio::inherit() } else { Stdio::piped() });
        let child = self
            .command
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        tokio::time::timeout(limit, child.wait_with_output())
            .await
            .with_context(|| format!("{} ran longer than {}", self.name, duration_text(limit)))?
            .with_context(|| format!("waiting for {}", self.name))
    }

    /// Runs to the end and gives stdout; a failure carries the end of the output.
    pub async fn run(self, limit: Duration) -> Result<String> {
        let name = self.name.clone();
        let output = self.output(limit).await?;
        if !output.status.success() {
            bail!("{name} failed ({}){}", output.status, last_lines(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts it without waiting, silent; it dies with the handle.
    pub fn spawn(mut self) -> Result<tokio::process::Child> {
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        self.command.spawn().with_context(|| format!("starting {}", self.name))
    }

    /// True if the program is there and ends with success.
    pub async fn succeeds(self, limit: Duration) -> bool {
        self.output(limit).await.is_ok_and(|output| output.status.success())
    }
}

/// The end of what a program wrote, for an error.
pub fn last_lines(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(ERROR_LINES);
    lines[from..].iter().map(|line| format!("\n    {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_failed_program_says_why_in_the_error() {
        let program = Program::new("sh").args(["-c", "echo no such thing >&2; exit 3"]);
        let error = program.run(LIMIT).await.unwrap_err().to_string();
        assert!(error.contains("sh failed") && error.contains("no such thing"));
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_given_up() {
        let program = Program::new("sleep").arg("600");
        let error = program.run(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.to_string(), "sleep ran longer than 50 ms");
    }
}
