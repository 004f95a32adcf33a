//! Refusals by the rules of the graph, in the kinds that travel.

use kotoba_graph::operation::Error as GraphError;
use kotoba_proto::v1::error_detail::Kind;

/// What a client can do about a refusal.
pub fn kind_of_refusal(error: &GraphError) -> Kind {
    match error {
        GraphError::OperationCount(_)
        | GraphError::Entity { .. }
        | GraphError::LabelTwice { .. }
        | GraphError::Reference { .. }
        | GraphError::TooLarge(_) => Kind::Invalid,
        GraphError::NodeNotFound { .. } | GraphError::EdgeNotFound { .. } => Kind::NotFound,
        GraphError::OtherVersion { .. } => Kind::OtherVersion,
        GraphError::HasEdges { .. } | GraphError::TooManyEdges => Kind::Refused,
        GraphError::Read(_) => Kind::Unspecified,
    }
}
