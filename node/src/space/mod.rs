//! The room on the file system of the data directory: what is kept free, and what a member does when it runs short.
//!
//! A write of the log or of a state that finds no room waits until there is some (`raft/patient_file.rs`): nothing is lost,
//! but its replicas cannot vote or follow meanwhile. So a member stops taking writes while it still has room for what it must
//! write without being asked:
//!
//! | level | when | what is refused |
//! |---|---|---|
//! | `Enough` | at least the reserve is available, a quarter more after a shortage | nothing |
//! | `Low` | less than the reserve | where this member leads: clients' writes, before they get into the log; where it follows: snapshots. Leaders are handed over to members that have room, if there are such |
//! | `Exhausted` | less than half of the ballast | where it follows: entries of partitions, too; it then lags behind like a member that is away |
//!
//! Reads, heartbeats, elections, the meta group (timestamps!), and the ends of transactions that had begun are never
//! refused: they are small. Deletions are refused as other writes are: they write first, what they free is collected after the
//! retention, and it is room inside the files, not on the disk.
//!
//! A part of the reserve is the *ballast*, a file whose blocks are allocated. Somebody else may fill the disk to its last
//! byte at any moment; the ballast is given up when a write would not fit, not earlier, so that whoever fills the disk is likely
//! to have met its end before. It is allocated again when there is room.
//!
//! Leaders hear which members are short from the leader of the meta group, with each of its looks ([`ShortMembers`]): a
//! partition most of whose voters are short takes no writes wherever its leader is. Nothing of this is stored.

mod rule;
mod volume;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kotoba_state::ids::MemberId;
use tracing::{info, warn};

use rule::Rule;
pub use rule::{DEFAULT_RESERVE_BYTES, Level};
pub use volume::{FileSystem, Room, Volume};

use crate::raft::DiskRoom;

/// The ballast's name in the data directory.
const BALLAST: &str = "ballast";
/// What a byte in memory takes in a state file at most: pages have sizes of powers of two.
const WRITTEN_PER_BYTE: u64 = 2;
/// How long a write that found no room waits before it is made again.
const WRITE_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What is known of the room, as of the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// As the file system says, and what the ballast would free.
    pub available_bytes: u64,
    /// Of the whole file system.
    pub total_bytes: u64,
    pub reserve_bytes: u64,
    pub level: Level,
}

impl Reading {
    pub fn is_short(&self) -> bool {
        match self.level {
            Level::Enough => false,
            Level::Low | Level::Exhausted => true,
        }
    }
}

/// The room of one member.
pub struct Space {
    directory: PathBuf,
    volume: Arc<dyn Volume>,
    rule: Rule,
    state: Mutex<State>,
    /// Writes that find no room fail.
    ending: AtomicBool,
}

struct State {
    ballast_bytes: u64,
    /// What is in memory only and will take room on the disk.
    unwritten_bytes: u64,
    reading: Reading,
    /// The volume's last word was an error, which is logged once.
    is_mute: bool,
    /// So was the last attempt to allocate the ballast: some file systems never allow it.
    is_without_ballast: bool,
    /// A write found no room since there was enough, which is logged once too.
    is_waiting: bool,
}

impl Space {
    /// Looks for the first time. On a small volume less is kept free than was asked for; 0 keeps nothing.
    pub fn open(directory: &Path, volume: Arc<dyn Volume>, reserve_bytes: u64) -> std::io::Result<Self> {
        let room = volume.room(directory)?;
        let rule = Rule::new(rule::reserve(reserve_bytes, room.total_bytes));
        let ballast_bytes = volume.held(&directory.join(BALLAST))?;
        let space = Space {
            directory: directory.to_owned(),
            volume,
            rule,
            state: Mutex::new(State {
                ballast_bytes,
                unwritten_bytes: 0,
                reading: Reading {
                    available_bytes: room.free_bytes + ballast_bytes,
                    total_bytes: room.total_bytes,
                    reserve_bytes: rule.reserve_bytes,
                    level: Level::Enough,
                },
                is_mute: false,
                is_without_ballast: false,
                is_waiting: false,
            }),
            ending: AtomicBool::new(false),
        };
        space.look(0);
        Ok(space)
    }

    /// As of the last look; costs nothing.
    pub fn reading(&self) -> Reading {
        self.state().reading
    }

