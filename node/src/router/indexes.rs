//! How far replicas that follow have to have applied their logs to show the present: one message to each leader, for all that it
//! leads.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures::future::join_all;
use kotoba_proto::v1::ReadIndexesRequest;
use kotoba_state::ids::{MemberId, PartitionId, Timestamp};

use super::Router;

impl Router {
    /// None of those whose leader is not known, does not answer, or cannot say it without waiting.
    pub(super) async fn ask_indexes(&self, at_least: Timestamp, partitions: &[PartitionId]) -> Vec<Option<u64>> {
        let mut by_leader: BTreeMap<MemberId, Vec<usize>> = BTreeMap::new();
        for (position, partition) in partitions.iter().enumerate() {
            let leader = self.known_leader(*partition);
            if let Some(leader) = leader.filter(|leader| *leader != self.peers.me()) {
                by_leader.entry(leader).or_default().push(position);
            }
        }
        let ask = |(leader, positions): (MemberId, Vec<usize>)| async move {
            let asked = positions.iter().map(|position| partitions[*position].0).collect();
            let told = self.indexes_of(leader, at_least, asked).await;
            positions.into_iter().zip(told)
        };
        let told = join_all(by_leader.into_iter().map(ask)).await;
        let mut indexes = vec![None; partitions.len()];
        for (position, end) in told.into_iter().flatten() {
            // 0 says nothing.
            indexes[position] = end.checked_sub(1);
        }
        indexes
    }

    async fn indexes_of(&self, leader: MemberId, at_least: Timestamp, partitions: Vec<u32>) -> Vec<u64> {
        let Ok(mut client) = self.peers.client(leader) else {
            return Vec::new();
        };
        self.sent.fetch_add(1, Ordering::Relaxed);
        let request = ReadIndexesRequest {
            envelope: self.peers.envelope(leader),
            at_least: at_least.0,
            partitions,
        };
        match client.get_read_indexes(request).await {
            Ok(response) => response.into_inner().ends,
            Err(_) => Vec::new(),
        }
    }
}
