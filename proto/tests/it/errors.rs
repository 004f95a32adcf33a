//! Every error that the client library has can reach its caller, each as the type that says what to do.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use kotoba_proto::v1::CreateNode;
use kotoba_proto::v1::error_detail::Kind;
use kotoba_proto::{ClusterError, KotobaCluster};
use tonic::Code;

use crate::fake::{Answer, Fake, client, refusing_address};

/// Longer than a few attempts take, and soon over where they end at the deadline only.
const SHORT_MS: u64 = 400;

async fn read_error(address: &str) -> ClusterError {
    client(&[address], SHORT_MS).get_status().await.unwrap_err()
}

async fn write_error(address: &str) -> ClusterError {
    let cluster = client(&[address], SHORT_MS);
    cluster.execute_operation(CreateNode::default()).await.unwrap_err()
}

/// A member that gives the same answer for as long as anyone asks.
async fn always(answer: Answer) -> Fake {
    Fake::start(std::iter::repeat_n(answer, 1_000)).await
}

fn text() -> String {
    String::new()
}

#[tokio::test]
async fn every_error_reaches_the_caller_of_a_read() {
    let network = ClusterError::NetworkError {
        address: text(),
        reason: text(),
    };
    let timeout = ClusterError::Timeout {
        deadline: Duration::ZERO,
        last: None,
    };
    let told = [
        (Answer::Redirects("nowhere:1".into()), network.clone()),
        (Answer::Fails(Kind::NotLeader), ClusterError::NotLeader { leader: None }),
        (Answer::Fails(Kind::NoLeader), ClusterError::NoLeader(text())),
        (Answer::Fails(Kind::Transient), ClusterError::Transient(text())),
        (Answer::Fails(Kind::Invalid), ClusterError::Invalid(text())),
        (Answer::Fails(Kind::NotFound), ClusterError::NotFound(text())),
        (Answer::Fails(Kind::Refused), ClusterError::Refused(text())),
        (Answer::Fails(Kind::OtherVersion), ClusterError::OtherVersion(text())),
        (Answer::Fails(Kind::Unassigned), ClusterError::Unassigned(text())),
        (
            Answer::Bare(Code::Unimplemented),
            ClusterError::Unsupported { address: text() },
        ),
        (Answer::Bare(Code::OutOfRange), ClusterError::Protocol(text())),
        (Answer::Bare(Code::Unavailable), network.clone()),
        (Answer::Hangs, timeout),
    ];
    for (answer, expected) in told {
        let fake = always(answer.clone()).await;
        let error = read_error(&fake.address).await;
        assert_eq!(kind(&error), kind(&expected), "{answer:?} became {error}");
    }
    assert_eq!(kind(&read_error(&refusing_address().await).await), kind(&network));
    let error = KotobaCluster::connect("nowhere").err().unwrap();
    assert_eq!(
        error,
        ClusterError::Address {
            address: "nowhere".into()
        }
    );
}

#[tokio::test]
async fn the_errors_of_writes_reach_their_caller() {
    let told = [
        (
            Answer::Fails(Kind::UnknownOutcome),
            ClusterError::UnknownOutcome(text()),
        ),
        (
            Answer::Fails(Kind::ReceiptExpired),
            ClusterError::ReceiptExpired(text()),
        ),
        (Answer::Hangs, ClusterError::UnknownOutcome(text())),
    ];
    for (answer, expected) in told {
        let fake = always(answer.clone()).await;
        let error = write_error(&fake.address).await;
        assert_eq!(kind(&error), kind(&expected), "{answer:?} became {error}");
    }
}

fn kind(error: &ClusterError) -> Discriminant<ClusterError> {
    discriminant(error)
}
