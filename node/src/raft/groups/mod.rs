//! All replicas of this member: opens the stores, starts and retires replicas, and ends in order.

mod background;
mod error;
mod rebuild;
mod shorten;
mod slots;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kotoba_proto::v1::raft_service_server::RaftServiceServer;
use kotoba_state::ids::{GroupId, MemberId, ReplicaId};
use kotoba_state::machine::StateMachine;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::{OpenError, RebuildError, RetireError, StartError};

use self::slots::{Claim, Slots};
use super::counters::{Counters, Counts};
use super::fatal::FatalHook;
use super::group::{Group, Parts, ROOM_BYTES};
use super::lock::sync_directory;
use super::log::{LogStore, ReplicaLogHandle};
use super::network::{LinkFilter, PeerAddresses, RaftEndpoint, Registry, Transport, TransportConfig};
use super::room::DiskRoom;
use super::settings::Settings;
use super::state::{FileSettings, ReplicaState};
use super::types::ReplicaKey;

/// Directory of all replicas' states.
const REPLICAS: &str = "replicas";
/// Hints of links that came up, not yet passed on; a lost one costs a pause.
const LINK_HINTS: usize = 64;

/// What a member's consensus is opened with.
pub struct GroupsConfig {
    /// Used by this process alone.
    pub data_dir: PathBuf,
    pub cluster_id: String,
    pub member_id: MemberId,
    pub settings: Settings,
    pub disk_room: Arc<dyn DiskRoom>,
    /// Cuts links on purpose; `None` outside of tests.
    pub link_filter: Option<Arc<dyn LinkFilter>>,
}

/// All replicas of this member; cheap to clone.
#[derive(Clone)]
pub struct Groups {
    inner: Arc<Inner>,
}

/// Bytes of files; of one that is being replaced or retired, what can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskUsage {
    pub log_bytes: u64,
    pub state_bytes: BTreeMap<GroupId, u64>,
}

impl DiskUsage {
    /// Of all replicas together, without the log.
    pub fn data_bytes(&self) -> u64 {
        self.state_bytes.values().sum()
    }
}

