//! A member at work: its groups, its copy of the catalogue, and the services on top of them.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use kotoba_proto::v1::GetStatusResponse;
use kotoba_state::ids::{GroupId, MemberId};
use kotoba_state::meta::{Answer, Command, MetaMachine, Partition};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::addresses::AddressBook;
use super::identity::Assignment;
use super::replicas::{LocalPartitions, ReplicaKeeper, ServePartition};
use super::room::{self, DiskAdmission};
use super::scrub::Scrubber;
use super::{Process, Sequences, founding, removed};
use crate::catalogue::client::MetaClient;
use crate::catalogue::driver::{Driver, Observation};
use crate::catalogue::local::LocalCatalogue;
use crate::catalogue::oracle::Oracle;
use crate::catalogue::timestamps::TimestampSource;
use crate::clock::WallClock;
use crate::config::Config;
use crate::gateway::{Gateway, status};
use crate::peer::clients::PeerClients;
use crate::raft::{self, Group, Groups, GroupsConfig};
use crate::router::Router;
use crate::space::{ShortMembers, Space};
use crate::transaction::{ClosedSnapshots, Coordinator, LeaderSettings, PartitionLeader};

/// A start waits this long at a time for the meta leader, then says so and goes on waiting.
const COME_UP_STEP: Duration = Duration::from_secs(5);
/// Versions are kept this long whatever is asked for: receipts of numbered requests live as long, and clients repeat
/// requests for less; and so do queries that run.
const MIN_RETENTION: Duration = Duration::from_secs(120);

