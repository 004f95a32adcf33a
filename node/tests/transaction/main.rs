//! The transaction protocol between coordinators, leaders and state machines: the thirteen holes that shaped it, each
//! as the steps of its counterexample, and random histories whose snapshots must all be consistent.

mod abandoned;
mod bank;
mod contention;
mod edges;
mod eventual;
mod floors;
mod harness;
mod holes_of_one_phase;
mod holes_of_outcomes;
mod holes_of_reads;
mod newest;
mod reads;
mod shared;
mod unchanged;
