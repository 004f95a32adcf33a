//! Pauses between rounds of asking a group's members which of them leads.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{Group, Leadership};

/// A lead that is handed over is taken within a few milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// About half a heartbeat.
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// The search for a leader: pauses double up to the last, and end early when the replica here hears of another leader.
pub struct LeaderSearch {
    /// None where no replica of the group is here.
    leadership: Option<watch::Receiver<Leadership>>,
    pause: Duration,
}

impl LeaderSearch {
    /// Begins behind the first round that found nobody; what became known in a later one ends the pause behind that.
    pub fn new(group: Option<&Group>) -> Self {
        LeaderSearch::following(group.map(Group::watch_leadership))
    }

    fn following(mut leadership: Option<watch::Receiver<Leadership>>) -> Self {
        if let Some(leadership) = &mut leadership {
            leadership.mark_unchanged();
        }
        LeaderSearch {
            leadership,
            pause: FIRST_PAUSE,
        }
    }

    pub async fn pause(&mut self) {
        let pause = self.pause;
        self.pause = (pause * 2).min(LAST_PAUSE);
        // Elapsed or not, the members are asked again.
        let _ = timeout(pause, self.hear_of_another()).await;
    }

    async fn hear_of_another(&mut self) {
        if let Some(leadership) = &mut self.leadership {
            while leadership.changed().await.is_ok() {
                if leadership.borrow_and_update().leader.is_some() {
                    return;
                }
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use kotoba_state::ids::{MemberId, ReplicaId};
    use tokio::time::Instant;

    use super::*;

    fn led_by(member: u64, term: u64) -> Leadership {
        Leadership {
            term,
            leader: Some((ReplicaId(member), MemberId(member))),
            leading: false,
        }
    }

    async fn paused(search: &mut LeaderSearch) -> Duration {
        let begin = Instant::now();
        search.pause().await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_last() {
        let mut search = LeaderSearch::following(None);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pauses.push(paused(&mut search).await.as_millis());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 50, 50]);
    }

    #[tokio::test(start_paused = true)]
    async fn another_leader_ends_a_pause_and_a_lost_one_does_not() {
        let (sender, leadership) = watch::channel(led_by(1, 1));
        sender.send_replace(led_by(2, 2));
        let mut search = LeaderSearch::following(Some(leadership));
        assert_eq!(
            paused(&mut search).await.as_millis(),
            2,
            "it was known before the search"
        );
        sender.send_replace(Leadership {
            term: 3,
            ..Leadership::default()
        });
        assert_eq!(paused(&mut search).await.as_millis(), 4, "it is not known who leads");
        sender.send_replace(led_by(3, 3));
        assert_eq!(paused(&mut search).await, Duration::ZERO);
        drop(sender);
        assert_eq!(
            paused(&mut search).await.as_millis(),
            16,
            "the replica here has stopped"
        );
    }
}
