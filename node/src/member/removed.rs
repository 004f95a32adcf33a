//! A member that was removed from its cluster: how it learns of it, and how it ends while its process goes on.
//!
//! A removed member is no longer in the meta group, so it does not see its own removal in its copy of the catalogue: as soon
//! as nothing is left on it, it asks. The process keeps its ports open and says what became of it; ending it would only have
//! it started again by whoever watches over it.

use std::sync::Arc;
use std::time::Duration;

use kotoba_state::meta::{Answer, MemberState};
use tokio::time::sleep;
use tracing::{error, info};

use super::Process;
use super::running::Running;

/// How often a member that is empty and shall be removed asks whether it was.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// An answer that is not there by then is asked for again.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests that came before the removal get this long to end.
const REQUESTS_END_WITHIN: Duration = Duration::from_secs(2);

/// Ends the member once it was removed.
pub async fn watch(running: Arc<Running>, process: Arc<Process>) {
    let mut changes = running.catalogue.watch();
    loop {
        changes.mark_unchanged();
        let waits = match standing(&running) {
            Standing::Removed => return process.remove().await,
            Standing::Empty if was_removed(&running, &process).await => return process.remove().await,
            Standing::Empty => true,
            Standing::Member => false,
        };
        tokio::select! {
            () = process.member_cancel.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = sleep(ASK_EVERY), if waits => {},
        }
    }
}

/// What the local catalogue says of this member.
enum Standing {
    Member,
    /// To be removed, and nothing is left here.
    Empty,
    Removed,
}

fn standing(running: &Running) -> Standing {
    let catalogue = running.catalogue.get();
    let Some(member) = catalogue.members.get(&running.me) else {
        return Standing::Member;
    };
    let leaves = member.drain.is_some_and(|drain| drain.then_remove);
    match member.state {
        MemberState::Removed => Standing::Removed,
        MemberState::Draining if leaves && catalogue.is_empty_of(running.me) => Standing::Empty,
        MemberState::Joining | MemberState::Active | MemberState::Draining => Standing::Member,
    }
}

async fn was_removed(running: &Running, process: &Process) -> bool {
    let answer = running
        .meta_client
        .propose(&running.description(process), ASK_TIMEOUT)
        .await;
    matches!(answer, Ok(Answer::Removed))
}

impl Process {
    /// Takes note of the removal, durably; then nothing new is served, and what runs is ended in order.
    pub(super) async fn remove(&self) {
        if let Err(error) = self.identity().note_removal() {
            // Not noted, it is told again at the next start.
            error!(error = %error, "the removal of this member cannot be written down");
            return self.cancel.cancel();
        }
        info!("{}", self.why_not_running());
        sleep(REQUESTS_END_WITHIN).await;
        self.member_cancel.cancel();
        let Some(running) = self.started() else { return };
        for (_, local) in running.partitions.all() {
            local.leader.stop();
        }
        running.groups.shutdown().await;
    }
}
