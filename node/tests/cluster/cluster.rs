//! A cluster of such members: founded, stopped, crashed, grown, and watched until it is as a test wants it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kotoba_node::config::Config;
use kotoba_node::member::FoundingRequest;
use kotoba_node::member::running::Running;
use kotoba_node::peer::clients::lazy_channel;
use kotoba_proto::ClusterError;
use kotoba_proto::KotobaCluster;
use kotoba_proto::cluster::Options;
use kotoba_proto::v1::admin_service_client::AdminServiceClient;
use kotoba_proto::v1::{GetStatusResponse, JoinClusterRequest, JoinClusterResponse, RebalanceRequest, ReplicaRole};
use kotoba_state::ids::{GroupId, MemberId, PartitionId, Timestamp};
use kotoba_state::meta::FirstMember;
use kotoba_state::partition::{Command, digest};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::clocks::TestClock;
use crate::disks::{copy_crash_image, replica_directories};
use crate::links::Links;
use crate::process::{Addresses, Host};
use crate::settings::Pace;
use crate::volumes::{RESERVE_BYTES, TestVolume};
use crate::wait::{PATIENCE, ensure, until};

pub const CLUSTER: &str = "test-cluster";
/// Few, so that a test is quick; more than one for transactions across them.
pub const PARTITIONS: u32 = 4;
const ZONES: [&str; 3] = ["a", "b", "c"];

/// What stays of a member while its process does not run.
struct Place {
    data_dir: PathBuf,
    addresses: Addresses,
    zone: &'static str,
    volume: Arc<TestVolume>,
    clock: Arc<TestClock>,
    crashes: usize,
}

/// Members by their numbers, which are their member ids too: the founders come first, the others join in order.
pub struct Cluster {
    pub links: Arc<Links>,
    directory: TempDir,
    pace: Pace,
    places: BTreeMap<u64, Place>,
    hosts: BTreeMap<u64, Host>,
}

impl Cluster {
    pub fn empty(pace: Pace) -> Self {
        Cluster {
            links: Arc::default(),
            directory: tempfile::tempdir().unwrap(),
            pace,
            places: BTreeMap::new(),
            hosts: BTreeMap::new(),
        }
    }

    /// Processes with empty disks.
    pub async fn unassigned(count: u64) -> Self {
        let mut cluster = Self::empty(Pace::default());
        for _ in 0..count {
            cluster.add().await;
        }
        cluster
    }

    /// A cluster that serves.
    pub async fn of(count: u64) -> Self {
        Self::with(Pace::default(), count, PARTITIONS).await
    }

    pub async fn with(pace: Pace, count: u64, partitions: u32) -> Self {
        let mut cluster = Self::empty(pace);
        for _ in 0..count {
            cluster.add().await;
        }
        let request = FoundingRequest {
            partition_count: partitions,
            ..cluster.founding()
        };
        cluster.host(1).found(request).await.unwrap();
        cluster.ready().await;
        cluster
    }

    /// Starts one more process with an empty disk.
    pub async fn add(&mut self) -> u64 {
        let number = self.places.len() as u64 + 1;
        let place = Place {
            data_dir: self.directory.path().join(format!("member-{number}")),
            addresses: Addresses::any(),
            zone: ZONES[(number as usize - 1) % ZONES.len()],
            volume: Arc::default(),
            clock: Arc::default(),
            crashes: 0,
        };
        self.places.insert(number, place);
        self.start(number).await;
        number
    }

    pub fn founding(&self) -> FoundingRequest {
        FoundingRequest {
            cluster_id: CLUSTER.to_owned(),
            members: self.hosts.values().map(first_member).collect(),
            replication_factor: 0,
            partition_count: PARTITIONS,
        }
    }

    pub fn config(&self, number: u64) -> Config {
        let place = &self.places[&number];
        Config {
            volume: place.volume.clone(),
            clock: place.clock.clone(),
            reserve_bytes: RESERVE_BYTES,
            ..self
                .pace
                .config(&place.data_dir, &format!("member-{number}"), place.zone, &self.links)
        }
    }

    /// The clock on a member's wall.
    pub fn clock(&self, number: u64) -> &TestClock {
        &self.places[&number].clock
    }

    /// The file system under a member's data, as the member sees it.
    pub fn volume(&self, number: u64) -> &TestVolume {
        &self.places[&number].volume
    }

    pub async fn start(&mut self, number: u64) {
        self.try_start(number).await.unwrap();
    }

    pub async fn try_start(&mut self, number: u64) -> anyhow::Result<()> {
        let host = Host::start(self.places[&number].addresses, self.config(number)).await?;
        self.places.get_mut(&number).unwrap().addresses = host.addresses;
        self.hosts.insert(number, host);
        Ok(())
    }

