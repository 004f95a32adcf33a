//! The binary `kotoba` itself: what it says when it cannot start, and how it stands what the system or clients do to it.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod connections;
#[path = "../cluster/graph.rs"]
#[expect(dead_code, reason = "shared with the tests of clusters, which use more of it")]
mod graph;
mod member;
mod small_disk;
mod start;
#[path = "../cluster/wait.rs"]
#[expect(dead_code, reason = "shared with the tests of clusters, which use more of it")]
mod wait;
