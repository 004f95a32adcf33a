//! What a command can fail with, and the exit code for the script.

use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the kubeconfig")]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    #[error("make a client of the Kubernetes API")]
    Client(#[source] Box<kube::Error>),
    #[error("read kotobacluster {name}")]
    Read {
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("there is no kotobacluster {name} in namespace {namespace}")]
    NotFound { namespace: String, name: String },
    #[error("annotate kotobacluster {name}")]
    Annotate {
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("kotobacluster {cluster} has no member {member}; its members are {known}")]
    NoMember {
        cluster: String,
        member: String,
        known: String,
    },
    #[error("no pod of kotobacluster {0} is known to run a member that could be asked")]
    NobodyToAsk(String),
    #[error("forward a port to pod {pod}")]
    Forward {
        pod: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("speak to the member in pod {pod}")]
    Connect {
        pod: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("{pod} did not answer in time")]
    Deadline { pod: String },
    #[error("refused: {0}")]
    Refused(String),
    #[error("write the output")]
    Write(#[from] io::Error),
}

impl Error {
    /// Prints the error with its causes, and says what to exit with.
    pub fn report(&self, stderr: &mut impl Write) -> ExitCode {
        // The reader of our pipe went away (`kubectl kotoba … | head`): it has what it wanted.
        if matches!(self, Error::Write(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        // Nobody is left to tell if stderr is closed too.
        let _ = writeln!(stderr, "kubectl kotoba: {}", self.with_causes());
        ExitCode::FAILURE
    }

    /// Errors of kube repeat their causes in their own text; here each is told once.
    fn with_causes(&self) -> String {
        let chain = std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        chain.map(ToString::to_string).fold(String::new(), |text, cause| {
            match (text.is_empty(), text.contains(&cause)) {
                (true, _) => cause,
                (false, true) => text,
                (false, false) => format!("{text}: {cause}"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        let source = Box::new(kube::Error::Service("no route".into()));
        let name = "g".to_owned();
        let told = Error::Read { name, source }.with_causes();
        assert!(told.starts_with("read kotobacluster g: "), "{told}");
        assert_eq!(told.matches("no route").count(), 1, "{told}");
    }
}
