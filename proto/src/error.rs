//! What can go wrong when a cluster is asked, as a type that a program can act on.
//!
//! On the wire an error is a gRPC status plus an `ErrorDetail` in the trailer `kotoba-error-bin`; this file is the only place
//! that knows how the one becomes the other. Whether to ask again is decided in `cluster::retry`, not here.

use std::error::Error as _;
use std::time::Duration;

use prost::Message;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::{Code, ConnectError, Status};

use crate::v1::ErrorDetail;
use crate::v1::error_detail::Kind;

/// Metadata key that carries the encoded `ErrorDetail`.
pub const ERROR_DETAIL_KEY: &str = "kotoba-error-bin";

/// Longest message that travels: peers refuse header lists above 16 KiB, and the text travels twice, once percent-encoded.
const MAX_TEXT_BYTES: usize = 2048;

/// Why a call to the cluster failed, and so what the caller can do.
///
/// By the time a caller sees one, the client has asked again for as long as [`Options::deadline`](crate::Options) allows,
/// wherever that could help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The member that was asked does not lead; `leader` is the client address of the one that does, if it is known.
    #[error("the member asked is not the leader{}", .leader.as_ref().map(|leader| format!("; {leader} is")).unwrap_or_default())]
    NotLeader { leader: Option<String> },
    /// A partition or the meta group has no leader now. An election takes about a second.
    #[error("no leader at the moment: {0}")]
    NoLeader(String),
    /// The member could not be reached, or the connection broke during a read.
    #[error("cannot reach {address}: {reason}")]
    NetworkError { address: String, reason: String },
    /// Nothing was applied (a conflict, a change of leader, too busy): the same request may be sent again.
    #[error("conflict or busy, nothing was applied: {0}")]
    Transient(String),
    /// The write was sent and its outcome could not be learnt. Read before writing again.
    #[error("the outcome of the write is unknown: {0}")]
    UnknownOutcome(String),
    /// The request cannot be right, whatever the state of the graph.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// A node, an edge or a member that the request names.
    #[error("not found: {0}")]
    NotFound(String),
    /// Refused by a rule of the graph or of the cluster.
    #[error("refused: {0}")]
    Refused(String),
    /// A compare-and-set met another version than the one expected: read again, and decide anew.
    #[error("another version: {0}")]
    OtherVersion(String),
    /// The subscriber was away for so long, or is so slow, that events it has not seen are no longer kept.
    #[error("events were lost: the oldest that is kept has position {oldest}; read what they told of with get_status")]
    EventsLost { oldest: u64 },
    /// The disks that would have to take the write are full. Nothing was applied, and reads go on.
    #[error("disk full: {0}")]
    DiskFull(String),
    /// Whether an earlier attempt at the write was applied cannot be told any more; this attempt was not. Read before
    /// writing again.
    #[error("whether an earlier attempt was applied can no longer be told: {0}")]
    ReceiptExpired(String),
    /// The process has an empty disk and belongs to no cluster yet.
    #[error("the member belongs to no cluster yet: {0}")]
    Unassigned(String),
    /// The deadline passed during a read; `last` is what went wrong before, if anything did.
    #[error("no answer within {deadline:?}{}", .last.as_ref().map(|last| format!("; before that: {last}")).unwrap_or_default())]
    Timeout {
        deadline: Duration,
        last: Option<Box<ClusterError>>,
    },
    /// Whoever answers at this address does not offer the call.
    #[error("{address} does not offer this call: is it the right port, and the same version?")]
    Unsupported { address: String },
    /// An address as typed is not `HOST:PORT`.
    #[error("{address:?} is not HOST:PORT; write for example 127.0.0.1:7700")]
    Address { address: String },
    /// The member answered something that the protocol does not allow.
    #[error("the member broke the protocol: {0}")]
    Protocol(String),
}

/// A failed attempt: the error, and whether it is proven that the request changed nothing.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub error: ClusterError,
    pub nothing_applied: bool,
}

/// Builds the status for a failed call: `detail` goes into the trailer, its message also into the status text.
pub fn to_status(mut detail: ErrorDetail, code: Code) -> Status {
    truncate(&mut detail.message);
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(
        ERROR_DETAIL_KEY,
        BinaryMetadataValue::from_bytes(&detail.encode_to_vec()),
    );
    Status::with_metadata(code, detail.message, metadata)
}

