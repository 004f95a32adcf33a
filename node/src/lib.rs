//! The KotobaDB member process: a shell of disk, network and tasks around the pure crates.
//!
//! `raft` knows bytes; `transaction` knows keys; `gateway` knows the graph; `member` and `catalogue` know the cluster.
//! `run` is a process from its start to its end; `cli` is what a person types; `embedded` is a member inside another program.

pub mod catalogue;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dev;
pub mod embedded;
pub mod gateway;
pub mod http;
pub mod member;
pub mod metrics;
pub mod peer;
pub mod peers_flag;
pub mod raft;
pub mod router;
pub mod run;
pub mod server;
pub mod space;
pub mod to_the_end;
pub mod transaction;

pub use embedded::{ClusterConfig, EmbeddedMember, KotobaCluster, NodeId, StartError};
