//! `KotobaCluster` against members that misbehave by script, over real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may unwrap as tests may")]

mod calls;
mod errors;
mod fake;
mod reads;
mod streams;
mod writes;
