//! What is done to members while they serve: one joins, all are balanced, one is drained or started again.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use kotoba_proto::Options;
use kotoba_proto::v1::{GetStatusResponse, MemberState, MemberStatus};
use tokio::process::Command;
use tokio::time::{Duration, sleep};

use super::{ASK_EVERY, ASK_WHETHER_WELL_EVERY, Members, Ports, READY_LIMIT};

/// No leader has changed for so long: one is left alone for 3 s before it may be asked to hand over again, and the driver
/// looks every half second.
const LEADERS_REST: Duration = Duration::from_secs(5);

impl Members {
    /// Starts a new member that asks the others to take it, and waits until it belongs to them. It holds no replica yet.
    pub async fn join(&mut self, ports: Ports) -> Result<()> {
        let peers = self.ports.clone();
        self.start_one(ports, &peers)?;
        let begin = Instant::now();
        loop {
            let status = self.status().await;
            let joined = status.as_ref().is_ok_and(|status| {
                let member = member_at(status, &ports.client_address());
                member.is_some_and(|member| member.state() == MemberState::Active)
            });
            if joined {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < READY_LIMIT,
                "the new member was not taken: {status:?}"
            );
            sleep(ASK_WHETHER_WELL_EVERY).await;
        }
    }

    /// Moves replicas to where they belong, until none is left to be moved.
    pub async fn balance(&self) -> Result<()> {
        self.kotoba(&["rebalance", "--wait"]).await
    }

    /// Moves all off a member and lets it go for ever; gives where it listened.
    pub async fn drain(&mut self, number: usize) -> Result<Ports> {
        let status = self.status().await?;
        let member = member_at(&status, &self.ports[number].client_address());
        let id = member.context("a member is not known to the others")?.id.to_string();
        self.kotoba(&["member", "drain", &id]).await?;
        self.kotoba(&["member", "remove", &id]).await?;
        self.end(number).await?;
        self.processes.remove(number);
        Ok(self.ports.remove(number))
    }

    /// Ends a member as Kubernetes does, and starts it again on its data.
    pub async fn roll(&mut self, number: usize) -> Result<()> {
        self.end(number).await?;
        self.processes[number].restart()
    }

    async fn end(&mut self, number: usize) -> Result<()> {
        self.processes[number].terminate()?;
        let begin = Instant::now();
        while !self.processes[number].has_ended()? {
            ensure!(begin.elapsed() < READY_LIMIT, "member {number} does not end");
            sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    /// The member that leads the meta group.
    pub async fn meta_leader(&self) -> Result<usize> {
        let status = self.status().await?;
        let leader = status
            .members
            .iter()
            .find(|member| member.id == status.leader_member_id);
        let address = &leader.context("no member leads the meta group")?.client_address;
        let found = self.addresses().iter().position(|own| own == address);
        found.with_context(|| format!("{address} is none of our members"))
    }

    /// Until leaders are where they stay; gives how long ago the last of them changed.
    pub async fn wait_until_leaders_rest(&self) -> Result<Duration> {
        let (begin, mut known, mut since) = (Instant::now(), Vec::new(), Instant::now());
        while since.elapsed() < LEADERS_REST {
            let seen = leaders(&self.status().await?);
            if seen != known {
                (known, since) = (seen, Instant::now());
            }
            ensure!(begin.elapsed() < READY_LIMIT, "leaders change for ever");
            sleep(ASK_WHETHER_WELL_EVERY).await;
        }
        Ok(since.elapsed())
    }

    async fn status(&self) -> Result<GetStatusResponse> {
        Ok(self.cluster(0, Options::default())?.get_status().await?)
    }

    /// Has it done as by a person.
    async fn kotoba(&self, args: &[&str]) -> Result<()> {
        let what = format!("`kotoba {}`", args.join(" "));
        let mut command = Command::new(&self.program);
        command.arg("--cluster").arg(self.addresses().join(",")).args(args);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = output.await.with_context(|| format!("starting {what}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{what} failed: {said}");
        Ok(())
    }
}

/// The one that is there now: those that were removed stay known.
fn member_at<'a>(status: &'a GetStatusResponse, address: &str) -> Option<&'a MemberStatus> {
    let mut present = status
        .members
        .iter()
        .filter(|member| member.state() != MemberState::Removed);
    present.find(|member| member.client_address == address)
}

/// Of the meta group, then of each partition.
fn leaders(status: &GetStatusResponse) -> Vec<u64> {
    let partitions = status.partitions.iter().map(|partition| partition.leader_member_id);
    [status.leader_member_id].into_iter().chain(partitions).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_was_removed_is_not_the_one_that_listens_there_now() {
        let member = |id, state: MemberState| MemberStatus {
            id,
            client_address: "a:1".to_owned(),
            state: state.into(),
            ..MemberStatus::default()
        };
        let mut status = GetStatusResponse {
            members: vec![member(1, MemberState::Removed)],
            ..GetStatusResponse::default()
        };
        assert_eq!(member_at(&status, "a:1"), None);
        status.members.push(member(4, MemberState::Joining));
        assert_eq!(member_at(&status, "a:1").map(|member| member.id), Some(4));
        assert_eq!(member_at(&status, "b:1"), None);
    }
}