    pub async fn stop(&mut self, number: u64) {
        self.hosts.remove(&number).unwrap().stop().await;
    }

    pub async fn restart(&mut self, number: u64) {
        self.stop(number).await;
        self.start(number).await;
    }

    /// Kills a member; its disk is as a killed process leaves it.
    pub async fn crash(&mut self, number: u64) {
        self.crash_all(&[number]).await;
    }

    /// Kills members, one right after the other, before any disk is looked at.
    pub async fn crash_all(&mut self, numbers: &[u64]) {
        let hosts: Vec<Host> = numbers
            .iter()
            .map(|number| self.hosts.remove(number).unwrap())
            .collect();
        let stores = futures::future::join_all(hosts.into_iter().map(Host::kill)).await;
        for number in numbers {
            let place = self.places.get_mut(number).unwrap();
            place.crashes += 1;
            let image = format!("member-{number}-after-crash-{}", place.crashes);
            let image = self.directory.path().join(image);
            copy_crash_image(&place.data_dir, &image);
            place.data_dir = image;
        }
        drop(stores);
    }

    /// Gives a member that does not run an empty disk, as a volume that was lost.
    pub fn lose_disk(&mut self, number: u64) {
        assert!(!self.hosts.contains_key(&number), "member {number} runs");
        let place = self.places.get_mut(&number).unwrap();
        std::fs::remove_dir_all(&place.data_dir).unwrap();
    }

    pub fn data_dir(&self, number: u64) -> PathBuf {
        self.places[&number].data_dir.clone()
    }

    pub fn host(&self, number: u64) -> &Host {
        &self.hosts[&number]
    }

    pub fn running(&self, number: u64) -> Arc<Running> {
        self.host(number).running()
    }

    /// A client of all members, also of those that do not run now.
    pub fn client(&self) -> KotobaCluster {
        connect(&self.addresses(), PATIENCE)
    }

