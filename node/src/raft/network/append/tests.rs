//! Which answers are told; the clock stands still where nobody waits for it.

use futures::stream::BoxStream;
use kotoba_state::ids::{GroupId, PartitionId, ReplicaId};
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::raft::types::{Entry, LeaderId, Payload, ReplicaKey, Vote};

const MARGIN: Duration = Duration::from_millis(100);

fn log_id(index: u64) -> LogId {
    let node_id = ReplicaId(1);
    LogId::new(LeaderId { term: 1, node_id }, index)
}

/// Entries behind `prev`, and how far the log is committed.
fn request(prev: u64, entries: u64, committed: u64) -> AppendRequest {
    let entry = |index| Entry {
        log_id: log_id(index),
        payload: Payload::Blank,
    };
    AppendRequest {
        vote: Vote::new_committed(1, ReplicaId(1)),
        prev_log_id: Some(log_id(prev)),
        entries: (prev + 1..=prev + entries).map(entry).collect(),
        leader_commit: Some(log_id(committed)),
    }
}

/// One stream, its leader and its follower.
struct Scene {
    requests: mpsc::Sender<AppendRequest>,
    _sent: mpsc::Receiver<RaftMessage>,
    streams: Arc<OpenStreams>,
    answers: BoxStream<'static, Result<AppendResult, CallError>>,
}

impl Scene {
    async fn new() -> Self {
        let (lane, sent) = Lane::of_a_test();
        let streams = Arc::new(OpenStreams::default());
        let replicate = Arc::new(ReplicateLane::new(lane, streams.clone(), MARGIN));
        let (requests, queued) = mpsc::channel(16);
        let from = ReplicaKey {
            group: GroupId::Partition(PartitionId(1)),
            replica: ReplicaId(1),
        };
        let route = Route { from, to: ReplicaId(2) };
        let answers = replicate.stream(route, ReceiverStream::new(queued)).await.unwrap();
        Scene {
            requests,
            _sent: sent,
            streams,
            answers: answers.boxed(),
        }
    }

    async fn ask(&mut self, request: AppendRequest) {
        self.requests.send(request).await.unwrap();
        self.settle().await;
    }

    /// Lets the stream do all that it can do at this moment.
    async fn settle(&mut self) {
        let told = tokio::time::timeout(Duration::ZERO, self.answers.next()).await;
        assert!(told.is_err(), "{told:?}");
    }

    fn answer(&self, matched: u64) {
        let answer: AppendResult = Ok(Some(log_id(matched)));
        self.streams.answer(RaftMessage {
            stream: 1,
            body: Some(Body::AppendAnswer(to_bytes(&answer).into())),
            ..RaftMessage::default()
        });
    }

    async fn told(&mut self) -> u64 {
        let told = self.answers.next().await.unwrap().unwrap();
        told.unwrap().unwrap().index()
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_is_left_to_the_one_behind_it() {
    let mut scene = Scene::new().await;
    for late in [false, true] {
        scene.ask(request(4, 1, 4)).await;
        scene.ask(request(5, 0, 5)).await;
        if late {
            tokio::time::advance(MARGIN * 2).await;
        }
        scene.answer(5);
        match late {
            false => assert_eq!(scene.told().await, 5),
            true => scene.settle().await,
        }
        scene.answer(5);
        assert_eq!(scene.told().await, 5);
    }
}
