//! Between the wire's messages and the graph's types. What cannot be right is refused here, naming the field.

mod operation;
mod query;
mod value;

pub use operation::{operation_request, results};
pub use query::{order, query, reading, row, subject};

/// A field of a request that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct Invalid {
    pub field: String,
    pub fault: String,
}

impl Invalid {
    fn new(field: impl Into<String>, fault: impl Into<String>) -> Self {
        Invalid {
            field: field.into(),
            fault: fault.into(),
        }
    }

    /// The same fault, seen from the message around.
    fn within(self, outer: impl std::fmt::Display) -> Self {
        Invalid {
            field: format!("{outer}.{}", self.field),
            fault: self.fault,
        }
    }
}
