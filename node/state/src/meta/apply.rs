//! Applying one command: a pure function from catalogue to catalogue, with an answer.

use std::collections::BTreeMap;

use super::catalogue::{
    Catalogue, Founding, Health, Leader, Member, MemberState, Partition, Replica, ReplicaRole, Settings,
};
use super::command::{Answer, Command, ElectedLeader, FirstMember, Proposed};
use super::{departures, events, moves, rows};
use crate::ids::{GroupId, MemberId, PartitionId, ReplicaId};
use crate::machine::{EntryPosition, StateMachine};
use crate::placement::{self, MAX_PARTITIONS, MAX_REPLICATION_FACTOR, Placement};
use crate::store::{StoreError, Write};

/// Members of one cluster, removed ones included: the catalogue is read whole, so it has to stay small.
const MAX_MEMBERS: usize = 1_000;
/// The state machine of the meta group.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetaMachine;

impl StateMachine for MetaMachine {
    fn apply(&self, store: &mut dyn Write, _: EntryPosition, command: &[u8]) -> Result<Vec<u8>, StoreError> {
        let Proposed { command, now_ms } = Proposed::decode(command).map_err(StoreError::new)?;
        let before = rows::load(store)?;
        let mut after = before.clone();
        let answer = match after.apply(&command) {
            Ok(answer) => {
                rows::save(store, &before, &after)?;
                events::record(store, &before, &after, now_ms)?;
                answer
            }
            Err(reason) => Answer::Refused(reason),
        };
        Ok(answer.encode())
    }
}

/// Why a command changes nothing, for the person or the program that sent it.
pub(super) type Refusal = String;

impl Catalogue {
    /// Applies a command. On a refusal the catalogue may be half changed: the caller drops it.
    pub(super) fn apply(&mut self, command: &Command) -> Result<Answer, Refusal> {
        if self.settings.is_none() && !matches!(command, Command::Found { .. }) {
            return Err("the cluster is not founded yet".to_owned());
        }
        match command {
            Command::Found {
                cluster_id,
                members,
                replication_factor,
                partition_count,
                max_parallel_moves,
            } => self.found(
                Settings {
                    cluster_id: cluster_id.clone(),
                    replication_factor: *replication_factor,
                    partition_count: *partition_count,
                    max_parallel_moves: *max_parallel_moves,
                },
                members,
            ),
            Command::Join { .. } => self.join(command),
            Command::ActivateMember { member } => self.activate(*member),
            Command::DescribeMember {
                member,
                disk_id,
                peer_address,
                client_address,
                version,
            } => self.describe(*member, disk_id, peer_address, client_address, version),
            Command::SetMetaVoter { member, voter } => {
                self.member_mut(*member)?.meta_voter = *voter;
                Ok(Answer::Done)
            }
            Command::SetHealth { member, health, now_ms } => self.set_health(*member, *health, *now_ms),
            Command::Drain { member, then_remove } => self.drain(*member, *then_remove),
            Command::CancelDrain { member } => self.cancel_drain(*member),
            Command::AskRemoval { member } => self.ask_removal(*member),
            Command::CountAsGone { member } => self.count_as_gone(*member),
            Command::PlanDepartures { now_ms } => Ok(departures::plan(self, *now_ms)),
            Command::RemoveMember { member, drain } => self.remove(*member, *drain),
            Command::MarkFounded { partition } => {
                self.partition_mut(*partition)?.founding = Founding::Founded;
                Ok(Answer::Done)
            }
            Command::PlanRebalance { now_ms } => Ok(moves::plan(self, *now_ms)),
            Command::AdvanceMove { id, from, to } => moves::advance(self, *id, *from, *to),
            Command::ForgetReplica { partition, replica } => self.forget(*partition, *replica),
            Command::ExtendTimestamps { count } => self.extend_timestamps(*count),
            Command::LeaseSequences { count } => self.lease_sequences(*count),
            Command::NextIncarnation => {
                let incarnation = self.counters.next_incarnation;
                self.counters.next_incarnation += 1;
                Ok(Answer::Incarnation(incarnation))
            }
            Command::ReportDiverged {
                partition,
                replica,
                evidence,
                now_ms,
            } => self.report_diverged(*partition, *replica, *evidence, *now_ms),
            Command::ReportRebuilt { partition, replica } => self.report_rebuilt(*partition, *replica),
            Command::NoteLeaders { leaders } => Ok(self.note_leaders(leaders)),
        }
    }

