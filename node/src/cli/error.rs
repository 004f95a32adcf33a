//! What a command can fail with, what to tell the person, and the exit code for the script.

use std::io::{self, Write};
use std::process::ExitCode;

use kotoba_proto::ClusterError;

use super::load::LoadError;

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("{0}")]
    Usage(String),
    #[error("{what} not found")]
    NotFound { what: String },
    #[error("{0}")]
    Refused(String),
    /// Details were printed already.
    #[error("the cluster is not healthy")]
    Unhealthy,
    #[error("load: {0}")]
    Load(#[from] LoadError),
    #[error("cannot write the output: {0}")]
    Write(#[from] io::Error),
}

impl CliError {
    /// Prints the error and what to do, and says what to exit with.
    pub(super) fn report(&self, stderr: &mut impl Write) -> ExitCode {
        // The reader of our pipe went away (`kotoba … | head`): it has what it wanted.
        if matches!(self, CliError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        // Nobody is left to tell if stderr is closed too.
        let _ = writeln!(stderr, "kotoba: {self}");
        if let Some(advice) = self.advice() {
            let _ = writeln!(stderr, "  {advice}");
        }
        ExitCode::from(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        match self {
            CliError::Cluster(error) | CliError::Load(LoadError::Send { source: error, .. }) => exit_code_of(error),
            CliError::Usage(_)
            | CliError::Load(LoadError::Open { .. } | LoadError::Layout { .. } | LoadError::Mapping { .. }) => USAGE,
            CliError::NotFound { .. }
            | CliError::Refused(_)
            | CliError::Unhealthy
            | CliError::Load(_)
            | CliError::Write(_) => REFUSED,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            CliError::Cluster(error) | CliError::Load(LoadError::Send { source: error, .. }) => advice_for(error),
            CliError::Load(LoadError::InDoubt { .. }) => Some(
                "look for one of each in the graph; delete those that are there, then go on with --resend-in-doubt: \
                 all of them are created again",
            ),
            CliError::Load(LoadError::Interrupted) => Some("run the same command again to go on"),
            CliError::Usage(_)
            | CliError::NotFound { .. }
            | CliError::Refused(_)
            | CliError::Unhealthy
            | CliError::Load(_)
            | CliError::Write(_) => None,
        }
    }
}

fn exit_code_of(error: &ClusterError) -> u8 {
    match error {
        ClusterError::NetworkError { .. }
        | ClusterError::Timeout { .. }
        | ClusterError::NoLeader(_)
        | ClusterError::NotLeader { .. }
        | ClusterError::Unassigned(_)
        | ClusterError::Unsupported { .. } => UNREACHABLE,
        ClusterError::Invalid(_) | ClusterError::Address { .. } => USAGE,
        ClusterError::Transient(_)
        | ClusterError::UnknownOutcome(_)
        | ClusterError::NotFound(_)
        | ClusterError::Refused(_)
        | ClusterError::OtherVersion(_)
        | ClusterError::EventsLost { .. }
        | ClusterError::DiskFull(_)
        | ClusterError::ReceiptExpired(_)
        | ClusterError::Protocol(_) => REFUSED,
    }
}

fn advice_for(error: &ClusterError) -> Option<&'static str> {
    match error {
        ClusterError::NetworkError { .. } => Some(
            "is a member running there? Name others with --cluster HOST:PORT,HOST:PORT; `kotoba dev` starts a cluster here",
        ),
        ClusterError::Timeout { .. } => Some("the member is there but slow; allow more with --timeout-s"),
        ClusterError::NoLeader(_) | ClusterError::NotLeader { .. } => {
            Some("a majority of the members must be up; see `kotoba health`")
        }
        ClusterError::Transient(_) => Some("try again; if it stays, see `kotoba health`"),
        ClusterError::UnknownOutcome(_) | ClusterError::ReceiptExpired(_) => {
            Some("it may or may not have been applied: read before you write again")
        }
        ClusterError::Unassigned(_) => {
            Some("found the cluster with `kotoba bootstrap PEER_ADDR...`, or name a member of it with --cluster")
        }
        ClusterError::DiskFull(_) => Some("reads go on; see `kotoba status` for the room on each member"),
        ClusterError::Unsupported { .. } => {
            Some("clients use the client port (default 7700), bootstrap and who-am-i the peer port (default 7600)")
        }
        ClusterError::Invalid(_)
        | ClusterError::NotFound(_)
        | ClusterError::Refused(_)
        | ClusterError::OtherVersion(_)
        | ClusterError::EventsLost { .. }
        | ClusterError::Address { .. }
        | ClusterError::Protocol(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(error: &CliError) -> String {
        let mut text = Vec::new();
        error.report(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_four_ways_to_end_have_their_exit_codes() {
        let unreachable = ClusterError::NetworkError {
            address: "a:1".into(),
            reason: "refused".into(),
        };
        assert_eq!(CliError::from(unreachable).exit_code(), UNREACHABLE);
        assert_eq!(CliError::from(ClusterError::NotFound("n".into())).exit_code(), REFUSED);
        assert_eq!(CliError::from(ClusterError::Invalid("n".into())).exit_code(), USAGE);
        assert_eq!(CliError::Unhealthy.exit_code(), REFUSED);
    }

    #[test]
    fn an_unreachable_cluster_is_named_with_what_to_do() {
        let text = reported(&CliError::from(ClusterError::NetworkError {
            address: "a:1".into(),
            reason: "connection refused".into(),
        }));
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("a:1") && text.contains("kotoba dev"), "{text}");
    }

    #[test]
    fn a_reader_that_has_enough_is_no_error() {
        let text = reported(&CliError::Write(io::ErrorKind::BrokenPipe.into()));
        assert_eq!(text, "");
    }
}
