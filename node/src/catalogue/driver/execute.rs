//! Carries out one action of the driver. A failure is logged and forgotten: the next pass decides anew.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use kotoba_proto::v1::change_replicas_request::Change;
use kotoba_proto::v1::{AddLearner, ChangeReplicasRequest, RemoveLearner, ReplaceVoters, TransferLeader};
use kotoba_state::ids::PartitionId;
use kotoba_state::meta::driver::{Action, MetaAction};
use kotoba_state::meta::{Answer, Command};
use tracing::{info, warn};

use super::{Driver, Observation, PROPOSE_TIMEOUT};

/// A group that was asked to hand over has done so by then, or has elected somebody by itself.
const TRANSFER_WITHIN: Duration = Duration::from_secs(3);

impl Driver {
    pub(super) async fn execute(&self, action: Action, observation: &Observation) {
        match action {
            Action::Propose(command) => self.propose(command).await,
            Action::AddLearner {
                partition,
                replica,
                member,
            } => {
                let add = AddLearner {
                    replica_id: replica.0,
                    member_id: member.0,
                };
                self.change(observation, partition, Change::AddLearner(add)).await;
            }
            Action::RemoveLearner { partition, replica } => {
                let remove = RemoveLearner { replica_id: replica.0 };
                self.change(observation, partition, Change::RemoveLearner(remove)).await;
            }
            Action::ReplaceVoters {
                partition,
                voters,
                expected_membership_log_id,
            } => {
                let replace = ReplaceVoters {
                    voters: voters.into_iter().map(|voter| voter.0).collect(),
                    expected_membership_log_id,
                };
                self.change(observation, partition, Change::ReplaceVoters(replace))
                    .await;
            }
            Action::TransferLeader { partition, .. } if self.is_transferring(partition) => {}
            Action::TransferLeader { partition, to } => {
                let transfer = TransferLeader { to_replica_id: to.0 };
                self.change(observation, partition, Change::TransferLeader(transfer))
                    .await;
            }
            // Status shows it.
            Action::Wait { .. } => {}
        }
    }

    /// Whether the partition was asked a moment ago; notes that it is asked now where it was not.
    fn is_transferring(&self, partition: PartitionId) -> bool {
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        transfers.retain(|_, asked| now.duration_since(*asked) < TRANSFER_WITHIN);
        let is_asked = transfers.contains_key(&partition);
        transfers.entry(partition).or_insert(now);
        is_asked
    }

    pub(super) async fn execute_on_meta(&self, action: MetaAction) {
        let done = match action {
            MetaAction::Propose(command) => return self.propose(command).await,
            MetaAction::AddLearner { replica, member } => self.meta.add_learner(replica, member).await,
            MetaAction::ReplaceVoters {
                voters,
                expected_membership_log_id,
            } => {
                info!(?voters, "new voters of the meta group");
                self.meta.replace_voters(voters, &expected_membership_log_id).await
            }
            MetaAction::RemoveLearner {
                replica,
                expected_membership_log_id,
            } => {
                info!(%replica, "a drained member leaves the meta group");
                self.meta.remove_learner_if(replica, &expected_membership_log_id).await
            }
            MetaAction::TransferLeader { to } => {
                info!(%to, "the meta group's leader hands over: its member is drained");
                self.meta.transfer_leader(to).await
            }
        };
        if let Err(error) = done {
            warn!(error = %error, "the meta group's membership is not changed in this pass");
        }
    }

    pub(super) async fn propose(&self, command: Command) {
        match self.client.propose(&command, PROPOSE_TIMEOUT).await {
            Ok(Answer::Refused(reason)) => warn!(?command, reason, "the catalogue refused a step of the driver"),
            Ok(_) => info!(?command, "catalogue changed"),
            Err(error) => warn!(?command, error = %error, "the catalogue is not changed in this pass"),
        }
    }

    /// Asks the partition's leader for a change of its membership.
    async fn change(&self, observation: &Observation, partition: PartitionId, change: Change) {
        let Some(leader) = observation.partitions.get(&partition).and_then(Option::as_ref) else {
            return;
        };
        let request = ChangeReplicasRequest {
            envelope: self.peers.envelope(leader.member),
            partition: partition.0,
            change: Some(change),
        };
        let Ok(mut client) = self.peers.client(leader.member) else {
            return;
        };
        info!(%partition, change = ?request.change, "membership change");
        if let Err(status) = client.change_replicas(request).await {
            warn!(%partition, error = status.message(), "the partition's membership is not changed in this pass");
        }
    }
}
