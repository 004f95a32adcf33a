//! Records that a query gets one by one: which key each is read from, and what it means where one is missing.

use super::Error;
use crate::id::EntityId;
use crate::key;
use crate::read::{self, Read};
use crate::record::Locator;

/// A record to get.
#[derive(Debug)]
pub enum Fetch {
    /// By the user's id; may be missing.
    Node(EntityId),
    /// By the label index; must be there.
    LabelledNode(EntityId),
    /// By the user's id; may be missing.
    Locator(EntityId),
    /// By its locator or its in half; must be there.
    Edge(EntityId, Locator),
}

impl Fetch {
    pub fn key(&self) -> Vec<u8> {
        match self {
            Fetch::Node(id) | Fetch::LabelledNode(id) => key::node(*id),
            Fetch::Locator(id) => key::locator(*id),
            Fetch::Edge(id, locator) => locator.out_half(*id),
        }
    }

    pub fn read(&self) -> Read {
        Read::Get { key: self.key() }
    }

    /// An id of the user may name nothing; what another key refers to is there.
    pub fn missing(&self) -> Result<(), Error> {
        match self {
            Fetch::Node(_) | Fetch::Locator(_) => Ok(()),
            Fetch::LabelledNode(_) | Fetch::Edge(..) => Err(read::Error::missing(&self.key()).into()),
        }
    }
}
