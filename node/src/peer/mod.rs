//! Member to member, apart from Raft's own lanes: the clients that call, and the service that answers.

pub mod admin;
pub mod clients;
pub mod raft_door;
pub mod service;
