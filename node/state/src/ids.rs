//! Ids as newtypes, so that one kind can never stand for another. None is ever used twice.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

id!(
    /// A running database process with its own disk. From 1; 0 stands for none on the wire.
    MemberId(u64)
);
id!(
    /// One copy of one group on one member; its Raft id, fresh for every placement. From 1.
    ReplicaId(u64)
);
id!(
    /// A range of hash slots, 0 to `partition_count - 1`.
    PartitionId(u32)
);
id!(
    /// A point in the order of all commits, from the meta group's oracle. From 1; 0 is before everything.
    Timestamp(u64)
);

/// A Raft group: the meta group, or that of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GroupId {
    Meta,
    Partition(PartitionId),
}

impl GroupId {
    /// The number on the wire and on disk: 0 is the meta group, `p + 1` is partition `p`.
    pub fn number(self) -> u64 {
        match self {
            GroupId::Meta => 0,
            GroupId::Partition(partition) => u64::from(partition.0) + 1,
        }
    }

    /// The group of a number as [`GroupId::number`] gives it; `None` where no group has it.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(GroupId::Meta),
            _ => u32::try_from(number - 1)
                .ok()
                .map(|partition| GroupId::Partition(PartitionId(partition))),
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupId::Meta => f.write_str("meta"),
            GroupId::Partition(partition) => write!(f, "partition {partition}"),
        }
    }
}