    /// Looks again; allocates the ballast where it is missing and fits. What is in memory only has its room on the disk kept
    /// for it. Blocks.
    pub fn look(&self, unwritten_bytes: u64) -> Reading {
        let mut state = self.state();
        if let Some(room) = self.ask(&mut state) {
            state.unwritten_bytes = unwritten_bytes.saturating_mul(WRITTEN_PER_BYTE);
            self.note(&mut state, room);
            if state.ballast_bytes < self.rule.ballast_bytes && self.rule.may_hold(room.free_bytes) {
                self.hold(&mut state);
            } else if state.ballast_bytes > self.rule.ballast_bytes {
                // Of a start with a larger reserve.
                self.release(&mut state);
            }
        }
        state.reading
    }

    fn ask(&self, state: &mut State) -> Option<Room> {
        match self.volume.room(&self.directory) {
            Ok(room) => {
                state.is_mute = false;
                Some(room)
            }
            Err(error) => {
                if !std::mem::replace(&mut state.is_mute, true) {
                    warn!(%error, directory = %self.directory.display(), "the free space of the data directory cannot be learnt");
                }
                None
            }
        }
    }

    fn note(&self, state: &mut State, room: Room) {
        let available_bytes = (room.free_bytes + state.ballast_bytes).saturating_sub(state.unwritten_bytes);
        let before = state.reading.level;
        let level = self.rule.level(before, available_bytes);
        state.reading = Reading {
            available_bytes,
            total_bytes: room.total_bytes,
            level,
            ..state.reading
        };
        if level != before {
            let (available, reserve) = (Mib(available_bytes), Mib(self.rule.reserve_bytes));
            match level {
                Level::Enough => {
                    state.is_waiting = false;
                    info!(%available, "there is room on the disk again: writes go on");
                }
                Level::Low => warn!(%available, %reserve, "the disk is full: clients' writes are refused, reads go on"),
                Level::Exhausted => {
                    warn!(%available, %reserve, "the disk is full to its end: entries from other members are refused too");
                }
            }
        }
    }

    fn hold(&self, state: &mut State) {
        let path = self.directory.join(BALLAST);
        match self.volume.hold(&path, self.rule.ballast_bytes) {
            Ok(()) => {
                state.ballast_bytes = self.rule.ballast_bytes;
                state.is_without_ballast = false;
            }
            Err(error) => {
                state.ballast_bytes = 0;
                // Without one the member is as safe as its reserve, so this is no reason to stop.
                if !std::mem::replace(&mut state.is_without_ballast, true) {
                    warn!(%error, path = %path.display(), "the ballast cannot be allocated");
                }
                self.release(state);
            }
        }
    }

