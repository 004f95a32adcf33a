//! The meta leader's driver: observes the members, lets the pure rules decide, and carries out one step per pass.
//!
//! It runs on every member and acts only while the member leads the meta group. Nothing is remembered between passes:
//! a new leader goes on from the catalogue and from what it observes.

mod execute;
mod health;
mod joining;
mod observe;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kotoba_state::ids::{MemberId, PartitionId};
use kotoba_state::meta::driver::{
    Policy, balance_leaders, elected_leaders, next_member_steps, next_meta_step, next_removal, next_step,
    report_diverged,
};
use kotoba_state::meta::{Catalogue, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use observe::Observation;

use super::client::MetaClient;
use super::local::LocalCatalogue;
use crate::config::MembershipConfig;
use crate::peer::clients::PeerClients;
use crate::raft::Group;
use crate::space::ShortMembers;

/// A command of the driver that is not logged by then is decided anew in the next pass.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the driver works with.
pub struct Driver {
    pub meta: Group,
    pub client: MetaClient,
    pub catalogue: LocalCatalogue,
    pub peers: Arc<PeerClients>,
    /// Passed on with each look, so that all know them; a new leader begins with what it was told.
    pub short: Arc<ShortMembers>,
    pub membership: MembershipConfig,
    pub interval: Duration,
    /// The newest observation, for status; none while another member leads.
    pub observed: watch::Sender<Option<Arc<Observation>>>,
    /// Since when this member leads the meta group.
    pub leading_since: Instant,
    /// When each partition was last asked to hand over. No decision rests on it: it only keeps a request that is under way
    /// from being sent again, which would begin the election anew.
    pub transfers: Mutex<BTreeMap<PartitionId, Instant>>,
}

impl Driver {
    /// Runs until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut leadership = self.meta.watch_leadership();
        let mut was_leading = false;
        let mut judged: Option<Instant> = None;
        loop {
            let leading = leadership.borrow_and_update().leading;
            if leading && !was_leading {
                self.leading_since = Instant::now();
            }
            was_leading = leading;
            if leading {
                let is_due = judged.is_none_or(|at| at.elapsed() >= self.membership.failure_detection_interval);
                if is_due {
                    judged = Some(Instant::now());
                }
                self.pass(is_due).await;
            } else {
                self.observed.send_replace(None);
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = leadership.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(self.interval) => {},
            }
        }
    }

    /// Observes everything once, judges who is silent where that is due, then takes the steps that are safe now.
    async fn pass(&self, judges_health: bool) {
        if self.meta.read_barrier().await.is_err() {
            self.observed.send_replace(None);
            return;
        }
        let catalogue = self.catalogue.get();
        let observation = observe::observe(&catalogue, &self.meta, &self.peers, &self.short.told()).await;
        self.short.tell(observation.full_members());
        let observation = Arc::new(observation);
        self.observed.send_replace(Some(observation.clone()));
        if judges_health {
            self.watch_health(&catalogue, &observation).await;
        }
        self.note_leaders(&catalogue, &observation).await;
        self.assign_joiners(&catalogue).await;
        self.drive_meta(&catalogue, &observation).await;
        let (policy, observed) = (self.policy(&observation), &observation.partitions);
        let steps = next_member_steps(&catalogue, observed, &policy).into_iter();
        let steps = steps.chain(next_step(&catalogue, observed));
        let steps = steps.chain(report_diverged(&catalogue, &observation.noted_digests(), policy.now_ms));
        for action in steps.chain(balance_leaders(&catalogue, observed, &policy)) {
            self.execute(action, &observation).await;
        }
    }

    /// Logs who was elected since the last pass, all in one command, so that subscribers hear of it.
    async fn note_leaders(&self, catalogue: &Catalogue, observation: &Observation) {
        let leaders = elected_leaders(catalogue, &observation.partitions, &observation.meta_view());
        if !leaders.is_empty() {
            self.propose(Command::NoteLeaders { leaders }).await;
        }
    }

    /// One step of the meta group's own membership; a removal only where there is nothing else to do.
    async fn drive_meta(&self, catalogue: &Catalogue, observation: &Observation) {
        let meta = observation.meta_view();
        let removal = || next_removal(catalogue, &observation.partitions, &meta);
        if let Some(action) = next_meta_step(catalogue, &meta).or_else(removal) {
            self.execute_on_meta(action).await;
        }
    }

    fn policy(&self, observation: &Observation) -> Policy {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let could_lead = |member: &MemberId| {
            let answer = observation.members.get(member);
            answer.is_some_and(|answer| !answer.stopping && !answer.disk_full)
        };
        let absent = self
            .catalogue
            .get()
            .members
            .keys()
            .copied()
            .filter(|member| !could_lead(member))
            .collect();
        Policy {
            now_ms: observation.now_ms(),
            leading_ms: millis(self.leading_since.elapsed()),
            replacement_after_ms: self.membership.replacement_after.map(millis),
            balance_leaders: self.membership.balance_leaders,
            absent,
        }
    }
}
