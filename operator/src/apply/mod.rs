//! Makes it so: the objects by server-side apply, then the one step through the admin API, then the status.
//!
//! Nothing is decided here. Every write can be repeated, and a pass may end after any of them.

mod claims;
mod deletions;
mod objects;
mod outcome;
mod resize;
mod status;
mod step;

pub use claims::{grow_claims, mark_claims};
pub use objects::apply_objects;
pub use outcome::{Applied, Done, StepOutcome};
pub use status::write_status;
pub use step::perform;

/// The cause by which an API server tells why nothing can be made in a namespace.
const NAMESPACE_ENDING: &str = "NamespaceTerminating";

/// Which write failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("apply {kind} {name}")]
    Object {
        kind: String,
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("write the status of cluster {name}")]
    Status {
        name: String,
        #[source]
        source: kube::Error,
    },
}

impl Error {
    /// The namespace is being deleted, and the cluster in it will be.
    pub fn is_namespace_ending(&self) -> bool {
        match self {
            Error::Object { source, .. } | Error::Status { source, .. } => is_namespace_ending(source),
        }
    }

    /// Somebody else wrote first; looking again is all that is needed.
    pub fn is_conflict(&self) -> bool {
        match self {
            Error::Object { source, .. } | Error::Status { source, .. } => {
                matches!(source, kube::Error::Api(status) if status.is_conflict())
            }
        }
    }
}

/// An API server makes nothing in a namespace that is being deleted.
pub fn is_namespace_ending(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if is_caused_by(status, NAMESPACE_ENDING))
}

fn is_caused_by(status: &kube::core::Status, cause: &str) -> bool {
    let details = status.details.as_ref();
    details.is_some_and(|details| details.causes.iter().any(|told| told.reason == cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_being_deleted_is_told_from_other_refusals() {
        let refused = |causes: serde_json::Value| Error::Object {
            kind: "Service".into(),
            name: "g".into(),
            source: kube::Error::Api(Box::new(
                serde_json::from_value(serde_json::json!({
                    "status": "Failure", "code": 403, "reason": "Forbidden", "message": "forbidden",
                    "details": { "causes": causes },
                }))
                .unwrap(),
            )),
        };
        let ending =
            serde_json::json!([{ "reason": "NamespaceTerminating", "message": "", "field": "metadata.namespace" }]);
        assert!(refused(ending).is_namespace_ending());
        assert!(!refused(serde_json::json!([])).is_namespace_ending());
    }
}
