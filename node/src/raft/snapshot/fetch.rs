//! Fetches a group's state from its leader, for a replica that does not run because its own state is not to be trusted.

use std::sync::Arc;

use kotoba_proto::v1::FetchSnapshotRequest;
use tonic::Status;

use super::load::{LoadedFile, Loader};
use super::receive::{blocking, load_all, next};
use crate::raft::codec::{CodecError, SnapshotHeader, from_bytes};
use crate::raft::network::{DialError, Dialer};
use crate::raft::state::{ReplicaDirectory, StateError};
use crate::raft::types::ReplicaKey;

/// Why a state was not fetched. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("no state was given: {0}")]
    Refused(String),
    #[error("the state's header cannot be read: {0}")]
    Header(#[from] CodecError),
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<Status> for FetchError {
    fn from(status: Status) -> Self {
        FetchError::Refused(status.message().to_owned())
    }
}

/// Loads the state of a group, as its leader gives it, into a file that is not in use yet.
pub async fn fetch(
    dialer: &Dialer,
    key: ReplicaKey,
    directory: Arc<ReplicaDirectory>,
) -> Result<LoadedFile, FetchError> {
    let mut client = dialer.connect().await?;
    let request = FetchSnapshotRequest {
        envelope: Some(dialer.envelope()),
        group: key.group.number(),
        from_replica: key.replica.0,
    };
    let mut blocks = client.fetch_snapshot(request).await?.into_inner();
    let first = next(&mut blocks).await?;
    let header: SnapshotHeader = from_bytes(&first.header)?;
    tracing::info!(replica = %key, meta = %header.meta, "the leader's state is fetched");
    let create = move || {
        let (generation, file) = directory.create()?;
        Ok(Loader::new(key, generation, file, header.meta))
    };
    Ok(load_all(blocking(create).await?, blocks).await?)
}
