//! What the database knows, and its rules: one join at a time, drains and moves that end one by one, and no removal of
//! what is not empty. It refuses what a real one would, and keeps count of what must happen once.

use std::collections::BTreeMap;

use kotoba_proto::v1;
use tonic::Status;

/// Copies on each first member.
const FIRST_REPLICAS: u32 = 3;
/// Moves that a rebalance opens for each new member.
const MOVES_PER_MEMBER: u32 = 2;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disk {
    pub id: String,
    pub cluster_id: String,
    pub member_id: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Joining,
    Active,
    Draining { before_joined: bool, then_remove: bool },
    Removed,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub name: String,
    pub peer_address: String,
    pub disk_id: String,
    pub zone: String,
    pub standing: Standing,
    pub replicas: u32,
    pub disk_full: bool,
}

#[derive(Debug, Default)]
pub struct State {
    /// By the name of the pod whose process runs on it.
    pub disks: BTreeMap<String, Disk>,
    pub cluster_id: String,
    pub replication_factor: usize,
    pub members: BTreeMap<u64, Listed>,
    pub foundings: usize,
    pub rebalances: usize,
    pub moves_open: u32,
    pub moves_finished: u64,
    /// Answers nobody but to WhoAmI.
    pub mute: bool,
    /// Does what it is told, and its answers are lost on the way.
    pub loses_answers: bool,
    /// Takes nobody in.
    pub refuses_joins: bool,
    /// Says no to every drain.
    pub refuses_drains: bool,
    /// Nothing moves.
    pub stuck: bool,
    /// Drains that were begun.
    pub drains: usize,
    /// Most members that were drained at the same time.
    pub drained_at_once: usize,
    rebalancing: bool,
    /// The last member id that was given; ids are never used twice.
    last_member_id: u64,
}

impl State {
    pub fn is_ready(&self, pod: &str) -> bool {
        self.disks.get(pod).is_some_and(|disk| {
            let member = self.members.get(&disk.member_id);
            !disk.cluster_id.is_empty() && member.is_none_or(|member| member.standing != Standing::Removed)
        })
    }

    /// Members that were not removed.
    pub fn current(&self) -> impl Iterator<Item = (&u64, &Listed)> {
        self.members
            .iter()
            .filter(|(_, member)| member.standing != Standing::Removed)
    }

    pub(super) fn runs(&self, member: &Listed) -> bool {
        self.disks.values().any(|disk| disk.id == member.disk_id)
    }

    pub(super) fn has_majority(&self) -> bool {
        let running = self.current().filter(|(_, member)| self.runs(member)).count();
        running * 2 > self.current().count()
    }

    pub(super) fn end_joins(&mut self) {
        let running: Vec<String> = self.disks.values().map(|disk| disk.id.clone()).collect();
        for member in self.members.values_mut() {
            if member.standing == Standing::Joining && running.contains(&member.disk_id) {
                member.standing = Standing::Active;
            }
        }
    }

    pub(super) fn end_a_move(&mut self) {
        if self.moves_open > 0 {
            self.moves_open -= 1;
            self.moves_finished += 1;
        }
        if self.moves_open == 0 && self.rebalancing {
            self.rebalancing = false;
            let active = self
                .members
                .values_mut()
                .filter(|member| member.standing == Standing::Active);
            active.for_each(|member| member.replicas = member.replicas.max(1));
        }
    }

