//! What the tests see and do in Kubernetes: the resource, its pods and volumes, a way to the client service, a diagnosis.

pub mod client;
pub mod diagnosis;
pub mod events;
pub mod namespaces;
pub mod pods;
pub mod reach;
pub mod resource;
pub mod witness;
