//! A partition's Raft group in memory: one log, two replicas of which one leads, and proposals that can be held back.
//!
//! A proposal that is held sits in its replica's queue: it is appended in the term that is current when it is let go,
//! which is how an entry of an old leadership comes late (the protocol's hole 3). In chaos the queue keeps its order, as
//! Raft's does; where a test holds a proposal, later ones overtake it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kotoba_node::raft::Leadership;
use kotoba_node::transaction::{GroupError, PartitionGroup};
use kotoba_state::ids::{MemberId, ReplicaId};
use kotoba_state::machine::{EntryPosition, StateMachine};
use kotoba_state::partition::{Answer, Command, PartitionMachine};
use kotoba_state::store::{Keeps, MemoryStore, Read};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{oneshot, watch};

use super::gate::Gate;

pub const REPLICAS: usize = 2;
/// Of a range, as if it were in memory.
const PAIRS_KEPT: usize = 8;

/// Which proposals a rule is about.
pub type Matches = Box<dyn Fn(&Command) -> bool + Send>;

struct Rule {
    matches: Matches,
    gate: Arc<Gate>,
    /// The proposer hears that the outcome is unknown, at once.
    forget: bool,
}

struct State {
    store: MemoryStore,
    log: Vec<(u64, Command)>,
    term: u64,
    leader: usize,
    rules: Vec<Rule>,
    chaos: Option<StdRng>,
    /// Entries that the replica which follows has applied; none where all.
    followed_to: Option<usize>,
    /// Proposals of each replica that come late.
    late: [Vec<Vec<u8>>; REPLICAS],
}

/// What chaos does to a proposal.
enum Trouble {
    None,
    /// Applied, but its proposer does not hear of it.
    Forget,
    /// Still in the queue when its proposer gives up on it.
    Late,
}

/// The group as all of its replicas and the test share it.
pub struct TestGroup {
    state: Mutex<State>,
    appended: watch::Sender<usize>,
    leaderships: Vec<watch::Sender<Leadership>>,
}

/// One replica of it.
pub struct Replica {
    group: Arc<TestGroup>,
    number: usize,
}

impl TestGroup {
    pub fn new() -> Arc<Self> {
        let group = TestGroup {
            state: Mutex::new(State {
                store: MemoryStore::default(),
                log: Vec::new(),
                term: 0,
                leader: 0,
                rules: Vec::new(),
                chaos: None,
                followed_to: None,
                late: Default::default(),
            }),
            appended: watch::channel(0).0,
            leaderships: (0..REPLICAS).map(|_| watch::channel(Leadership::default()).0).collect(),
        };
        group.elect(0);
        Arc::new(group)
    }

    pub fn replica(self: &Arc<Self>, number: usize) -> Arc<Replica> {
        let group = self.clone();
        Arc::new(Replica { group, number })
    }

    /// Makes a replica the leader of a new term.
    pub fn elect(&self, leader: usize) {
        self.elect_before(leader, |_| true);
    }

    /// The same, while the others have not heard of it yet: the old leader still takes itself for one.
    pub fn elect_unheard(&self, leader: usize) {
        self.elect_before(leader, |number| number == leader);
    }

    fn elect_before(&self, leader: usize, hears: impl Fn(usize) -> bool) {
        let mut state = self.lock();
        state.term += 1;
        if leader != state.leader {
            // Who led until now has applied all, and does not forget it.
            let all = state.log.len();
            state.followed_to = state.followed_to.map(|_| all);
        }
        state.leader = leader;
        let hearing = self.leaderships.iter().enumerate().filter(|(number, _)| hears(*number));
        for (number, watched) in hearing {
            watched.send_replace(Leadership {
                term: state.term,
                leader: Some((ReplicaId(leader as u64 + 1), MemberId(leader as u64 + 1))),
                leading: number == leader,
            });
        }
    }

    pub fn leader(&self) -> usize {
        self.lock().leader
    }

    /// Holds back the next proposal that matches, before it is appended.
    pub fn hold_next(&self, matches: impl Fn(&Command) -> bool + Send + 'static) -> Arc<Gate> {
        self.add_rule(matches, false)
    }

    /// The same, and its proposer is told at once that the outcome is unknown.
    pub fn lose_next(&self, matches: impl Fn(&Command) -> bool + Send + 'static) -> Arc<Gate> {
        self.add_rule(matches, true)
    }