/// Builds the status for a failed call of this kind, with the gRPC code that belongs to it.
pub fn status(kind: Kind, message: impl Into<String>) -> Status {
    let detail = ErrorDetail {
        kind: kind.into(),
        message: message.into(),
        ..ErrorDetail::default()
    };
    to_status(detail, code_of(kind))
}

/// Builds the status for events that are no longer kept.
pub fn events_lost(after: u64, oldest: u64) -> Status {
    let message = format!(
        "the events after {after} are no longer kept; subscribe again after {}",
        oldest - 1
    );
    let detail = ErrorDetail {
        kind: Kind::EventsLost.into(),
        message,
        oldest_position: oldest,
        ..ErrorDetail::default()
    };
    to_status(detail, code_of(Kind::EventsLost))
}

/// The gRPC code that says the same as `kind` to software that does not know `ErrorDetail`.
pub fn code_of(kind: Kind) -> Code {
    match kind {
        Kind::Unspecified => Code::Internal,
        Kind::Transient => Code::Aborted,
        Kind::UnknownOutcome => Code::Unknown,
        Kind::NotLeader | Kind::NoLeader | Kind::Unassigned => Code::Unavailable,
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Refused | Kind::OtherVersion | Kind::ReceiptExpired => Code::FailedPrecondition,
        Kind::EventsLost => Code::OutOfRange,
        Kind::DiskFull => Code::ResourceExhausted,
    }
}

/// Reads the detail of a status; `None` when there is none, or when it is of a kind this version does not know.
pub fn detail_of(status: &Status) -> Option<ErrorDetail> {
    let bytes = status.metadata().get_bin(ERROR_DETAIL_KEY)?.to_bytes().ok()?;
    let detail = ErrorDetail::decode(bytes).ok()?;
    (detail.kind() != Kind::Unspecified).then_some(detail)
}

impl ClusterError {
    /// Decodes the status that the member at `address` answered.
    pub fn from_status(status: &Status, address: &str) -> Self {
        Failure::from_status(status, address).error
    }

    /// True when nobody could be talked to, as opposed to an answer that says no.
    pub fn is_unreachable(&self) -> bool {
        match self {
            ClusterError::NetworkError { .. } | ClusterError::Timeout { .. } => true,
            ClusterError::NotLeader { .. }
            | ClusterError::NoLeader(_)
            | ClusterError::Transient(_)
            | ClusterError::UnknownOutcome(_)
            | ClusterError::Invalid(_)
            | ClusterError::NotFound(_)
            | ClusterError::Refused(_)
            | ClusterError::OtherVersion(_)
            | ClusterError::EventsLost { .. }
            | ClusterError::DiskFull(_)
            | ClusterError::ReceiptExpired(_)
            | ClusterError::Unassigned(_)
            | ClusterError::Unsupported { .. }
            | ClusterError::Address { .. }
            | ClusterError::Protocol(_) => false,
        }
    }
}

impl Failure {
    pub(crate) fn from_status(status: &Status, address: &str) -> Self {
        if let Some(detail) = detail_of(status) {
            return Failure {
                nothing_applied: detail.kind() != Kind::UnknownOutcome,
                error: from_detail(detail),
            };
        }
        Failure {
            nothing_applied: was_never_sent(status) || was_refused(status.code()),
            error: from_code(status, address),
        }
    }
}

fn from_detail(detail: ErrorDetail) -> ClusterError {
    let kind = detail.kind();
    let message = detail.message;
    match kind {
        Kind::Unspecified => ClusterError::Protocol(message),
        Kind::Transient => ClusterError::Transient(message),
        Kind::UnknownOutcome => ClusterError::UnknownOutcome(message),
        Kind::NotLeader => ClusterError::NotLeader {
            leader: Some(detail.leader_address).filter(|address| !address.is_empty()),
        },
        Kind::NoLeader => ClusterError::NoLeader(message),
        Kind::Invalid => ClusterError::Invalid(message),
        Kind::NotFound => ClusterError::NotFound(message),
        Kind::Refused => ClusterError::Refused(message),
        Kind::OtherVersion => ClusterError::OtherVersion(message),
        Kind::EventsLost => ClusterError::EventsLost {
            oldest: detail.oldest_position,
        },
        Kind::DiskFull => ClusterError::DiskFull(message),
        Kind::ReceiptExpired => ClusterError::ReceiptExpired(message),
        Kind::Unassigned => ClusterError::Unassigned(message),
    }
}