    fn found(&mut self, settings: Settings, members: &[FirstMember]) -> Result<Answer, Refusal> {
        if let Some(existing) = &self.settings {
            return match existing.cluster_id == settings.cluster_id {
                true => Ok(Answer::Done),
                false => Err(format!("this is cluster {} already", existing.cluster_id)),
            };
        }
        check_settings(&settings, members)?;
        for first in members {
            self.add_first_member(first);
        }
        let replicas_each = settings.replication_factor as usize;
        let placement = placement::place(
            &self.candidates(),
            &Placement::default(),
            replicas_each,
            settings.partition_count,
        );
        for (partition, holders) in placement.0 {
            self.add_partition(partition, holders);
        }
        self.settings = Some(settings);
        Ok(Answer::Done)
    }

    fn add_first_member(&mut self, first: &FirstMember) {
        let id = self.take_member_id();
        let member = Member {
            id,
            disk_id: first.disk_id.clone(),
            peer_address: first.peer_address.clone(),
            client_address: first.client_address.clone(),
            zone: first.zone.clone(),
            name: first.name.clone(),
            version: String::new(),
            state: MemberState::Active,
            health: Health::Alive,
            health_since_ms: 0,
            meta_replica: self.take_replica_id(),
            meta_voter: first.meta_voter,
            drain: None,
            gone: false,
        };
        assert_eq!(
            member.meta_replica.0, id.0,
            "the founder gives meta replicas the members' numbers"
        );
        self.members.insert(id, member);
    }

    fn add_partition(&mut self, id: PartitionId, holders: impl IntoIterator<Item = MemberId>) {
        let mut replicas = BTreeMap::new();
        for member in holders {
            let role = ReplicaRole::Voter;
            replicas.insert(self.take_replica_id(), Replica { member, role });
        }
        // The founder of a group is its first leader: in turn, so that no member begins with all the leaders.
        let turn = id.0 as usize % replicas.len().max(1);
        let founder = replicas
            .keys()
            .nth(turn)
            .copied()
            .expect("a founded cluster has members to place on");
        let founding = Founding::By(founder);
        self.partitions.insert(id, Partition { id, replicas, founding });
    }

    fn join(&mut self, command: &Command) -> Result<Answer, Refusal> {
        let Command::Join {
            disk_id,
            peer_address,
            client_address,
            zone,
            name,
            version,
        } = command
        else {
            unreachable!("called for joins only");
        };
        let known = self.member_of_disk(disk_id).map(|member| (member.id, member.state));
        if let Some((id, MemberState::Removed)) = known {
            return Err(format!(
                "disk {disk_id} was member {id}, which was removed: empty the disk to join as a new member"
            ));
        }
        self.refuse_address_of_another(peer_address, disk_id)?;
        if known.is_none() {
            self.refuse_too_many()?;
        }
        let id = match known {
            Some((id, _)) => id,
            None => self.add_joining_member(disk_id, zone, name),
        };
        let member = self.member_mut(id)?;
        member.peer_address.clone_from(peer_address);
        member.client_address.clone_from(client_address);
        member.version.clone_from(version);
        let state = member.state;
        let cluster_id = self
            .settings
            .as_ref()
            .map(|settings| settings.cluster_id.clone())
            .unwrap_or_default();
        Ok(Answer::Joined {
            cluster_id,
            member: id,
            state,
        })
    }

    fn refuse_too_many(&self) -> Result<(), Refusal> {
        let current = self
            .members
            .values()
            .filter(|member| member.state != MemberState::Removed)
            .count();
        if current >= placement::MAX_MEMBERS {
            return Err(format!("a cluster has at most {} members", placement::MAX_MEMBERS));
        }
        match self.members.len() >= MAX_MEMBERS {
            true => Err(format!(
                "a cluster has at most {MAX_MEMBERS} members, removed ones included"
            )),
            false => Ok(()),
        }
    }

    /// Two members at one address would each get the other's messages, and refuse them.
    ///
    /// One that has failed may be followed at its address by another disk: in Kubernetes the name belongs to the slot, and the
    /// volume that was lost with its member must not keep the slot from being used.
    fn refuse_address_of_another(&self, address: &str, disk_id: &str) -> Result<(), Refusal> {
        let holder = self.members.values().find(|member| {
            let holds = member.state != MemberState::Removed && member.health != Health::Failed;
            holds && member.peer_address == address && member.disk_id != disk_id
        });
        match holder {
            Some(member) => Err(format!(
                "{address} is the address of member {} with another disk; wait until that member counts as failed, or use another address",
                member.id
            )),
            None => Ok(()),
        }
    }

    fn add_joining_member(&mut self, disk_id: &str, zone: &str, name: &str) -> MemberId {
        let id = self.take_member_id();
        let member = Member {
            id,
            disk_id: disk_id.to_owned(),
            peer_address: String::new(),
            client_address: String::new(),
            zone: zone.to_owned(),
            name: name.to_owned(),
            version: String::new(),
            state: MemberState::Joining,
            health: Health::Alive,
            health_since_ms: 0,
            meta_replica: self.take_replica_id(),
            meta_voter: false,
            drain: None,
            gone: false,
        };
        self.members.insert(id, member);
        id
    }