    fn release(&self, state: &mut State) {
        let path = self.directory.join(BALLAST);
        match self.volume.release(&path) {
            Ok(()) => state.ballast_bytes = 0,
            Err(error) => warn!(%error, path = %path.display(), "the ballast cannot be given up"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskRoom for Space {
    fn before_write(&self, bytes: usize) {
        let mut state = self.state();
        if self.rule.reserve_bytes == 0 {
            return;
        }
        if let Some(room) = self.ask(&mut state) {
            if state.ballast_bytes > 0 && self.rule.must_release(room.free_bytes, bytes) {
                self.release(&mut state);
                if let Some(room) = self.ask(&mut state) {
                    return self.note(&mut state, room);
                }
            }
            self.note(&mut state, room);
        }
    }

    fn wait(&self) -> bool {
        let has_given_up_ballast = {
            let mut state = self.state();
            let held = state.ballast_bytes;
            if held > 0 {
                self.release(&mut state);
            }
            if let Some(room) = self.ask(&mut state) {
                self.note(&mut state, room);
            }
            let has_given_up_ballast = state.ballast_bytes < held;
            if !has_given_up_ballast && !std::mem::replace(&mut state.is_waiting, true) {
                warn!("a write waits for room on the disk, and what it belongs to with it; reads go on");
            }
            has_given_up_ballast
        };
        if !has_given_up_ballast {
            std::thread::sleep(WRITE_AGAIN_AFTER);
        }
        !self.ending.load(Ordering::Relaxed)
    }

    fn end_waits(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    fn takes_entries(&self) -> bool {
        match self.reading().level {
            Level::Enough | Level::Low => true,
            Level::Exhausted => false,
        }
    }

    fn takes_snapshots(&self) -> bool {
        !self.reading().is_short()
    }

    /// Twice what would make the room short: others write meanwhile.
    fn has_to_spare(&self, bytes: u64) -> bool {
        let mut state = self.state();
        if let Some(room) = self.ask(&mut state) {
            self.note(&mut state, room);
        }
        let Reading {
            available_bytes,
            reserve_bytes,
            ..
        } = state.reading;
        available_bytes >= bytes.saturating_add(2 * reserve_bytes)
    }
}

/// The members that were short of room at the last look of the meta group's leader, as it told this one.
#[derive(Debug, Default)]
pub struct ShortMembers(Mutex<BTreeSet<MemberId>>);

impl ShortMembers {
    pub fn tell(&self, short: BTreeSet<MemberId>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = short;
    }

    pub fn told(&self) -> BTreeSet<MemberId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What this member knows of itself is newer.
    pub fn with(&self, me: MemberId, mine: Reading) -> BTreeSet<MemberId> {
        let mut short = self.told();
        match mine.is_short() {
            true => short.insert(me),
            false => short.remove(&me),
        };
        short
    }
}

/// Bytes as people read them.
pub struct Mib(pub u64);

impl std::fmt::Display for Mib {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MiB", self.0 >> 20)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk of 1 GiB on which the test takes room away.
    #[derive(Default)]
    struct TestVolume {
        taken: AtomicU64,
        held: AtomicU64,
    }

    impl Volume for TestVolume {
        fn room(&self, _: &Path) -> std::io::Result<Room> {
            let used = self.taken.load(Ordering::Relaxed) + self.held.load(Ordering::Relaxed);
            Ok(Room {
                free_bytes: (1024 * MIB).saturating_sub(used),
                total_bytes: 4096 * MIB,
            })
        }

        fn held(&self, _: &Path) -> std::io::Result<u64> {
            Ok(self.held.load(Ordering::Relaxed))
        }

        fn hold(&self, _: &Path, bytes: u64) -> std::io::Result<()> {
            self.held.store(bytes, Ordering::Relaxed);
            Ok(())
        }

        fn release(&self, _: &Path) -> std::io::Result<()> {
            self.held.store(0, Ordering::Relaxed);
            Ok(())
        }
    }

    fn space(volume: &Arc<TestVolume>) -> Space {
        Space::open(Path::new("nowhere"), volume.clone(), 100 * MIB).unwrap()
    }

    #[test]
    fn the_ballast_counts_as_room_and_is_given_up_when_a_write_would_not_fit() {
        let volume = Arc::new(TestVolume::default());
        let space = space(&volume);
        assert_eq!(space.reading().available_bytes, 1024 * MIB);
        assert_eq!(volume.held.load(Ordering::Relaxed), 50 * MIB);
        // Somebody else takes every byte that is left.
        volume.taken.store(974 * MIB, Ordering::Relaxed);
        assert_eq!(space.look(0).level, Level::Low);
        assert_eq!(volume.held.load(Ordering::Relaxed), 50 * MIB, "a look gives nothing up");
        space.before_write(4096);
        assert_eq!(volume.held.load(Ordering::Relaxed), 0);
        assert_eq!(volume.room(Path::new("")).unwrap().free_bytes, 50 * MIB);
        assert!(space.takes_entries() && !space.takes_snapshots());
    }

    #[test]
    fn room_that_comes_back_ends_the_shortage_and_the_ballast_is_allocated_again() {
        let volume = Arc::new(TestVolume::default());
        let space = space(&volume);
        volume.taken.store(1024 * MIB, Ordering::Relaxed);
        space.before_write(1);
        assert_eq!(space.look(0).level, Level::Exhausted);
        assert!(!space.takes_entries());
        volume.taken.store(920 * MIB, Ordering::Relaxed);
        assert_eq!(
            space.look(0).level,
            Level::Low,
            "a little more than the reserve is not enough"
        );
        volume.taken.store(800 * MIB, Ordering::Relaxed);
        assert_eq!(space.look(0).level, Level::Enough);
        assert_eq!(volume.held.load(Ordering::Relaxed), 50 * MIB);
    }

    #[test]
    fn without_a_reserve_nothing_is_held_and_nothing_refused() {
        let volume = Arc::new(TestVolume::default());
        let space = Space::open(Path::new("nowhere"), volume.clone(), 0).unwrap();
        volume.taken.store(1024 * MIB, Ordering::Relaxed);
        space.before_write(1);
        assert_eq!(space.look(0).level, Level::Enough);
        assert_eq!(volume.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_a_member_knows_of_itself_wins_over_what_it_was_told() {
        let known = ShortMembers::default();
        known.tell([MemberId(1), MemberId(2)].into());
        let mine = |level| Reading {
            available_bytes: 0,
            total_bytes: 0,
            reserve_bytes: 0,
            level,
        };
        assert_eq!(known.with(MemberId(1), mine(Level::Enough)), [MemberId(2)].into());
        let all = [MemberId(1), MemberId(2), MemberId(3)].into();
        assert_eq!(known.with(MemberId(3), mine(Level::Low)), all);
    }
}