/// What a status without detail means: it comes from gRPC itself, from a proxy, or from a member of another version.
fn from_code(status: &Status, address: &str) -> ClusterError {
    let message = reason(status);
    match status.code() {
        Code::InvalidArgument => ClusterError::Invalid(message),
        // tonic's code for a message above the limit, in either direction.
        Code::OutOfRange => ClusterError::Protocol(message),
        Code::NotFound => ClusterError::NotFound(message),
        Code::AlreadyExists | Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition => {
            ClusterError::Refused(message)
        }
        Code::Unimplemented => ClusterError::Unsupported {
            address: address.to_owned(),
        },
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => ClusterError::NetworkError {
            address: address.to_owned(),
            reason: message,
        },
    }
}

/// True when the failure proves that the request never left: the connection could not be made.
fn was_never_sent(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// True for the codes by which gRPC software refuses a call before it runs.
fn was_refused(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::Unimplemented
    )
}

/// The innermost cause ("connection refused") says more than what tonic wraps around it ("transport error").
fn reason(status: &Status) -> String {
    match causes(status).last() {
        Some(cause) => cause.to_string(),
        None => status.message().to_owned(),
    }
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(status.source(), |cause| (*cause).source())
}

fn truncate(message: &mut String) {
    if message.len() > MAX_TEXT_BYTES {
        let boundary = (0..=MAX_TEXT_BYTES)
            .rev()
            .find(|index| message.is_char_boundary(*index));
        message.truncate(boundary.unwrap_or(0));
        message.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(kind: Kind) -> Failure {
        let status = status(kind, "why");
        // Through HTTP headers, as the wire does.
        let response = status.into_http::<()>();
        let status = Status::from_header_map(response.headers()).unwrap();
        Failure::from_status(&status, "m:1")
    }

    #[test]
    fn every_kind_comes_back_from_the_wire_as_its_own_error() {
        let why = || "why".to_owned();
        let expected = [
            (Kind::Transient, ClusterError::Transient(why())),
            (Kind::UnknownOutcome, ClusterError::UnknownOutcome(why())),
            (Kind::NotLeader, ClusterError::NotLeader { leader: None }),
            (Kind::NoLeader, ClusterError::NoLeader(why())),
            (Kind::Invalid, ClusterError::Invalid(why())),
            (Kind::NotFound, ClusterError::NotFound(why())),
            (Kind::Refused, ClusterError::Refused(why())),
            (Kind::OtherVersion, ClusterError::OtherVersion(why())),
            (Kind::ReceiptExpired, ClusterError::ReceiptExpired(why())),
            (Kind::Unassigned, ClusterError::Unassigned(why())),
            (Kind::EventsLost, ClusterError::EventsLost { oldest: 0 }),
            (Kind::OtherVersion, ClusterError::OtherVersion(why())),
            (Kind::DiskFull, ClusterError::DiskFull(why())),
        ];
        for (kind, error) in expected {
            let failure = round_trip(kind);
            assert_eq!(failure.error, error);
            assert_eq!(failure.nothing_applied, kind != Kind::UnknownOutcome);
        }
    }

    #[test]
    fn a_redirect_names_the_leader() {
        let detail = ErrorDetail {
            kind: Kind::NotLeader.into(),
            message: String::new(),
            leader_address: "b:7700".into(),
            ..ErrorDetail::default()
        };
        let status = to_status(detail, Code::Unavailable);
        let error = ClusterError::from_status(&status, "a:7700");
        assert_eq!(
            error,
            ClusterError::NotLeader {
                leader: Some("b:7700".into())
            }
        );
        assert!(error.to_string().contains("b:7700"));
    }

    #[test]
    fn a_status_without_detail_proves_nothing_about_a_write() {
        let failure = Failure::from_status(&Status::unavailable("gone"), "a:7700");
        assert!(!failure.nothing_applied);
        assert!(failure.error.is_unreachable());
    }

    #[test]
    fn a_kind_of_a_newer_version_falls_back_on_the_code() {
        let detail = ErrorDetail {
            kind: 4711,
            message: "new".into(),
            ..ErrorDetail::default()
        };
        let error = ClusterError::from_status(&to_status(detail, Code::NotFound), "a:7700");
        assert_eq!(error, ClusterError::NotFound("new".into()));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let status = status(Kind::Invalid, "é".repeat(5000));
        assert!(status.message().len() <= MAX_TEXT_BYTES + '…'.len_utf8());
        assert!(detail_of(&status).unwrap().message.ends_with("é…"));
    }
}