struct Inner {
    data_dir: PathBuf,
    cluster_id: Arc<str>,
    settings: Settings,
    log: Arc<LogStore>,
    transport: Arc<Transport>,
    endpoint: Arc<RaftEndpoint>,
    registry: Arc<Registry>,
    slots: Slots,
    counters: Arc<Counters>,
    room: Arc<Semaphore>,
    disk_room: Arc<dyn DiskRoom>,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl Groups {
    /// Opens the log and reads all of it. No replica runs yet: see [`Groups::stored`] for those to be started.
    pub async fn open(
        config: GroupsConfig,
        peers: Arc<dyn PeerAddresses>,
        fatal: FatalHook,
    ) -> Result<Self, OpenError> {
        let counters = Arc::new(Counters::default());
        let log = open_log(&config, counters.clone(), fatal).await?;
        let cluster_id: Arc<str> = config.cluster_id.into();
        let (link_up, links) = mpsc::channel(LINK_HINTS);
        let registry = Arc::new(Registry::default());
        let transport = Arc::new(Transport::new(TransportConfig {
            cluster_id: cluster_id.clone(),
            member: config.member_id,
            addresses: peers,
            filter: config.link_filter,
            counters: counters.clone(),
            lease_margin: config.settings.lease_margin(),
            snapshot_bytes_per_s: config.settings.snapshot_bytes_per_s,
            link_up,
        }));
        let endpoint = RaftEndpoint::new(
            cluster_id.clone(),
            config.member_id,
            registry.clone(),
            transport.clone(),
            config.disk_room.clone(),
        );
        let inner = Inner {
            data_dir: config.data_dir,
            cluster_id,
            settings: config.settings,
            log,
            transport,
            endpoint: Arc::new(endpoint),
            registry,
            slots: Slots::default(),
            counters,
            room: Arc::new(Semaphore::new(ROOM_BYTES)),
            disk_room: config.disk_room.clone(),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        };
        inner.spawn(background::reset_backoff(inner.registry.clone(), links));
        inner.spawn(background::checkpoint(
            inner.registry.clone(),
            inner.settings.clone(),
            config.disk_room.clone(),
        ));
        inner.spawn(background::rewrite(inner.registry.clone(), config.disk_room));
        Ok(Groups { inner: Arc::new(inner) })
    }

    /// Starts a replica, creating it where it is new; gives the running one where it runs already. Waits for no peer.
    ///
    /// A group has at most one replica on a member at a time, and a retired replica is refused for ever.
    pub async fn start_replica(
        &self,
        group: GroupId,
        replica: ReplicaId,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Group, StartError> {
        let key = ReplicaKey { group, replica };
        let this = self.clone();
        // In a task of its own: a replica must not run half started because the caller went away.
        let started = self
            .inner
            .tasks
            .spawn(async move { this.start_in_slot(key, machine).await });
        started.await.unwrap_or_else(|panic| {
            Err(StartError::Raft {
                key,
                reason: panic.to_string(),
            })
        })
    }

    async fn start_in_slot(&self, key: ReplicaKey, machine: Arc<dyn StateMachine>) -> Result<Group, StartError> {
        let ReplicaKey { group, replica } = key;
        let claim = match self.inner.slots.claim(group).await {
            Claim::Running(running) if running.replica() == replica => return Ok(running),
            Claim::Running(running) => {
                let running = running.replica();
                return Err(StartError::Occupied { key, running });
            }
            Claim::Claimed(claim) => claim,
        };
        if self.inner.closed.is_cancelled() {
            return Err(StartError::Closed);
        }
        let running = self.inner.start(key, machine).await?;
        self.inner.registry.insert(running.local());
        claim.fill(running.clone());
        Ok(running)
    }

    /// The running replica of a group, where there is one.
    pub fn get(&self, group: GroupId) -> Option<Group> {
        self.inner.slots.get(group)
    }

    /// All running replicas, by group.
    pub fn list(&self) -> Vec<Group> {
        self.inner.slots.all()
    }

    /// Replicas that are stored here and not retired, running or not.
    pub fn stored(&self) -> Vec<(GroupId, ReplicaId)> {
        let keys = self.inner.log.replicas();
        keys.into_iter().map(|key| (key.group, key.replica)).collect()
    }

    /// Stops a replica and deletes what it stored. Its id is refused from then on: that is durable before anything is
    /// deleted. Nothing happens where it was retired before.
    pub async fn retire_replica(&self, group: GroupId, replica: ReplicaId) -> Result<(), RetireError> {
        let key = ReplicaKey { group, replica };
        let this = self.clone();
        let retired = self.inner.tasks.spawn(async move { this.retire(key).await });
        retired
            .await
            .map_err(std::io::Error::other)
            .map_err(|source| RetireError::Remove { key, source })?
    }

    async fn retire(&self, key: ReplicaKey) -> Result<(), RetireError> {
        let claim = match self.inner.slots.take(key.group, key.replica).await {
            Claim::Running(other) => {
                // Another replica of the group is not touched.
                tracing::debug!(%key, running = %other.replica(), "a replica that does not run is retired");
                None
            }
            Claim::Claimed(claim) => Some(claim),
        };
        if let Some(running) = claim.as_ref().and_then(|claim| claim.taken()) {
            self.inner.registry.remove(key);
            running.stop().await;
        }
        if !self.inner.log.is_retired(key) {
            self.inner.log.retire(key).await?;
        }
        let path = self.inner.replica_directory(key);
        let removed = tokio::task::spawn_blocking(move || remove_directory(&path)).await;
        removed
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|source| RetireError::Remove { key, source })
    }

    /// The service that peers' lanes end at, with its limits.
    pub fn service(&self) -> RaftServiceServer<RaftEndpoint> {
        self.inner.endpoint.clone().into_service()
    }

    /// How long the link to a member has been down; none where it is not, or there is none.
    pub fn link_down_for(&self, member: MemberId) -> Option<Duration> {
        self.inner.transport.down_for(member)
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        self.inner.counters.read()
    }

    /// Registers what was counted since the start.
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.inner.counters.register(registry);
    }

    /// What was applied and is not in the state files yet.
    pub fn unwritten_bytes(&self) -> u64 {
        let dirty = |group: &Group| u64::try_from(group.local().state.dirty_bytes()).unwrap_or(u64::MAX);
        self.list().iter().map(dirty).fold(0, u64::saturating_add)
    }

    /// What the log and the running replicas take on disk now. Blocks.
    pub fn disk_usage(&self) -> DiskUsage {
        let state = |group: &Group| (group.id(), self.inner.replica_directory(group.local().key));
        let states = self.list();
        let states = states.iter().map(state);
        DiskUsage {
            log_bytes: self.inner.log.file_bytes(),
            state_bytes: states.map(|(group, path)| (group, directory_bytes(&path))).collect(),
        }
    }

    /// Ends the lanes that others opened: they would stay open for as long as the process does. What is led here goes on.
    pub async fn end_lanes(&self) {
        self.inner.endpoint.close().await;
    }

    /// Stops all replicas, makes their states durable, and closes the log.
    pub async fn shutdown(&self) {
        self.inner.closed.cancel();
        self.inner.disk_room.end_waits();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.endpoint.close().await;
        for running in self.inner.slots.close() {
            let local = running.local();
            self.inner.registry.remove(local.key);
            running.stop().await;
            let closed = tokio::task::spawn_blocking(move || local.state.close()).await;
            if let Ok(Err(error)) = closed {
                tracing::error!(replica = %local.key, %error, "the last checkpoint failed; the log stands for it");
            }
        }
        self.inner.transport.close().await;
        let log = self.inner.log.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || log.close()).await {
            tracing::error!(%error, "the log was not closed in order");
        }
    }
}

