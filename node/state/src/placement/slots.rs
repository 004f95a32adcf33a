//! Hash slots and the contiguous ranges of them that make partitions.

use std::ops::RangeInclusive;

use crate::ids::PartitionId;

/// Number of hash slots, for ever; the first two bytes of a key are its slot.
pub const SLOTS: u16 = 4096;

/// The partition that a slot belongs to.
///
/// # Panics
/// Where the slot is not below [`SLOTS`] or there are no partitions: both are checked where they enter.
pub fn partition_of_slot(slot: u16, partition_count: u32) -> PartitionId {
    assert!(slot < SLOTS, "slot {slot} is not below {SLOTS}");
    assert!(
        (1..=u32::from(SLOTS)).contains(&partition_count),
        "{partition_count} partitions"
    );
    PartitionId(u32::from(slot) * partition_count / u32::from(SLOTS))
}

/// The slots of a partition.
pub fn slots_of(partition: PartitionId, partition_count: u32) -> RangeInclusive<u16> {
    assert!(
        partition.0 < partition_count,
        "partition {partition} of {partition_count}"
    );
    let first = |number: u32| (number * u32::from(SLOTS)).div_ceil(partition_count);
    let narrow = |slot: u32| u16::try_from(slot).expect("a slot is at most SLOTS, which fits");
    narrow(first(partition.0))..=narrow(first(partition.0 + 1) - 1)
}