    pub(super) fn move_off(&mut self) {
        let leaving: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, member)| matches!(member.standing, Standing::Draining { .. }))
            .map(|(id, _)| *id)
            .collect();
        for id in leaving {
            let has_room = self.well_without(id) >= self.replication_factor;
            let member = self.members.get_mut(&id).unwrap();
            match member.standing {
                Standing::Draining { then_remove: true, .. } if member.replicas == 0 => {
                    member.standing = Standing::Removed;
                }
                Standing::Draining { .. } if member.replicas > 0 && has_room => {
                    member.replicas -= 1;
                    self.moves_finished += 1;
                }
                Standing::Joining | Standing::Active | Standing::Draining { .. } | Standing::Removed => {}
            }
        }
    }

    /// Members that could hold copies if this one were gone.
    pub(super) fn well_without(&self, id: u64) -> usize {
        let others = self.members.iter().filter(|(other, _)| **other != id);
        others
            .filter(|(_, member)| member.standing == Standing::Active && self.runs(member))
            .count()
    }

    pub(super) fn take_in(&mut self, listed: Listed) -> u64 {
        self.last_member_id += 1;
        let member_id = self.last_member_id;
        let disk = self.disks.values_mut().find(|disk| disk.id == listed.disk_id);
        if let Some(disk) = disk {
            disk.cluster_id.clone_from(&self.cluster_id);
            disk.member_id = member_id;
        }
        self.members.insert(member_id, listed);
        member_id
    }

    pub(super) fn found(&mut self, pod: &str, request: v1::BootstrapRequest) -> Result<u64, Status> {
        let seed = self.disks[pod].clone();
        if !seed.cluster_id.is_empty() {
            let same = seed.cluster_id == request.cluster_id;
            return same
                .then_some(seed.member_id)
                .ok_or_else(|| Status::already_exists("this disk is in use"));
        }
        self.foundings += 1;
        self.cluster_id = request.cluster_id;
        self.replication_factor = match request.replication_factor {
            0 => request.members.len().min(3),
            given => given as usize,
        };
        for member in request.members {
            self.take_in(Listed {
                name: member.name,
                peer_address: member.peer_address,
                disk_id: member.disk_id,
                zone: member.zone,
                standing: Standing::Active,
                replicas: FIRST_REPLICAS,
                disk_full: false,
            });
        }
        Ok(self.disks[pod].member_id)
    }

    pub(super) fn join(&mut self, request: v1::JoinClusterRequest) -> Result<(u64, Standing), Status> {
        let known = self
            .members
            .iter()
            .find(|(_, member)| member.disk_id == request.disk_id);
        if let Some((id, member)) = known {
            return match member.standing {
                Standing::Removed => Err(refused("this disk was a member that was removed")),
                Standing::Joining | Standing::Active | Standing::Draining { .. } => Ok((*id, member.standing)),
            };
        }
        if self.refuses_joins {
            return Err(refused("no room"));
        }
        let holds = |member: &Listed| member.peer_address == request.peer_address && self.runs(member);
        if self.current().any(|(_, member)| holds(member)) {
            return Err(refused(
                "that is the address of another member: wait until it counts as failed",
            ));
        }
        if self.current().any(|(_, member)| member.standing == Standing::Joining) {
            return Err(refused("another member is joining"));
        }
        let id = self.take_in(Listed {
            name: request.name,
            peer_address: request.peer_address,
            disk_id: request.disk_id,
            zone: request.zone,
            standing: Standing::Joining,
            replicas: 0,
            disk_full: false,
        });
        Ok((id, Standing::Joining))
    }

    pub(super) fn drain(&mut self, id: u64, then_remove: bool) -> Result<(), Status> {
        if self.refuses_drains {
            return Err(refused("a rule says no"));
        }
        let enough = self.well_without(id) >= self.replication_factor;
        let factor = self.replication_factor;
        let member = self
            .members
            .get_mut(&id)
            .ok_or_else(|| Status::not_found("no such member"))?;
        match &mut member.standing {
            Standing::Removed if then_remove => {}
            Standing::Removed => return Err(refused("it was removed")),
            Standing::Draining { then_remove: asked, .. } => *asked |= then_remove,
            Standing::Active if !enough => {
                return Err(refused(&format!(
                    "there are not enough members to hold {factor} replicas: add a member first"
                )));
            }
            Standing::Joining | Standing::Active => {
                let before_joined = member.standing == Standing::Joining;
                member.standing = Standing::Draining {
                    before_joined,
                    then_remove,
                };
                self.drains += 1;
            }
        }
        let draining = self
            .members
            .values()
            .filter(|member| matches!(member.standing, Standing::Draining { .. }));
        self.drained_at_once = self.drained_at_once.max(draining.count());
        Ok(())
    }

    pub(super) fn cancel_drain(&mut self, id: u64) -> Result<(), Status> {
        let member = self
            .members
            .get_mut(&id)
            .ok_or_else(|| Status::not_found("no such member"))?;
        member.standing = match member.standing {
            Standing::Removed => return Err(refused("it was removed: add a new one")),
            Standing::Draining {
                before_joined: true, ..
            } => Standing::Joining,
            Standing::Draining { .. } | Standing::Active => Standing::Active,
            Standing::Joining => Standing::Joining,
        };
        Ok(())
    }

    pub(super) fn ask_removal(&mut self, id: u64) -> Result<(), Status> {
        let member = self
            .members
            .get(&id)
            .ok_or_else(|| Status::not_found("no such member"))?;
        match member.standing {
            Standing::Active if self.runs(member) => Err(refused("it is active: drain it first")),
            Standing::Active if member.replicas > 0 => {
                Err(refused("it has failed and replicas are left on it: drain it"))
            }
            Standing::Joining | Standing::Active | Standing::Draining { .. } | Standing::Removed => {
                self.drain(id, true)
            }
        }
    }

    pub(super) fn balanced(&self) -> bool {
        let mut active = self
            .members
            .values()
            .filter(|member| member.standing == Standing::Active);
        self.moves_open == 0 && active.all(|member| member.replicas > 0)
    }

    pub(super) fn rebalance(&mut self) {
        let active = self
            .members
            .values()
            .filter(|member| member.standing == Standing::Active);
        let empty = active.filter(|member| member.replicas == 0).count();
        if self.moves_open == 0 && empty > 0 {
            self.rebalances += 1;
            self.rebalancing = true;
            self.moves_open = MOVES_PER_MEMBER * u32::try_from(empty).unwrap();
        }
    }
}

/// A rule says no, as the database says it.
fn refused(why: &str) -> Status {
    kotoba_proto::error::status(v1::error_detail::Kind::Refused, why)
}
