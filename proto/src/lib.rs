//! The wire of KotobaDB: messages and services of `kotoba.v1`, and `KotobaCluster`, the thin client.
//!
//! No logic lives here beyond redirect and retry: what a message means is decided by the member that gets it.

pub mod calls;
pub mod cid;
pub mod cluster;
pub mod error;
mod request;
pub mod value;

pub use cid::ContentId;
pub use cluster::{KotobaCluster, Options, RequestNumber};
pub use error::ClusterError;

/// Messages, clients and servers of the package `kotoba.v1`.
#[allow(clippy::all, missing_docs)]
pub mod v1 {
    tonic::include_proto!("kotoba.v1");
}

/// The encoded file descriptors, for server reflection.
pub const FILE_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Largest message that members and clients accept on the client port; a thousand operations with long texts fit.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
