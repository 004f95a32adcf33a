//! The operator from outside: its plans as text, its objects as YAML, its CRD's rules, and whole lives of clusters
//! against an API server and a database that are made of memory.

// Clippy knows the test functions but not their helpers, which may unwrap as well.
#![allow(clippy::unwrap_used)]

mod api_server;
mod cel;
mod check;
mod convergence;
mod crashes;
mod database;
mod edits;
mod generated;
mod guard;
mod laws;
mod lease;
mod memory;
mod objects;
mod operations;
mod plans;
mod recipes;
mod rights;
mod scene;
mod tripwire;
mod world;
