//! The real database, through the client library and the address of the client service.

use std::time::Duration;

use anyhow::{Context, Result};
use kotoba_proto::cluster::OperationOutcome;
use kotoba_proto::v1::{Consistency, GetStatusResponse, Operation, query};
use kotoba_proto::{ClusterError, KotobaCluster, Options};

use super::{Answer, Database, Failure, Read, query as query_of};

/// Above the longest gap a lost member may cause, below what would hide a cluster that hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// A client of the cluster. A clone shares the connection; `connect` again for one that may reach another member.
#[derive(Clone)]
pub struct Member(KotobaCluster);

impl Member {
    pub fn connect(address: &str) -> Result<Self> {
        let options = Options {
            deadline: DEADLINE,
            unreachable_after: DEADLINE,
            consistency: Consistency::Strong,
            ..Options::default()
        };
        KotobaCluster::connect_with(address, options)
            .map(Member)
            .with_context(|| format!("using the address {address}"))
    }

    fn reading(&self, read: Read) -> KotobaCluster {
        match read {
            Read::Strong => self.0.clone(),
            Read::After(bookmark) => {
                self.0.advance_bookmark(bookmark);
                self.0.with_options(Options {
                    consistency: Consistency::ReadYourWrites,
                    ..self.0.options().clone()
                })
            }
        }
    }
}

impl Database for Member {
    async fn execute(&self, operations: Vec<Operation>) -> Result<Vec<OperationOutcome>, Failure> {
        let outcomes = self.0.execute_operations(operations).await;
        outcomes.map_err(|error| write_failure(&error))
    }

    async fn ask(&self, query: query::Kind, read: Read) -> Result<Answer, Failure> {
        let client = self.reading(read);
        let rows = client.execute_query(query_of(query)).await;
        let rows = rows.map_err(|error| read_failure(&error))?;
        let snapshot = rows.snapshot().0;
        let rows = rows.collect().await.map_err(|error| read_failure(&error))?;
        Ok(Answer { rows, snapshot })
    }

    async fn count(&self, query: query::Kind) -> Result<u64, Failure> {
        let count = self.0.count(query_of(query)).await;
        count.map_err(|error| read_failure(&error))
    }

    async fn status(&self) -> Result<GetStatusResponse, Failure> {
        let status = self.0.get_status().await;
        status.map_err(|error| read_failure(&error))
    }
}

fn read_failure(error: &ClusterError) -> Failure {
    Failure::NotApplied(error.to_string())
}

/// Anything but a proof that nothing was applied leaves the outcome open.
fn write_failure(error: &ClusterError) -> Failure {
    match error {
        ClusterError::Transient(_)
        | ClusterError::NotLeader { .. }
        | ClusterError::NoLeader(_)
        | ClusterError::Invalid(_)
        | ClusterError::NotFound(_)
        | ClusterError::Refused(_)
        | ClusterError::OtherVersion(_)
        | ClusterError::EventsLost { .. }
        | ClusterError::DiskFull(_)
        | ClusterError::Unassigned(_)
        | ClusterError::Address { .. } => Failure::NotApplied(error.to_string()),
        ClusterError::UnknownOutcome(_)
        | ClusterError::ReceiptExpired(_)
        | ClusterError::NetworkError { .. }
        | ClusterError::Timeout { .. }
        | ClusterError::Unsupported { .. }
        | ClusterError::Protocol(_) => Failure::Unknown(error.to_string()),
    }
}
