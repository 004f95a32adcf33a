//! Raft groups of real members in one process: real files, real gRPC over loopback, a small state machine.

mod cluster;
mod crash;
mod damage;
mod fault;
mod limits;
mod machine;
mod membership;
mod peer;
mod replication;
