//! Whole members in one process: real disks, real ports on loopback, clients over gRPC; they are stopped, crashed, cut
//! off, joined and started again while clients write.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod abandoned;
mod bad_input;
mod bench;
mod clocks;
mod cluster;
mod command;
mod concurrency;
mod consistency;
mod data_directory;
mod detection;
mod disks;
mod diverged;
mod drain;
mod embedded;
mod events;
mod eventual_writes;
mod exactly_once;
mod examples;
mod founding;
mod full_disk;
mod graph;
mod growth;
mod isolation;
mod leader_loss;
mod leaders;
mod ledger;
mod links;
mod load;
mod long_work;
mod lost_disk;
mod metrics;
mod operations;
mod process;
mod queries;
mod raw;
mod recovery;
mod replacement;
mod routes;
mod settings;
mod volumes;
mod wait;
mod writer;
