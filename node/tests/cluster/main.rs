//! Whole members in one process: real disks, real ports on loopback, clients over gRPC; they are stopped, crashed, cut
//! off, joined and started again while clients write.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod bad_input;
mod clocks;
mod cluster;
mod concurrency;
mod consistency;
mod data_directory;
mod detection;
mod disks;
mod drain;
mod events;
mod exactly_once;
mod founding;
mod full_disk;
mod graph;
mod growth;
mod isolation;
mod leader_loss;
mod leaders;
mod ledger;
mod links;
mod lost_disk;
mod operations;
mod process;
mod queries;
mod raw;
mod recovery;
mod replacement;
mod settings;
mod volumes;
mod wait;
mod writer;
