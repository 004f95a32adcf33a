//! How members leave: drained and removed on request, counted as gone where they have failed for too long.
//!
//! Everything here is a change of the member's own row. The moves that follow are planned in `departures`.

use super::apply::Refusal;
use super::catalogue::{Catalogue, Drain, Health, Member, MemberState, MoveReason, MoveStep, ReplicaRole};
use super::command::Answer;
use crate::ids::MemberId;

impl Catalogue {
    pub(super) fn drain(&mut self, id: MemberId, then_remove: bool) -> Result<Answer, Refusal> {
        let before = self.member_mut(id)?.state;
        match before {
            MemberState::Removed if then_remove => return Ok(Answer::Done),
            MemberState::Removed => return Err(format!("member {id} was removed")),
            MemberState::Draining => {
                if let Some(drain) = &mut self.member_mut(id)?.drain {
                    drain.then_remove |= then_remove;
                }
                return Ok(Answer::Done);
            }
            MemberState::Joining | MemberState::Active => {}
        }
        self.why_needed(id).map_or(Ok(()), Err)?;
        let number = self.counters.next_drain;
        self.counters.next_drain += 1;
        let member = self.member_mut(id)?;
        member.state = MemberState::Draining;
        member.drain = Some(Drain {
            number,
            then_remove,
            before,
        });
        Ok(Answer::Done)
    }

    /// Why the cluster cannot do without a member; none where it can.
    pub fn why_needed(&self, id: MemberId) -> Option<String> {
        let factor = self.settings.as_ref()?.replication_factor as usize;
        if self.members.get(&id)?.state == MemberState::Joining && self.replicas_on(id) == 0 {
            return None;
        }
        let staying = |member: &&Member| member.id != id && member.state == MemberState::Active && !member.gone;
        let (failed, well): (Vec<_>, Vec<_>) = self
            .members
            .values()
            .filter(staying)
            .partition(|member| member.health == Health::Failed);
        if well.len() >= factor {
            return None;
        }
        let failed = match failed.len() {
            0 => String::new(),
            count => format!(" ({count} more have failed)"),
        };
        Some(format!(
            "without member {id} there are {} members{failed} to hold {factor} replicas of each partition: add a member first",
            well.len()
        ))
    }

    pub(super) fn cancel_drain(&mut self, id: MemberId) -> Result<Answer, Refusal> {
        let member = self.member_mut(id)?;
        match (member.state, member.drain.take()) {
            (MemberState::Removed, _) => return Err(format!("member {id} was removed: add a new one")),
            (_, Some(drain)) => member.state = drain.before,
            (MemberState::Joining | MemberState::Active | MemberState::Draining, None) => return Ok(Answer::Done),
        }
        self.drop_departures(id, MoveReason::Drain);
        Ok(Answer::Done)
    }

    /// Never begins to move anything: what is asked for late must not drain a member that was kept.
    pub(super) fn ask_removal(&mut self, id: MemberId) -> Result<Answer, Refusal> {
        let left = self.replicas_on(id);
        let member = self.member_mut(id)?;
        let has_failed = member.health == Health::Failed;
        match member.state {
            MemberState::Active if has_failed && left > 0 => Err(format!(
                "member {id} has failed and {left} replicas are left on it: drain it first, then they are placed elsewhere"
            )),
            MemberState::Active if !has_failed => Err(format!("member {id} is active: drain it first")),
            MemberState::Joining | MemberState::Active | MemberState::Draining | MemberState::Removed => {
                self.drain(id, true)
            }
        }
    }

    pub(super) fn set_health(&mut self, id: MemberId, health: Health, now_ms: u64) -> Result<Answer, Refusal> {
        let member = self.member_mut(id)?;
        if member.health != health {
            member.health = health;
            member.health_since_ms = now_ms;
        }
        if health == Health::Alive && member.gone {
            member.gone = false;
            self.drop_departures(id, MoveReason::Replace);
        }
        Ok(Answer::Done)
    }

    pub(super) fn count_as_gone(&mut self, id: MemberId) -> Result<Answer, Refusal> {
        let member = self.member_mut(id)?;
        match (member.state, member.health) {
            (MemberState::Active, Health::Failed) => {}
            (MemberState::Active, Health::Alive | Health::Suspected) => {
                return Err(format!("member {id} has not failed"));
            }
            (MemberState::Joining | MemberState::Draining | MemberState::Removed, _) => {
                return Err(format!(
                    "member {id} holds nothing that would have to be placed elsewhere"
                ));
            }
        }
        self.why_needed(id).map_or(Ok(()), Err)?;
        self.member_mut(id)?.gone = true;
        Ok(Answer::Done)
    }

    /// The member stays: its moves that have not begun are dropped, the others go on to their end.
    fn drop_departures(&mut self, id: MemberId, reason: MoveReason) {
        self.moves
            .retain(|_, row| row.step != MoveStep::Planned || row.reason != reason || row.from != Some(id));
    }

    pub(super) fn remove(&mut self, id: MemberId, drain: u64) -> Result<Answer, Refusal> {
        let member = self.member_mut(id)?;
        match (member.state, member.drain) {
            (MemberState::Removed, _) => return Ok(Answer::Done),
            (MemberState::Draining, Some(open)) if open.number == drain && open.then_remove => {}
            (MemberState::Joining | MemberState::Active | MemberState::Draining, _) => {
                return Err(format!("member {id} is not being removed by drain {drain}"));
            }
        }
        if member.meta_voter {
            return Err(format!("member {id} votes in the meta group"));
        }
        let under_way = |step, end: Option<MemberId>| step == MoveStep::Learning && end == Some(id);
        let moved = self
            .moves
            .values()
            .any(|row| under_way(row.step, row.from) || under_way(row.step, row.to));
        if moved || !self.is_empty_of(id) {
            return Err(format!("member {id} is not empty"));
        }
        let member = self.member_mut(id)?;
        member.state = MemberState::Removed;
        member.drain = None;
        self.forget_everything_of(id);
        Ok(Answer::Done)
    }

    /// Rows of replicas that a dead process will not delete any more: their numbers are never used again, nor is its disk.
    fn forget_everything_of(&mut self, id: MemberId) {
        self.moves.retain(|_, row| row.from != Some(id) && row.to != Some(id));
        for partition in self.partitions.values_mut() {
            partition
                .replicas
                .retain(|_, replica| replica.member != id || replica.role != ReplicaRole::Retiring);
        }
        self.forget_diverged();
    }
}