/// Why the member cannot run on this disk.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("open the stores of this member")]
    OpenGroups(#[source] raft::OpenError),
    #[error("start the replica of the meta group")]
    StartMeta(#[source] raft::StartError),
    #[error("read the catalogue")]
    ReadCatalogue(#[source] anyhow::Error),
}

/// Why a member does not serve clients.
enum NotUp {
    Removed,
    Yet(String),
}

/// The member.
pub struct Running {
    pub me: MemberId,
    pub cluster_id: String,
    pub groups: Groups,
    pub meta: Group,
    pub meta_client: MetaClient,
    pub catalogue: LocalCatalogue,
    pub oracle: Oracle,
    pub timestamps: Arc<TimestampSource>,
    pub peers: Arc<PeerClients>,
    pub partitions: LocalPartitions,
    pub router: Arc<Router>,
    pub observed: watch::Receiver<Option<Arc<Observation>>>,
    /// The process ends: leaders are handed over, and none is wanted here.
    pub stopping: AtomicBool,
    /// The time of day here.
    pub clock: Arc<dyn WallClock>,
    /// The room on the disk here.
    pub space: Arc<Space>,
    /// Who else is short of it.
    pub short: Arc<ShortMembers>,
    gateway: OnceLock<Arc<Gateway>>,
}

impl Running {
    /// Opens the stores and starts everything; what needs a leader comes up by itself when there is one.
    pub(super) async fn start(process: Arc<Process>, assignment: Assignment) -> Result<Arc<Self>, StartError> {
        let addresses = AddressBook::new(&assignment.peers);
        let groups = open_groups(&process, &assignment, &addresses).await?;
        let meta = groups
            .start_replica(GroupId::Meta, assignment.meta_replica, Arc::new(MetaMachine))
            .await
            .map_err(StartError::StartMeta)?;
        process.raft_door.open(groups.service());
        let catalogue = LocalCatalogue::follow(meta.clone(), process.member_cancel.clone())
            .await
            .map_err(StartError::ReadCatalogue)?;
        addresses.follow(catalogue.clone());
        let (observed_sender, observed) = watch::channel(None);
        let running = Arc::new(Self::assemble(
            &process,
            &assignment,
            addresses,
            groups,
            meta,
            catalogue,
            observed,
        ));
        running.spawn_tasks(&process, observed_sender);
        if let Some(founding) = assignment.founding {
            tokio::spawn(founding::finish(process.clone(), running.clone(), founding));
        }
        tokio::spawn(running.clone().come_up(process));
        info!(member = %running.me, cluster_id = running.cluster_id, "member started");
        Ok(running)
    }

    fn assemble(
        process: &Process,
        assignment: &Assignment,
        addresses: AddressBook,
        groups: Groups,
        meta: Group,
        catalogue: LocalCatalogue,
        observed: watch::Receiver<Option<Arc<Observation>>>,
    ) -> Self {
        let peers = Arc::new(PeerClients::new(
            assignment.cluster_id.clone(),
            assignment.member,
            Arc::new(addresses),
            process.config.link_filter.clone(),
            process.config.timing.peer_call_timeout,
        ));
        let partitions = LocalPartitions::default();
        let oracle = Oracle::start(meta.clone());
        let meta_client = MetaClient::new(
            meta.clone(),
            peers.clone(),
            catalogue.clone(),
            process.config.clock.clone(),
        );
        Running {
            me: assignment.member,
            cluster_id: assignment.cluster_id.clone(),
            timestamps: Arc::new(TimestampSource::start(
                oracle.clone(),
                meta_client.clone(),
                peers.clone(),
            )),
            oracle,
            meta_client,
            router: Arc::new(Router::new(
                catalogue.clone(),
                partitions.clone(),
                peers.clone(),
                groups.clone(),
            )),
            groups,
            meta,
            catalogue,
            peers,
            partitions,
            observed,
            stopping: AtomicBool::new(false),
            clock: process.config.clock.clone(),
            space: process.space.clone(),
            short: Arc::default(),
            gateway: OnceLock::new(),
        }
    }

    fn spawn_tasks(self: &Arc<Self>, process: &Arc<Process>, observed: watch::Sender<Option<Arc<Observation>>>) {
        let config = &process.config;
        let keeper = ReplicaKeeper {
            me: self.me,
            groups: self.groups.clone(),
            meta: self.meta_client.clone(),
            catalogue: self.catalogue.clone(),
            partitions: self.partitions.clone(),
            serve: self.serve_partition(leader_settings(config)),
            rebuilt: Mutex::default(),
        };
        tokio::spawn(keeper.run(process.member_cancel.clone()));
        let scrubber = Scrubber {
            catalogue: self.catalogue.clone(),
            partitions: self.partitions.clone(),
            meta: self.meta_client.clone(),
            config: config.integrity.clone(),
        };
        tokio::spawn(scrubber.run(process.member_cancel.clone()));
        let driver = Driver {
            meta: self.meta.clone(),
            client: self.meta_client.clone(),
            catalogue: self.catalogue.clone(),
            peers: self.peers.clone(),
            short: self.short.clone(),
            membership: config.membership.clone(),
            interval: config.timing.driver_interval,
            observed,
            leading_since: Instant::now(),
            transfers: Mutex::default(),
        };
        tokio::spawn(driver.run(process.member_cancel.clone()));
        tokio::spawn(room::watch(
            self.clone(),
            self.space.clone(),
            config.timing.driver_interval,
            process.member_cancel.clone(),
        ));
        tokio::spawn(removed::watch(self.clone(), process.clone()));
    }

    fn serve_partition(&self, settings: LeaderSettings) -> ServePartition {
        let (timestamps, router) = (self.timestamps.clone(), self.router.clone());
        let admission = Arc::new(DiskAdmission {
            me: self.me,
            space: self.space.clone(),
            short: self.short.clone(),
            catalogue: self.catalogue.clone(),
        });
        Box::new(move |partition: &Partition, group: Group| {
            PartitionLeader::start(
                partition.id,
                Arc::new(group),
                timestamps.clone(),
                router.clone(),
                admission.clone(),
                settings.clone(),
            )
        })
    }

    /// Tells the catalogue where this member is now, takes an incarnation, and opens the gateway.
    async fn come_up(self: Arc<Self>, process: Arc<Process>) {
        let describe = self.description(&process);
        while !process.member_cancel.is_cancelled() {
            match self.try_come_up(&describe).await {
                Ok(incarnation) => {
                    self.recover(COME_UP_STEP).await;
                    self.open_gateway(incarnation, &process);
                    return;
                }
                Err(NotUp::Removed) => return process.remove().await,
                Err(NotUp::Yet(reason)) => warn!(reason, "this member does not serve clients yet"),
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// What this member says of itself; one that was removed is told so.
    pub(super) fn description(&self, process: &Process) -> Command {
        Command::DescribeMember {
            member: self.me,
            disk_id: process.disk_id(),
            peer_address: process.config.peer_advertise.clone(),
            client_address: process.config.client_advertise.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn try_come_up(&self, describe: &Command) -> Result<u64, NotUp> {
        let propose = |command| async move {
            self.meta_client
                .propose(command, COME_UP_STEP)
                .await
                .map_err(|error| NotUp::Yet(error.to_string()))
        };
        match propose(describe).await? {
            Answer::Removed => return Err(NotUp::Removed),
            Answer::Refused(reason) => {
                return Err(NotUp::Yet(format!("the catalogue does not take this member: {reason}")));
            }
            _ => {}
        }
        match propose(&Command::NextIncarnation).await? {
            Answer::Incarnation(incarnation) => Ok(incarnation),
            other => Err(NotUp::Yet(format!("no incarnation was given: {other:?}"))),
        }
    }

    fn open_gateway(&self, incarnation: u64, process: &Process) {
        let coordinator = Coordinator::new(
            self.me,
            incarnation,
            self.timestamps.clone(),
            self.router.clone(),
            self.router.under_way.clone(),
            self.clock.clone(),
        );
        let gateway = Gateway::new(
            coordinator,
            ClosedSnapshots::new(self.timestamps.clone(), self.router.clone()),
            Sequences::new(self.meta_client.clone()),
            process.config.timing.request_timeout,
            process.config.queries.clone(),
        );
        let _ = self.gateway.set(Arc::new(gateway));
        info!(member = %self.me, incarnation, "serving clients");
    }

    /// What answers operations and queries; none before the member has come up.
    pub fn gateway(&self) -> Option<Arc<Gateway>> {
        self.gateway.get().cloned()
    }

    /// The cluster's status as the leader of the meta group sees it; none where this member does not lead.
    pub async fn leader_status(&self) -> Option<GetStatusResponse> {
        self.meta.read_barrier().await.ok()?;
        let observation = self.observed.borrow().clone()?;
        Some(status::from_leader(self, &observation))
    }
}

fn leader_settings(config: &Config) -> LeaderSettings {
    LeaderSettings {
        history_retention: config.history_retention.max(MIN_RETENTION),
        digest_interval: config.integrity.digest_interval,
        ..LeaderSettings::default()
    }
}

async fn open_groups(
    process: &Arc<Process>,
    assignment: &Assignment,
    addresses: &AddressBook,
) -> Result<Groups, StartError> {
    let config = GroupsConfig {
        data_dir: process.config.data_dir.clone(),
        cluster_id: assignment.cluster_id.clone(),
        member_id: assignment.member,
        settings: process.config.raft.clone(),
        disk_room: process.space.clone(),
        link_filter: process.config.link_filter.clone(),
    };
    let (reason, cancel) = (process.fatal.clone(), process.cancel.clone());
    let fatal = Box::new(move |fatal: raft::Fatal| {
        error!(error = %fatal, "the disk failed: this process ends, and nothing more is acknowledged");
        let _ = reason.set(fatal.to_string());
        cancel.cancel();
    });
    Groups::open(config, Arc::new(addresses.clone()), fatal)
        .await
        .map_err(StartError::OpenGroups)
}
