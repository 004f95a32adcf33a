//! Requests to several partitions that one member leads, in one message.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use kotoba_proto::v1::{PartPartition, PartitionsRequest};
use kotoba_state::ids::{MemberId, PartitionId};

use super::{Attempt, Router, may_be_done_twice, of_response};
use crate::transaction::{CallError, Reply, Request, Response, message};

/// Bytes of requests in one message; far below the largest, and several of the largest prepares.
const BATCH_BYTES: usize = 8 << 20;

/// What goes to one member, by the positions of the requests.
pub(super) struct Batch {
    member: MemberId,
    parts: Vec<(usize, Vec<u8>)>,
}

impl Router {
    /// Requests that may go together: to another member that is known to lead at least two of the partitions, and such as may
    /// be asked again where the answer is lost.
    pub(super) fn batches(&self, requests: &[(PartitionId, Request)]) -> Vec<Batch> {
        let mut by_member: BTreeMap<MemberId, Vec<usize>> = BTreeMap::new();
        for (position, (partition, request)) in requests.iter().enumerate() {
            let leader = self
                .known_leader(*partition)
                .filter(|leader| *leader != self.peers.me());
            if let Some(leader) = leader.filter(|_| may_be_done_twice(request)) {
                by_member.entry(leader).or_default().push(position);
            }
        }
        let together = by_member.into_iter().filter(|(_, positions)| positions.len() > 1);
        together
            .flat_map(|(member, positions)| in_messages(member, &positions, requests))
            .collect()
    }

    /// The answers that came; what is missing is to be asked for by itself.
    pub(super) async fn ask_at_once(
        &self,
        batch: &Batch,
        requests: &[(PartitionId, Request)],
    ) -> Vec<(usize, Result<Reply, CallError>)> {
        let part = |(position, body): &(usize, Vec<u8>)| PartPartition {
            partition: requests[*position].0.0,
            body: body.clone().into(),
        };
        let message = PartitionsRequest {
            envelope: self.peers.envelope(batch.member),
            parts: batch.parts.iter().map(part).collect(),
        };
        let Ok(mut client) = self.peers.client(batch.member) else {
            return Vec::new();
        };
        self.sent.fetch_add(1, Ordering::Relaxed);
        let Ok(answers) = client.partitions(message).await else {
            return Vec::new();
        };
        let (mut answers, mut answered) = (answers.into_inner(), Vec::new());
        while let Ok(Some(answer)) = answers.message().await {
            let position = usize::try_from(answer.position).ok().and_then(|at| batch.parts.get(at));
            let response = message::decode::<Response>(&answer.body);
            if let (Some((position, _)), Ok(response)) = (position, response) {
                answered.extend(settled(response).map(|answer| (*position, answer)));
            }
        }
        answered
    }
}

fn settled(response: Response) -> Option<Result<Reply, CallError>> {
    match of_response(response) {
        Attempt::Answered(reply) => Some(Ok(reply)),
        Attempt::Failed(failure) => Some(Err(failure.into())),
        Attempt::Elsewhere(..) | Attempt::Unknown(_) => None,
    }
}

fn in_messages(member: MemberId, positions: &[usize], requests: &[(PartitionId, Request)]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut bytes = usize::MAX;
    for position in positions {
        let body = message::encode(&requests[*position].1);
        if bytes.saturating_add(body.len()) > BATCH_BYTES {
            batches.push(Batch {
                member,
                parts: Vec::new(),
            });
            bytes = 0;
        }
        bytes += body.len();
        batches
            .last_mut()
            .expect("the first position begins a batch")
            .parts
            .push((*position, body));
    }
    batches
}
