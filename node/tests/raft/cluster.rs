//! Members in one process, each with a directory and a port of its own; they can be stopped, cut off and started again.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kotoba_node::raft::{
    Group, GroupSettings, Groups, GroupsConfig, LinkFilter, PeerAddresses, ProposeError, Proposed, Settings,
    peer_server,
};
use kotoba_state::ids::{GroupId, MemberId, PartitionId, ReplicaId};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use crate::machine::{Map, set};

pub const GROUP: GroupId = GroupId::Partition(PartitionId(3));
pub const CLUSTER: &str = "test-cluster";
/// Nothing here takes this long unless it is broken, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a condition holds.
pub async fn eventually<T, Check: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> Check) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Quick elections, and a log that is shortened after a hundred entries.
pub fn quick() -> Settings {
    let timing = GroupSettings {
        heartbeat_interval: Duration::from_millis(50),
        election_timeout_min: Duration::from_millis(200),
        election_timeout_max: Duration::from_millis(400),
        snapshot_every_entries: 100,
        kept_entries: 20,
    };
    Settings {
        meta: timing.clone(),
        partition: timing,
        log_cache_bytes: 8 << 20,
        checkpoint_age: Duration::from_millis(100),
        propose_timeout: Duration::from_secs(5),
        barrier_timeout: Duration::from_secs(2),
        ..Settings::default()
    }
}

/// Elections so slow that a busy machine causes none.
fn calm() -> Settings {
    let mut settings = quick();
    settings.partition.election_timeout_min = Duration::from_secs(2);
    settings.partition.election_timeout_max = Duration::from_secs(3);
    settings
}

/// Where members are, and which links are cut.
#[derive(Default)]
pub struct Net {
    addresses: Mutex<BTreeMap<MemberId, String>>,
    cut: Mutex<BTreeSet<(MemberId, MemberId)>>,
}

impl Net {
    /// Cuts a member off from all others, both ways.
    pub fn isolate(&self, member: MemberId) {
        let others: Vec<_> = self.addresses.lock().unwrap().keys().copied().collect();
        let mut cut = self.cut.lock().unwrap();
        for other in others {
            cut.extend([(member, other), (other, member)]);
        }
    }

    /// Cuts the link between two members, both ways.
    pub fn cut(&self, one: MemberId, other: MemberId) {
        self.cut.lock().unwrap().extend([(one, other), (other, one)]);
    }

    pub fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }
}

impl PeerAddresses for Net {
    fn address(&self, member: MemberId) -> Option<String> {
        self.addresses.lock().unwrap().get(&member).cloned()
    }
}

impl LinkFilter for Net {
    fn allows(&self, from: MemberId, to: MemberId) -> bool {
        !self.cut.lock().unwrap().contains(&(from, to))
    }
}

/// A running member.
pub struct Member {
    pub groups: Groups,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

pub struct Cluster {
    pub net: Arc<Net>,
    directory: TempDir,
    pub members: BTreeMap<MemberId, Member>,
    settings: Settings,
}

/// The replica that these tests place on a member.
pub fn replica_of(member: MemberId) -> ReplicaId {
    ReplicaId(member.0 + 100)
}

impl Cluster {
    pub fn new() -> Self {
        Self::with(quick())
    }

    pub fn with(settings: Settings) -> Self {
        Cluster {
            net: Arc::default(),
            directory: tempfile::tempdir().unwrap(),
            members: BTreeMap::new(),
            settings,
        }
    }

    /// Members 1 to `count` with a group of one replica on each, and a leader.
    pub async fn of(count: u64) -> Self {
        let mut cluster = Self::new();
        cluster.start_group(count).await;
        cluster
    }

    /// As [`Cluster::of`], with a leader that stays.
    pub async fn calm(count: u64) -> Self {
        let mut cluster = Self::with(calm());
        cluster.start_group(count).await;
        cluster
    }

    pub async fn start_group(&mut self, count: u64) {
        for member in (1..=count).map(MemberId) {
            self.start(member).await;
        }
        self.found_group().await;
    }

    /// The group on all members that run.
    pub async fn found_group(&self) {
        for member in self.members.keys() {
            self.start_replica(*member).await;
        }
        let voters = self
            .members
            .keys()
            .map(|member| (replica_of(*member), *member))
            .collect();
        self.group(MemberId(1)).initialize(voters).await.unwrap();
        self.leader().await;
    }

