//! Failure detection: a member is what the meta leader hears of its meta replica.

use std::time::Duration;

use kotoba_state::meta::{Catalogue, Command, Health, Member, MemberState};

use super::{Driver, Observation};
use crate::config::MembershipConfig;

impl Driver {
    /// Logs the changes of health; there are few, so the log is no burden.
    pub(super) async fn watch_health(&self, catalogue: &Catalogue, observation: &Observation) {
        let watched = catalogue.members.values().filter(|member| match member.state {
            MemberState::Active | MemberState::Draining => true,
            MemberState::Joining | MemberState::Removed => false,
        });
        for member in watched {
            let leading = self.leading_since.elapsed();
            let health = health_of(&self.membership, member.health, silence(member, observation), leading);
            if health != member.health {
                let command = Command::SetHealth {
                    member: member.id,
                    health,
                    now_ms: observation.now_ms(),
                };
                self.propose(command).await;
            }
        }
    }
}

/// How long a member has been silent; none where this leader has not heard from it at all.
fn silence(member: &Member, observation: &Observation) -> Option<Duration> {
    if member.meta_replica == observation.meta.replica || observation.members.contains_key(&member.id) {
        return Some(Duration::ZERO);
    }
    let progress = observation.meta.progress.get(&member.meta_replica)?;
    progress.silent_ms.map(Duration::from_millis)
}

/// A leader that is new has heard from nobody yet: it counts silence from its own start at the earliest, and calls nobody
/// better than the last leader did before it has heard from them.
fn health_of(config: &MembershipConfig, known: Health, silence: Option<Duration>, leading: Duration) -> Health {
    let is_heard = silence.is_some_and(|silence| silence < leading);
    let at_best = if is_heard { Health::Alive } else { known };
    let silence = silence.unwrap_or(leading).min(leading);
    at_best.max(of_silence(config, silence))
}

fn of_silence(config: &MembershipConfig, silence: Duration) -> Health {
    if silence >= config.failure_timeout {
        Health::Failed
    } else if silence >= config.suspect_after() {
        Health::Suspected
    } else {
        Health::Alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_a_member_suspected_and_then_failed() {
        let config = MembershipConfig::default();
        let long = Duration::from_secs(600);
        let known = Health::Failed;
        let health = |seconds| health_of(&config, known, Some(Duration::from_secs(seconds)), long);
        assert_eq!(health(2), Health::Alive);
        assert_eq!(health(3), Health::Suspected);
        assert_eq!(health(14), Health::Suspected);
        assert_eq!(health(15), Health::Failed);
        assert_eq!(health_of(&config, Health::Alive, None, long), Health::Failed);
    }

    #[test]
    fn a_new_leader_condemns_nobody_it_could_not_have_heard_yet() {
        let config = MembershipConfig::default();
        let alive = Health::Alive;
        assert_eq!(health_of(&config, alive, None, Duration::from_secs(1)), alive);
        let stale = Some(Duration::from_secs(60));
        let suspected = health_of(&config, alive, stale, Duration::from_secs(4));
        assert_eq!(suspected, Health::Suspected);
    }

    #[test]
    fn a_new_leader_acquits_nobody_it_has_not_heard() {
        let (config, short) = (MembershipConfig::default(), Duration::from_secs(1));
        let health = |silence| health_of(&config, Health::Failed, silence, short);
        assert_eq!(health(None), Health::Failed);
        assert_eq!(health(Some(Duration::from_secs(60))), Health::Failed);
        assert_eq!(health(Some(Duration::ZERO)), Health::Alive);
    }
}
