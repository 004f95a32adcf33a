//! One call: a place among the calls that may run, a connection, a deadline, and an error that says whom it was for.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::{Admin, Port, Target};

/// A pod on the same network answers in milliseconds; one that is gone may swallow packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Connect, send and answer. The database's own request timeout is as long.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{pod} is not dialled: {address:?} is no address")]
    Address { pod: String, address: String },
    #[error("{pod} does not accept connections on its {port:?} port")]
    Connect {
        pod: String,
        port: Port,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("{pod} did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout { pod: String },
    #[error("{pod} refused: {}", .status.message())]
    Refused { pod: String, status: Box<Status> },
}

impl CallError {
    /// A rule of the database says no: the same request is refused until something else changes.
    pub fn is_refusal(&self) -> bool {
        match self {
            CallError::Refused { status, .. } => status.code() == Code::FailedPrecondition,
            CallError::Address { .. } | CallError::Connect { .. } | CallError::Timeout { .. } => false,
        }
    }
}

/// Makes one call on a connection of its own, so that it always reaches the process that has the address now.
pub(super) async fn call<T>(
    admin: &Admin,
    target: &Target,
    port: Port,
    send: impl AsyncFnOnce(Channel) -> Result<Response<T>, Status>,
) -> Result<T, CallError> {
    let _running = admin
        .slots
        .acquire()
        .await
        .expect("the semaphore is never closed while its owner is borrowed");
    let pod = || target.pod.clone();
    let answer = async {
        let channel = connect(admin, target, port).await?;
        let response = send(channel).await.map_err(|status| CallError::Refused {
            pod: pod(),
            status: Box::new(status),
        })?;
        Ok(response.into_inner())
    };
    tokio::time::timeout(CALL_TIMEOUT, answer)
        .await
        .unwrap_or_else(|_| Err(CallError::Timeout { pod: pod() }))
}

async fn connect(admin: &Admin, target: &Target, port: Port) -> Result<Channel, CallError> {
    let address = (admin.route)(target, port);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| CallError::Address {
        pod: target.pod.clone(),
        address,
    })?;
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT);
    endpoint.connect().await.map_err(|source| CallError::Connect {
        pod: target.pod.clone(),
        port,
        source,
    })
}
