//! Requests to several partitions that one member leads, in one message.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures::{Stream, StreamExt};
use kotoba_proto::v1::{PartPartition, PartitionsRequest, PartitionsResponse};
use kotoba_state::ids::{MemberId, PartitionId};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

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

    /// The answers that came in the time of one call; what is missing is to be asked for by itself.
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
        // The channel's own timeout ends where the answers begin.
        let deadline = Instant::now() + self.peers.call_timeout();
        match client.partitions(message).await {
            Ok(answers) => batch.answered(answers.into_inner(), deadline).await,
            Err(_) => Vec::new(),
        }
    }
}

impl Batch {
    async fn answered(
        &self,
        mut answers: impl Stream<Item = Result<PartitionsResponse, Status>> + Unpin,
        deadline: Instant,
    ) -> Vec<(usize, Result<Reply, CallError>)> {
        let mut answered = Vec::new();
        while let Ok(Some(Ok(answer))) = timeout_at(deadline, answers.next()).await {
            let position = usize::try_from(answer.position).ok().and_then(|at| self.parts.get(at));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_member_that_answers_in_part_and_falls_silent_is_left_after_the_time_of_a_call() {
        let batch = Batch {
            member: MemberId(2),
            parts: vec![(4, Vec::new()), (7, Vec::new())],
        };
        let second = PartitionsResponse {
            position: 1,
            body: message::encode::<Response>(&Ok(Reply::Resolved)).into(),
        };
        let answers = stream::iter([Ok(second)]).chain(stream::pending());
        let deadline = Instant::now() + Duration::from_secs(5);
        let answered = batch.answered(answers, deadline).await;
        assert_eq!(answered, [(7, Ok(Reply::Resolved))]);
        assert_eq!(Instant::now(), deadline);
    }
}
