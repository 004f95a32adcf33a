//! The public face of the graph, against a naive model and a store in memory.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is a test, but clippy sees that only of functions marked so"
)]

mod answers;
mod generate;
mod graph;
mod model;
mod operations;
mod pages;
mod paths;
mod queries;
mod questions;
mod receipts;
mod store;
mod vectors;
