//! Clocks on walls that are hours off, or jump while clients write: nothing is lost, nothing hangs, nobody is given up.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use kotoba_node::clock::{SystemClock, WallClock};
use kotoba_proto::v1::{GetStatusResponse, MemberHealth};
use kotoba_state::ids::MemberId;

use crate::cluster::Cluster;
use crate::settings::Pace;
use crate::wait::{ensure, run, until};
use crate::writer::Writer;

const HOURS_MS: i64 = 5 * 3_600_000;
const YEARS_MS: i64 = 20 * 365 * 24 * 3_600_000;

/// The time of day of one member, as a test sets it.
#[derive(Default)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn set_ahead_ms(&self, ahead_ms: i64) {
        self.0.store(ahead_ms, Ordering::Relaxed);
    }
}

impl WallClock for TestClock {
    fn now_ms(&self) -> u64 {
        SystemClock
            .now_ms()
            .saturating_add_signed(self.0.load(Ordering::Relaxed))
    }
}

/// Everyone writes, with edges over partitions, while clocks jump: every acknowledged write is there once, and writes go on.
#[test]
fn clocks_that_are_hours_off_or_jump_lose_nothing_and_hold_up_nobody() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        cluster.clock(1).set_ahead_ms(HOURS_MS);
        cluster.clock(2).set_ahead_ms(-HOURS_MS);
        let writers: Vec<Writer> = (1..=3)
            .map(|member| Writer::start(cluster.client_of(member), &format!("clock{member}")))
            .collect();
        for jumps in [[-HOURS_MS, HOURS_MS, 0], [0, -YEARS_MS, YEARS_MS], [YEARS_MS, 0, 0]] {
            for writer in &writers {
                writer.progress(20).await;
            }
            for (member, ahead) in (1..=3).zip(jumps) {
                cluster.clock(member).set_ahead_ms(ahead);
            }
        }
        for writer in &writers {
            writer.progress(20).await;
            assert_eq!(writer.failed(), 0);
        }
        // A coordinator dies in the middle of what it does; by its clock that was years ahead.
        cluster.crash(1).await;
        for writer in &writers[1..] {
            writer.progress(30).await;
        }
        cluster.start(1).await;
        cluster.ready().await;
        let mut ledgers = Vec::new();
        for writer in writers {
            ledgers.push(writer.finish().await);
        }
        cluster.agree().await;
        for ledger in ledgers {
            ledger.check(&cluster.client()).await;
        }
    });
}

/// Time is given to a member that is away; by one clock it is over at once, by those of the others it runs.
#[test]
fn a_leader_whose_clock_jumps_gives_nobody_up_before_the_time_and_not_never() {
    run(async {
        let after = Duration::from_secs(12);
        let mut pace = Pace::with_quick_detection();
        pace.membership.replacement_after = Some(after);
        let cluster = Cluster::with(pace, 4, 4).await;
        let leader = cluster.meta_leader().await;
        let led_since = Instant::now();
        let writer = Writer::start(cluster.client_of(leader), "given");
        // One that has led for less counts nobody as gone, whatever its clock says.
        until("a leader of some standing", || async {
            let led = led_since.elapsed();
            ensure(led > after, || format!("{led:?}"))
        })
        .await;
        let away = (1..=4).find(|member| *member != leader).unwrap();
        cluster.links.isolate(MemberId(away));
        let is_failed = |status: &GetStatusResponse| {
            let member = status.members.iter().find(|member| member.id == away).unwrap();
            member.health() == MemberHealth::Failed
        };
        let is_given_up = |status: &GetStatusResponse| status.members.iter().any(|member| member.gone);
        cluster.status_where("a failed member", is_failed).await;
        cluster.clock(leader).set_ahead_ms(HOURS_MS);
        let given_up = cluster.status_where("a member that was given up", is_given_up);
        let too_early = tokio::time::timeout(after / 2, given_up).await;
        assert!(too_early.is_err(), "a member was given up by a clock that jumped");
        cluster.clock(leader).set_ahead_ms(-YEARS_MS);
        cluster
            .status_where("a member that was given up in the end", is_given_up)
            .await;
        writer.finish().await.check(&cluster.client_of(leader)).await;
    });
}