impl Inner {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        self.tasks
            .spawn(async move { closed.run_until_cancelled_owned(task).await });
    }

    fn replica_directory(&self, key: ReplicaKey) -> PathBuf {
        let name = format!("{}-{}", key.group.number(), key.replica);
        self.data_dir.join(REPLICAS).join(name)
    }

    async fn start(&self, key: ReplicaKey, machine: Arc<dyn StateMachine>) -> Result<Group, StartError> {
        let config = self.settings.of(key.group).config(&self.cluster_id);
        let config = config.map_err(|error| StartError::Settings(error.to_string()))?;
        let log = self.open_replica_log(key).await?;
        let lease = self.settings.of(key.group).lease();
        let votes_from = log.has_voted().then(|| Instant::now() + lease);
        let state = self.open_state(key, machine, log.clone()).await?;
        let parts = Parts {
            key,
            config,
            settings: self.settings.clone(),
            log: log
                .guarded_by(state.durable_end())
                .paced_by(self.transport.snapshot_pace.clone()),
            state: Arc::new(state),
            transport: self.transport.clone(),
            counters: self.counters.clone(),
            room: self.room.clone(),
            votes_from,
        };
        Group::start(parts).await.map_err(|error| StartError::Raft {
            key,
            reason: error.to_string(),
        })
    }

    fn file_settings(&self) -> FileSettings {
        FileSettings {
            cache_bytes: self.settings.file_cache_bytes(self.registry.all().len()),
            room: self.disk_room.clone(),
        }
    }

    /// A log is created before its state, so a state without a log has lost it, and with it perhaps a vote.
    async fn open_replica_log(&self, key: ReplicaKey) -> Result<ReplicaLogHandle, StartError> {
        if self.log.is_retired(key) {
            return Err(StartError::Retired { key });
        }
        if let Some(log) = self.log.replica(key) {
            return Ok(log);
        }
        if self.replica_directory(key).exists() {
            return Err(StartError::LogLost { key });
        }
        Ok(self.log.create(key).await?)
    }

    async fn open_state(
        &self,
        key: ReplicaKey,
        machine: Arc<dyn StateMachine>,
        log: ReplicaLogHandle,
    ) -> Result<ReplicaState, StartError> {
        let path = self.replica_directory(key);
        let files = self.file_settings();
        let counters = self.counters.clone();
        let open = move || ReplicaState::open(&path, key, files, machine, log, counters);
        match tokio::task::spawn_blocking(open).await {
            Ok(state) => Ok(state?),
            Err(panic) => Err(StartError::Raft {
                key,
                reason: panic.to_string(),
            }),
        }
    }
}

async fn open_log(
    config: &GroupsConfig,
    counters: Arc<Counters>,
    fatal: FatalHook,
) -> Result<Arc<LogStore>, OpenError> {
    let data_dir = config.data_dir.clone();
    let cache_bytes = config.settings.log_cache_bytes;
    let room = config.disk_room.clone();
    let owner = format!("member {} of cluster {}", config.member_id, config.cluster_id);
    let open = move || -> Result<LogStore, OpenError> {
        let replicas = data_dir.join(REPLICAS);
        let failed = |source| OpenError::Directory {
            path: replicas.clone(),
            source,
        };
        fs::create_dir_all(&replicas).map_err(failed)?;
        sync_directory(&data_dir).map_err(failed)?;
        let is_new = fs::read_dir(&replicas).map_err(failed)?.next().is_none();
        let log = LogStore::open(&data_dir, cache_bytes, is_new, &owner, room, counters, fatal)?;
        remove_retired(&log, &replicas).map_err(failed)?;
        Ok(log)
    };
    let log = tokio::task::spawn_blocking(open)
        .await
        .map_err(|panic| OpenError::Panic(panic.to_string()))?;
    Ok(Arc::new(log?))
}

/// Deletes what a crash left of replicas that were being retired.
fn remove_retired(log: &LogStore, replicas: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(replicas)? {
        let entry = entry?;
        let key = entry.file_name().to_str().and_then(parse_directory);
        if key.is_some_and(|key| log.is_retired(key)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn parse_directory(name: &str) -> Option<ReplicaKey> {
    let (group, replica) = name.split_once('-')?;
    Some(ReplicaKey {
        group: GroupId::from_number(group.parse().ok()?)?,
        replica: ReplicaId(replica.parse().ok()?),
    })
}

/// Not its length: redb grows a file by doubling, with a hole.
fn file_bytes(path: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    fs::metadata(path).map_or(0, |file| file.blocks() * BLOCK_BYTES)
}

fn directory_bytes(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| file_bytes(&entry.path())).sum()
}

fn remove_directory(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