    fn activate(&mut self, id: MemberId) -> Result<Answer, Refusal> {
        let member = self.member_mut(id)?;
        match member.state {
            MemberState::Joining => member.state = MemberState::Active,
            MemberState::Active => {}
            MemberState::Draining | MemberState::Removed => return Err(format!("member {id} is leaving")),
        }
        Ok(Answer::Done)
    }

    fn describe(
        &mut self,
        id: MemberId,
        disk_id: &str,
        peer_address: &str,
        client_address: &str,
        version: &str,
    ) -> Result<Answer, Refusal> {
        let member = self.member_mut(id)?;
        if member.disk_id != disk_id {
            return Err(format!("member {id} has another disk"));
        }
        if member.state == MemberState::Removed {
            return Ok(Answer::Removed);
        }
        self.refuse_address_of_another(peer_address, disk_id)?;
        let member = self.member_mut(id)?;
        member.peer_address = peer_address.to_owned();
        member.client_address = client_address.to_owned();
        member.version = version.to_owned();
        Ok(Answer::Done)
    }

    fn forget(&mut self, partition: PartitionId, replica: ReplicaId) -> Result<Answer, Refusal> {
        let replicas = &mut self.partition_mut(partition)?.replicas;
        match replicas.get(&replica).map(|placed| placed.role) {
            None => Ok(Answer::Done),
            Some(ReplicaRole::Retiring) => {
                replicas.remove(&replica);
                Ok(Answer::Done)
            }
            Some(ReplicaRole::Learner | ReplicaRole::Voter) => Err(format!("replica {replica} is not retiring")),
        }
    }

    /// News of an older term, or of what does not exist, comes too late and changes nothing.
    fn note_leaders(&mut self, leaders: &[ElectedLeader]) -> Answer {
        for elected in leaders {
            let exists = match elected.group {
                GroupId::Meta => true,
                GroupId::Partition(partition) => self.partitions.contains_key(&partition),
            };
            let known = self.leaders.get(&elected.group).map_or(0, |leader| leader.term);
            if exists && elected.term > known && self.members.contains_key(&elected.member) {
                let (member, term) = (elected.member, elected.term);
                self.leaders.insert(elected.group, Leader { member, term });
            }
        }
        Answer::Done
    }

    pub(super) fn take_replica_id(&mut self) -> ReplicaId {
        let id = self.counters.next_replica;
        self.counters.next_replica = ReplicaId(id.0 + 1);
        id
    }

    fn take_member_id(&mut self) -> MemberId {
        let id = self.counters.next_member;
        self.counters.next_member = MemberId(id.0 + 1);
        id
    }

    pub(super) fn member_mut(&mut self, id: MemberId) -> Result<&mut Member, Refusal> {
        self.members
            .get_mut(&id)
            .ok_or_else(|| format!("there is no member {id}"))
    }

    pub(super) fn partition_mut(&mut self, id: PartitionId) -> Result<&mut Partition, Refusal> {
        self.partitions
            .get_mut(&id)
            .ok_or_else(|| format!("there is no partition {id}"))
    }
}

/// What the state machine would refuse of a founding, for those who want to know before.
pub fn check_founding(command: &Command) -> Result<(), Refusal> {
    Catalogue::default().apply(command).map(|_| ())
}

fn check_settings(settings: &Settings, members: &[FirstMember]) -> Result<(), Refusal> {
    let distinct = |field: fn(&FirstMember) -> &str| {
        let values: std::collections::BTreeSet<_> = members.iter().map(field).collect();
        values.len() == members.len()
    };
    let rules = [
        (!settings.cluster_id.is_empty(), "a cluster id is needed"),
        (
            (1..=placement::MAX_MEMBERS).contains(&members.len()),
            "a cluster is founded with 1 to 256 members",
        ),
        // More than there are members is allowed: partitions get the rest when members come.
        (
            (1..=MAX_REPLICATION_FACTOR).contains(&settings.replication_factor),
            "the replication factor is 1 to 7",
        ),
        (
            (1..=MAX_PARTITIONS).contains(&settings.partition_count),
            "there are 1 to 1024 partitions",
        ),
        (settings.max_parallel_moves >= 1, "at least one move runs at a time"),
        (
            distinct(|member| &member.disk_id),
            "two first members have the same disk",
        ),
        (
            distinct(|member| &member.peer_address),
            "two first members have the same address",
        ),
        (
            members.iter().any(|member| member.meta_voter),
            "at least one first member votes in the meta group",
        ),
    ];
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err((*rule).to_owned()),
        None => Ok(()),
    }
}
