//! The binary `kotoba` as a person runs it: a process of its own, killed where a test wants it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::cluster::Cluster;
use crate::wait::until;

/// A command line against a cluster, in a folder.
pub fn kotoba<S: AsRef<OsStr>>(cluster: &Cluster, folder: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kotoba"));
    command
        .current_dir(folder)
        .env("KOTOBA_CLUSTER", cluster.addresses())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub async fn ended(mut command: Command) -> Output {
    let mut child = command.spawn().unwrap();
    until("the end of the command", || {
        let ended = child.try_wait().unwrap();
        async move { ended.ok_or("it runs") }
    })
    .await;
    child.wait_with_output().unwrap()
}

/// Kills it, as a power switch does.
pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
