//! Raft groups of real members in one process: real files, real gRPC over loopback, a small state machine.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod cluster;
mod crash;
mod damage;
mod fault;
mod lease;
mod limits;
mod machine;
mod membership;
mod peer;
mod replication;
mod votes;
