//! Which disk is behind which claim, noted on the claim while its process can be asked.
//!
//! Whether a claim may be deleted is decided when its pod is gone, and then only this tells what would be lost.

use super::ClaimMark;
use crate::observe::{NotedDisk, Observed, Slot};

/// Claims on which something else is noted than what their process says.
pub(super) fn missing(observed: &Observed) -> Vec<ClaimMark> {
    observed
        .slots
        .iter()
        .filter_map(|(slot, seen)| mark(*slot, seen))
        .collect()
}

fn mark(slot: u32, seen: &Slot) -> Option<ClaimMark> {
    let identity = seen.process.identity()?;
    let claim = seen.claim.as_ref().filter(|claim| !claim.deleting)?;
    let disk = NotedDisk {
        disk_id: identity.disk_id.clone(),
        member_id: identity.membership.as_ref().map(|membership| membership.member_id),
    };
    (claim.disk.as_ref() != Some(&disk)).then(|| ClaimMark {
        slot,
        uid: claim.uid.clone(),
        version: claim.version.clone(),
        disk,
    })
}