    fn add_rule(&self, matches: impl Fn(&Command) -> bool + Send + 'static, forget: bool) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        self.lock().rules.push(Rule {
            matches: Box::new(matches),
            gate: gate.clone(),
            forget,
        });
        gate
    }

    /// From now on some proposals are answered late or not at all.
    pub fn unleash(&self, seed: u64) {
        self.hold_follower();
        self.lock().chaos = Some(StdRng::seed_from_u64(seed));
    }

    pub fn calm(&self) {
        self.lock().chaos = None;
        self.release_follower();
    }

    /// The replica that follows applies nothing more for the present.
    pub fn hold_follower(&self) {
        let mut state = self.lock();
        state.followed_to = Some(state.log.len());
    }

    pub fn release_follower(&self) {
        self.lock().followed_to = None;
    }

    /// What a replica has applied; in chaos one that follows comes as far as the log now and then.
    fn applied_by(&self, number: usize) -> usize {
        let mut state = self.lock();
        let all = state.log.len();
        if number == state.leader {
            return all;
        }
        if state.chaos.as_mut().is_some_and(|rng| rng.random_ratio(1, 3)) {
            state.followed_to = Some(all);
        }
        state.followed_to.unwrap_or(all)
    }

    fn trouble(&self) -> Trouble {
        match self.lock().chaos.as_mut().map(|rng| rng.random_range(0..40)) {
            Some(0) => Trouble::Forget,
            Some(1) => Trouble::Late,
            Some(_) | None => Trouble::None,
        }
    }

    /// Waits until the log has so many entries.
    pub async fn grown_to(&self, entries: usize) {
        let mut appended = self.appended.subscribe();
        // The sender lives as long as the group.
        let _ = appended.wait_for(|have| *have >= entries).await;
    }

    /// Appends and applies an entry of the present leader, as if a message had come.
    pub fn apply(&self, command: Command) -> Answer {
        let bytes = command.encode();
        Answer::decode(&self.append(&bytes)).expect("the state machine's own answer")
    }

    pub fn store(&self) -> MemoryStore {
        self.lock().store.clone()
    }

    /// The state of a replica that has applied only the first entries.
    pub fn store_at(&self, entries: usize) -> MemoryStore {
        let mut store = MemoryStore::default();
        for (index, (term, command)) in (1..).zip(&self.lock().log[..entries]) {
            let at = EntryPosition { term: *term, index };
            PartitionMachine
                .apply(&mut store, at, &command.encode())
                .expect("it applied before");
        }
        store
    }

    /// The commands of all entries.
    pub fn log(&self) -> Vec<Command> {
        self.lock().log.iter().map(|(_, command)| command.clone()).collect()
    }

    pub fn entries(&self) -> usize {
        self.lock().log.len()
    }

    fn append(&self, bytes: &[u8]) -> Vec<u8> {
        self.append_to(&mut self.lock(), bytes)
    }

    /// What a replica proposes, behind what it proposed before; none where it does not lead.
    fn append_of(&self, number: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut state = self.lock();
        self.append_late_of(number, &mut state);
        (state.leader == number).then(|| self.append_to(&mut state, bytes))
    }

    /// A queue of a replica that does not lead goes nowhere.
    fn append_late_of(&self, number: usize, state: &mut State) {
        if state.leader == number {
            let late = std::mem::take(&mut state.late[number]);
            late.iter().for_each(|bytes| drop(self.append_to(state, bytes)));
        }
    }

    fn append_to(&self, state: &mut State, bytes: &[u8]) -> Vec<u8> {
        let command = Command::decode(bytes).expect("a command of this build");
        let term = state.term;
        state.log.push((term, command));
        let at = EntryPosition {
            term,
            index: state.log.len() as u64,
        };
        let applied = PartitionMachine.apply(&mut state.store, at, bytes);
        self.appended.send_replace(state.log.len());
        applied.expect("memory does not fail")
    }

    fn take_rule(&self, bytes: &[u8]) -> Option<Rule> {
        let command = Command::decode(bytes).expect("a command of this build");
        let mut state = self.lock();
        let found = state.rules.iter().position(|rule| (rule.matches)(&command))?;
        Some(state.rules.remove(found))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replica {
    fn check_leading(&self) -> Result<(), GroupError> {
        // A majority knows who leads, whatever this replica has heard.
        match self.group.leader() == self.number {
            true => Ok(()),
            false => Err(self.not_leader()),
        }
    }

    fn not_leader(&self) -> GroupError {
        GroupError::NotLeader {
            leader: Some(MemberId(self.group.leader() as u64 + 1)),
        }
    }

    fn append_in_chaos(&self, command: Vec<u8>) -> Result<Vec<u8>, GroupError> {
        let append = || {
            let appended = self.group.append_of(self.number, &command);
            appended.ok_or_else(|| self.not_leader())
        };
        match self.group.trouble() {
            Trouble::None => append(),
            Trouble::Forget => append().and(Err(GroupError::Unknown)),
            Trouble::Late => {
                let (group, number) = (self.group.clone(), self.number);
                let entries = {
                    let mut state = group.lock();
                    state.late[number].push(command);
                    state.log.len()
                };
                tokio::spawn(async move {
                    group.grown_to(entries + 3).await;
                    group.append_late_of(number, &mut group.lock());
                });
                Err(GroupError::Unknown)
            }
        }
    }

    async fn append_held(group: Arc<TestGroup>, number: usize, rule: Rule, bytes: Vec<u8>) -> Option<Vec<u8>> {
        rule.gate.stand().await;
        // A queue of a replica that does not lead goes nowhere.
        let answer = (group.leader() == number).then(|| group.append(&bytes));
        rule.gate.pass();
        answer
    }
}

#[async_trait]
impl PartitionGroup for Replica {
    async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, GroupError> {
        self.check_leading()?;
        // Lets other tasks come in between, as the real group does.
        tokio::task::yield_now().await;
        let Some(rule) = self.group.take_rule(&command) else {
            return self.append_in_chaos(command);
        };
        let forget = rule.forget;
        let held = tokio::spawn(Self::append_held(self.group.clone(), self.number, rule, command));
        if forget {
            return Err(GroupError::Unknown);
        }
        held.await.ok().flatten().ok_or(GroupError::NotLeader { leader: None })
    }

    /// Here an entry is on disk when it is applied.
    async fn propose_told(&self, command: Vec<u8>, on_disk: oneshot::Sender<()>) -> Result<Vec<u8>, GroupError> {
        let answer = self.propose(command).await?;
        let _ = on_disk.send(());
        Ok(answer)
    }

    async fn read_barrier(&self) -> Result<(), GroupError> {
        tokio::task::yield_now().await;
        self.check_leading()
    }

    async fn lease_barrier(&self) -> Result<(), GroupError> {
        self.read_barrier().await
    }

    fn is_covered_by_lease(&self) -> bool {
        self.check_leading().is_ok()
    }

    fn applied_index(&self) -> u64 {
        self.group.applied_by(self.number) as u64
    }

    fn view(&self) -> Result<Box<dyn Read + Send>, GroupError> {
        let entries = self.group.applied_by(self.number);
        let store = match entries == self.group.entries() {
            true => self.group.store(),
            false => self.group.store_at(entries),
        };
        Ok(Box::new(Keeps {
            store,
            pairs: PAIRS_KEPT,
        }))
    }

    fn leadership(&self) -> Leadership {
        *self.group.leaderships[self.number].borrow()
    }

    fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.group.leaderships[self.number].subscribe()
    }
}