    pub fn path(&self, member: MemberId) -> PathBuf {
        self.directory.path().join(format!("member-{member}"))
    }

    pub async fn start(&mut self, id: MemberId) {
        let path = self.path(id);
        let member = start_member(&path, id, self.settings.clone(), &self.net).await;
        self.members.insert(id, member);
    }

    /// As [`Cluster::start`], with settings of its own.
    pub async fn start_with(&mut self, id: MemberId, settings: Settings) {
        let path = self.path(id);
        let member = start_member(&path, id, settings, &self.net).await;
        self.members.insert(id, member);
    }

    pub async fn start_replica(&self, member: MemberId) -> Group {
        let groups = &self.members[&member].groups;
        groups
            .start_replica(GROUP, replica_of(member), Arc::new(Map))
            .await
            .unwrap()
    }

    pub async fn stop(&mut self, id: MemberId) {
        self.members.remove(&id).unwrap().stop().await;
    }

    pub async fn stop_all(&mut self) {
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            self.stop(id).await;
        }
    }

    pub fn group(&self, member: MemberId) -> Group {
        self.members[&member].groups.get(GROUP).unwrap()
    }

    /// The member that leads, once a majority confirms it.
    pub async fn leader(&self) -> MemberId {
        self.leader_among(&self.members.keys().copied().collect()).await
    }

    pub async fn leader_among(&self, members: &BTreeSet<MemberId>) -> MemberId {
        eventually("a leader", || async {
            for member in members {
                let group = self.members[member].groups.get(GROUP)?;
                if group.leadership().leading && group.read_barrier().await.is_ok() {
                    return Some(*member);
                }
            }
            None
        })
        .await
    }

    /// Sets a key at whoever leads; repeats until it is acknowledged.
    pub async fn set(&self, key: &str, value: &[u8]) -> Proposed {
        self.write(&set(key, value)).await
    }

    /// Proposes at whoever leads; repeats until it is acknowledged. On a busy machine leaders come and go.
    pub async fn write(&self, command: &[u8]) -> Proposed {
        eventually("an acknowledged write", || async {
            for member in self.members.values() {
                let Some(group) = member.groups.get(GROUP) else {
                    continue;
                };
                match group.propose(command.to_vec()).await {
                    Ok(proposed) => return Some(proposed),
                    Err(ProposeError::NotLeader { .. } | ProposeError::Unknown | ProposeError::Stopped) => {}
                    Err(error @ ProposeError::TooLarge { .. }) => panic!("{error}"),
                }
            }
            None
        })
        .await
    }

    /// Proposes many commands at a time.
    pub async fn write_all(&self, commands: impl IntoIterator<Item = Vec<u8>>) {
        let writes = commands
            .into_iter()
            .map(|command| async move { self.write(&command).await });
        futures::future::join_all(writes).await;
    }

    /// Sets `prefix0`, `prefix1`, ... to the text of their numbers.
    pub async fn fill(&self, prefix: &str, count: usize) {
        let command = |number: usize| set(&format!("{prefix}{number}"), number.to_string().as_bytes());
        self.write_all((0..count).map(command)).await;
    }

    /// Waits until a member has applied all that the leader has.
    pub async fn caught_up(&self, member: MemberId) {
        let index = self.group(self.leader().await).observe().applied;
        self.group(member).wait_applied(index, deadline()).await.unwrap();
    }
}

pub async fn start_member(path: &Path, id: MemberId, settings: Settings, net: &Arc<Net>) -> Member {
    std::fs::create_dir_all(path).unwrap();
    let config = GroupsConfig {
        data_dir: path.to_owned(),
        cluster_id: CLUSTER.to_owned(),
        member_id: id,
        settings,
        disk_room: Arc::new(()),
        link_filter: Some(net.clone()),
    };
    let groups = Groups::open(config, net.clone(), Box::new(|fatal| panic!("{fatal}")))
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    net.addresses.lock().unwrap().insert(id, address);
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let router = peer_server().add_service(groups.service());
    let serve = router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped);
    let server = tokio::spawn(async move { serve.await.unwrap() });
    Member { groups, stop, server }
}

impl Member {
    pub async fn stop(self) {
        self.groups.shutdown().await;
        self.stop.cancel();
        self.server.await.unwrap();
    }
}
