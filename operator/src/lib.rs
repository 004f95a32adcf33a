//! The Kubernetes operator of KotobaDB.
//!
//! It decides pods; the database decides partitions. With the operator gone, the database works as before.
//!
//! One pass over a cluster is six steps, each a folder here:
//! `observe` (reads) → `validate` (pure) → `plan` (pure) → `build` (pure) → `apply` (writes) → `status` (pure).
//!
//! Invariant: `validate`, `plan`, `build` and `status` hold no client; only `observe` and `apply` talk.
//! Invariant: a member is removed, a slot given up and a disk deleted only when the database has proved that nothing is
//! left there; and nothing is ever deleted by force.

pub mod admin;
pub mod apply;
pub mod args;
pub mod build;
pub mod check;
pub mod crd;
pub mod crdgen;
pub mod http;
pub mod lease;
pub mod log;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod plan;
pub mod recipe;
pub mod reconcile;
pub mod run;
pub mod status;
pub mod validate;