mod tests {
    use kotoba_state::ids::Timestamp;
    use kotoba_state::partition::closed_ts;

    use super::*;

    fn close(at: u64) -> Vec<u8> {
        let closed = Timestamp(at);
        Command::CloseTs { closed }.encode()
    }

    fn shown_by(replica: &Replica) -> Timestamp {
        let view = replica.view().expect("a view");
        closed_ts(view.as_ref()).expect("memory does not fail")
    }

    #[tokio::test]
    async fn a_leader_that_is_deposed_still_has_what_it_had_applied() {
        let group = TestGroup::new();
        group.hold_follower();
        let (deposed, next) = (group.replica(0), group.replica(1));
        deposed.propose(close(7)).await.expect("it leads");
        assert_eq!(shown_by(&next), Timestamp(0), "it is held");
        group.elect(1);
        assert_eq!(shown_by(&next), Timestamp(7), "it leads");
        assert_eq!(shown_by(&deposed), Timestamp(7));
    }

    #[tokio::test]
    async fn what_comes_late_comes_before_what_its_replica_proposes_later() {
        let group = TestGroup::new();
        group.lock().late[0].push(close(1));
        group.replica(0).propose(close(2)).await.expect("it leads");
        let closed = |at| Command::CloseTs { closed: Timestamp(at) };
        assert_eq!(group.log(), [closed(1), closed(2)]);
    }
}