    /// The client addresses of all members, as `--cluster` takes them.
    pub fn addresses(&self) -> String {
        let addresses = self.places.values().map(|place| place.addresses.client.to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    pub fn client_of(&self, number: u64) -> KotobaCluster {
        self.impatient_client_of(number, PATIENCE)
    }

    pub fn impatient_client_of(&self, number: u64, deadline: Duration) -> KotobaCluster {
        connect(&self.places[&number].addresses.client.to_string(), deadline)
    }

    pub fn admin(&self, number: u64) -> AdminServiceClient<Channel> {
        let address = self.places[&number].addresses.peer.to_string();
        AdminServiceClient::new(lazy_channel(&address, PATIENCE).unwrap())
    }

    /// Waits until every member that runs serves clients, and every partition has a leader.
    pub async fn ready(&self) {
        for number in self.hosts.keys() {
            until("a ready member", || async { self.host(*number).process.ready() }).await;
        }
        self.status_where("a leader of every partition", |status| {
            status
                .partitions
                .iter()
                .all(|partition| partition.leader_member_id != 0)
        })
        .await;
    }

    /// The first status of the meta leader that a test is content with.
    pub async fn status_where(&self, what: &str, is_wanted: impl Fn(&GetStatusResponse) -> bool) -> GetStatusResponse {
        let client = self.client();
        until(what, || async {
            let status = client.get_status().await.map_err(|error| error.to_string())?;
            match status.linearizable && is_wanted(&status) {
                true => Ok(status),
                false => Err(format!("{status:?}")),
            }
        })
        .await
    }

    /// Drops what no snapshot from now on can see, receipts among it, as the retention does when it has passed.
    pub async fn forget_the_past(&self) {
        let client = self.client();
        let rows = client.execute_query(crate::graph::get_nodes([])).await.unwrap();
        let floor = Timestamp(rows.snapshot().0);
        let commands = [
            Command::RecordFloor {
                floor,
                max_records: u32::MAX,
            },
            Command::VersionFloor {
                floor,
                max_versions: u32::MAX,
            },
        ];
        let status = self
            .status_where("partitions", |status| !status.partitions.is_empty())
            .await;
        for partition in status.partitions {
            until("old versions dropped", || async {
                let leading = |host: &Host| {
                    let local = host.running().partitions.get(PartitionId(partition.id))?;
                    local.group.leadership().leading.then_some(local)
                };
                let leader = self.hosts.values().find_map(leading).ok_or("nobody leads")?;
                for command in &commands {
                    let proposed = leader.group.propose(command.encode()).await;
                    proposed.map_err(|_| "not proposed")?;
                }
                Ok::<_, &str>(())
            })
            .await;
        }
    }

    /// The member that leads the meta group.
    pub async fn meta_leader(&self) -> u64 {
        until("a leader of the meta group", || async {
            for (number, host) in &self.hosts {
                let meta = host.running().meta.clone();
                if meta.leadership().leading && meta.read_barrier().await.is_ok() {
                    return Ok(*number);
                }
            }
            Err("nobody leads")
        })
        .await
    }

    /// Takes a process with an empty disk into the cluster, through one of the members.
    pub async fn join(&self, number: u64, through: u64) -> Result<JoinClusterResponse, ClusterError> {
        let process = &self.host(number).process;
        let request = JoinClusterRequest {
            peer_address: process.config.peer_advertise.clone(),
            client_address: process.config.client_advertise.clone(),
            zone: process.config.zone.clone(),
            disk_id: process.disk_id(),
            name: process.config.name.clone(),
            version: String::new(),
        };
        self.client_of(through).join_cluster(request).await
    }

    /// Starts a rebalance; gives the number of moves that are open then.
    pub async fn rebalance(&self, through: u64) -> usize {
        until("a planned rebalance", || async {
            let answer = self.admin(through).rebalance(RebalanceRequest { dry_run: false }).await;
            answer.map(|plan| plan.into_inner().moves.len())
        })
        .await
    }

    /// Waits until placement wants nothing more, and what moved away is deleted everywhere.
    pub async fn balanced(&self) {
        self.status_where("a balanced cluster", |status| {
            status.rebalance.as_ref().is_some_and(|rebalance| rebalance.balanced)
        })
        .await;
        for number in self.hosts.keys() {
            until("retired replicas deleted", || async {
                self.only_placed_replicas(*number)
            })
            .await;
        }
        // Deleted first, and taken out of the catalogue then.
        self.status_where("retired replicas forgotten", |status| {
            let mut replicas = status.partitions.iter().flat_map(|partition| &partition.replicas);
            replicas.all(|replica| replica.role() != ReplicaRole::Retiring)
        })
        .await;
    }

    /// The disk of a member holds the replicas that the catalogue places there, and no others.
    fn only_placed_replicas(&self, number: u64) -> Result<(), String> {
        let running = self.running(number);
        let catalogue = running.catalogue.get();
        let me = MemberId(number);
        let mut placed = vec![format!("0-{}", catalogue.members[&me].meta_replica)];
        for partition in catalogue.partitions.values() {
            let here = partition.replicas.iter().filter(|(_, replica)| replica.member == me);
            placed.extend(here.map(|(id, _)| format!("{}-{id}", GroupId::Partition(partition.id).number())));
        }
        placed.sort();
        let stored = replica_directories(&self.data_dir(number));
        ensure(placed == stored && !placed.is_empty(), || {
            format!("member {number} stores {stored:?}, placed are {placed:?}")
        })
    }

    /// Waits until all replicas that run have applied the same entries, and hold the same.
    pub async fn agree(&self) {
        let partitions: Vec<PartitionId> = {
            let any = self.hosts.values().next().unwrap().running();
            any.catalogue.get().partitions.keys().copied().collect()
        };
        for partition in partitions {
            until("equal replicas", || async { self.compare(partition) }).await;
        }
    }

    fn compare(&self, partition: PartitionId) -> Result<(), String> {
        let mut seen = Vec::new();
        for host in self.hosts.values() {
            let Some(local) = host.running().partitions.get(partition) else {
                continue;
            };
            let view = local.group.view().map_err(|error| error.to_string())?;
            let digest = digest(&view).map_err(|error| error.to_string())?;
            seen.push((view.applied_index(), local.group.observe().last_log_index, digest));
        }
        for (applied, _, digest) in &seen {
            let same = seen.iter().filter(|(other, ..)| other == applied);
            assert!(
                same.map(|(_, _, other)| other).all(|other| other == digest),
                "replicas of partition {partition} have diverged: {seen:?}"
            );
        }
        let (_, newest, _) = seen.iter().max_by_key(|(_, last, _)| *last).unwrap();
        ensure(seen.iter().all(|(applied, ..)| applied == newest), || {
            format!("partition {partition}: {seen:?}")
        })
    }
}

fn connect(addresses: &str, deadline: Duration) -> KotobaCluster {
    let options = Options {
        deadline,
        unreachable_after: deadline,
        ..Options::default()
    };
    KotobaCluster::connect_with(addresses, options).unwrap()
}

fn first_member(host: &Host) -> FirstMember {
    let config = &host.process.config;
    FirstMember {
        peer_address: config.peer_advertise.clone(),
        client_address: config.client_advertise.clone(),
        zone: config.zone.clone(),
        disk_id: host.process.disk_id(),
        name: config.name.clone(),
        meta_voter: false,
    }
}
