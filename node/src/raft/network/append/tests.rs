//! When news of a commit is sent, and which answers are told; the clock stands still where nobody waits for it.

use futures::stream::BoxStream;
use kotoba_state::ids::{PartitionId, ReplicaId};
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
    sent: mpsc::Receiver<RaftMessage>,
    streams: Arc<OpenStreams>,
    answers: BoxStream<'static, Result<AppendResult, CallError>>,
}

impl Scene {
    async fn of(group: GroupId) -> Self {
        let (lane, sent) = Lane::of_a_test();
        let streams = Arc::new(OpenStreams::default());
        let replicate = Arc::new(ReplicateLane::new(lane, streams.clone(), MARGIN));
        let (requests, queued) = mpsc::channel(16);
        let from = ReplicaKey {
            group,
            replica: ReplicaId(1),
        };
        let route = Route { from, to: ReplicaId(2) };
        let answers = replicate.stream(route, ReceiverStream::new(queued)).await.unwrap();
        Scene {
            requests,
            sent,
            streams,
            answers: answers.boxed(),
        }
    }

    async fn of_a_partition() -> Self {
        Self::of(GroupId::Partition(PartitionId(1))).await
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

    /// What the follower has been sent: entries, and how far the log is committed.
    fn sent(&mut self) -> Vec<(usize, u64)> {
        let mut sent = Vec::new();
        while let Ok(message) = self.sent.try_recv() {
            let Some(Body::AppendRequest(bytes)) = message.body else {
                panic!("{message:?}");
            };
            let request: AppendRequest = from_bytes(&bytes).unwrap();
            sent.push((request.entries.len(), request.leader_commit.unwrap().index()));
        }
        sent
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
async fn news_of_a_commit_travels_with_the_next_entries() {
    let mut scene = Scene::of_a_partition().await;
    scene.ask(request(4, 1, 4)).await;
    scene.ask(request(5, 0, 5)).await;
    assert_eq!(scene.sent(), [(1, 4)]);
    scene.ask(request(5, 2, 5)).await;
    assert_eq!(scene.sent(), [(2, 5)]);
    scene.answer(7);
    assert_eq!(scene.told().await, 7);
}

#[tokio::test(start_paused = true)]
async fn news_of_a_commit_waits_for_a_moment_only_and_newer_news_not_anew() {
    let mut scene = Scene::of_a_partition().await;
    scene.ask(request(4, 2, 4)).await;
    scene.sent();
    scene.ask(request(6, 0, 5)).await;
    tokio::time::advance(COMMIT_HELD_FOR / 2).await;
    scene.ask(request(6, 0, 6)).await;
    assert_eq!(scene.sent(), []);
    tokio::time::advance(COMMIT_HELD_FOR / 2).await;
    scene.settle().await;
    assert_eq!(scene.sent(), [(0, 6)]);
}

#[tokio::test(start_paused = true)]
async fn a_first_request_and_all_of_the_meta_group_are_sent_at_once() {
    let mut scene = Scene::of_a_partition().await;
    scene.ask(request(4, 0, 4)).await;
    assert_eq!(scene.sent(), [(0, 4)]);
    let mut meta = Scene::of(GroupId::Meta).await;
    meta.ask(request(4, 1, 4)).await;
    meta.ask(request(5, 0, 5)).await;
    assert_eq!(meta.sent(), [(1, 4), (0, 5)]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_is_left_to_the_one_behind_it() {
    let mut scene = Scene::of(GroupId::Meta).await;
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

#[tokio::test(start_paused = true)]
async fn what_is_held_when_the_leader_has_no_more_is_sent_before_the_end() {
    let mut scene = Scene::of_a_partition().await;
    scene.ask(request(4, 1, 4)).await;
    scene.ask(request(5, 0, 5)).await;
    let (closed, _) = mpsc::channel(1);
    drop(std::mem::replace(&mut scene.requests, closed));
    scene.settle().await;
    assert_eq!(scene.sent(), [(1, 4), (0, 5)]);
    scene.answer(5);
    scene.answer(5);
    assert_eq!((scene.told().await, scene.told().await), (5, 5));
    assert!(scene.answers.next().await.is_none());
}
