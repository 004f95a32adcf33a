//! A member inside another program: `KotobaCluster::new(node_id, config).start(address)`.
//!
//! It is the member that `kotoba serve` runs, with the same ports, disk and guarantees. What is asked of it goes through its
//! own client port, so that an embedded program and a distant one see the same behaviour and the same errors.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kotoba_proto::{ClusterError, KotobaCluster as Client, Options};
use kotoba_state::placement::{MAX_PARTITIONS, MAX_REPLICATION_FACTOR};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::config::{Config, Founding, Impossible, ListenSettings, Place, Settings, SettingsError};
use crate::member::Process;
use crate::run::Member;

/// Between two looks at whether the member serves.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Tasks that were told to end do so at their next step; one that does not is not waited for any longer.
const DISK_FREE_WITHIN: Duration = Duration::from_secs(5);
/// Folder of the data of members that were given none.
const DATA_FOLDER: &str = "kotoba-data";

/// What people call a member; never an id. Give each member of a cluster a name of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub String);

impl From<&str> for NodeId {
    fn from(name: &str) -> Self {
        NodeId(name.to_owned())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a member is embedded; the defaults make a cluster of this one member.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Copies of every partition, 1 to 7; while there are fewer members, as many as there are. Taken when the cluster is
    /// founded, and the same for all members then.
    pub replication_factor: u32,
    /// 1 to 1,024, taken when the cluster is founded and fixed from then on.
    pub partition_count: u32,
    /// The addresses that the members are started at, the own one may be among them: members with empty disks that know
    /// each other's addresses found a cluster, or join the one that a peer belongs to. Empty: this member alone.
    pub peers: Vec<String>,
    /// Where the data is kept, one member a folder; `None`: `kotoba-data/NODE_ID` in the current folder.
    pub data_dir: Option<PathBuf>,
    /// Deadline, consistency and so on of the calls that are made through the started member.
    pub options: Options,
    /// How long [`KotobaCluster::start`] waits until the member serves.
    pub ready_within: Duration,
    /// Everything else, as in the settings file of `kotoba serve`. The fields above and the address win over it.
    pub settings: Settings,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            replication_factor: 3,
            partition_count: 64,
            peers: Vec::new(),
            data_dir: None,
            options: Options::default(),
            // Peers are started by people, one after the other.
            ready_within: Duration::from_secs(60),
            settings: Settings::default(),
        }
    }
}

/// Why a member could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A port in use, a disk that is locked or damaged, or another cluster's.
    #[error("start member {name}")]
    Start {
        name: NodeId,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("member {name} does not serve after {within:?}: {missing}")]
    NotReady {
        name: NodeId,
        within: Duration,
        missing: String,
    },
    #[error("member {name} ended while it started: {reason}")]
    Ended { name: NodeId, reason: String },
    #[error(transparent)]
    Client(#[from] ClusterError),
}

/// A member of a cluster, to be started in this process.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kotoba_node::{ClusterConfig, KotobaCluster, NodeId};
///
/// let config = ClusterConfig { replication_factor: 3, partition_count: 64, ..ClusterConfig::default() };
/// let cluster = KotobaCluster::new(NodeId("node-1".into()), config).start("127.0.0.1:8080".parse()?).await?;
/// println!("{:?}", cluster.get_status().await?.membership);
/// cluster.stop().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct KotobaCluster {
    node_id: NodeId,
    config: ClusterConfig,
}

impl KotobaCluster {
    /// Describes a member; nothing is opened yet.
    pub fn new(node_id: impl Into<NodeId>, config: ClusterConfig) -> Self {
        KotobaCluster {
            node_id: node_id.into(),
            config,
        }
    }

    /// Opens the disk and the ports, finds or founds the cluster, and comes back when the member serves.
    ///
    /// Other members speak to the port of `address`, probes to the one 80 above and clients to the one 100 above; port 0
    /// takes any three that are free. Members that name each other as peers have to be started at the same time, not one
    /// after the other.
    ///
    /// # Errors
    /// When the settings are impossible, a port or the disk cannot be opened, or the member does not serve in time
    /// ([`ClusterConfig::ready_within`]); nothing of it runs on then.
    pub async fn start(self, address: SocketAddr) -> Result<EmbeddedMember, StartError> {
        let KotobaCluster { node_id, config } = self;
        let (within, options) = (config.ready_within, config.options.clone());
        let member = Member::start(member_config(&node_id, config, address)?).await;
        let member = member.map_err(|error| StartError::Start {
            name: node_id.clone(),
            source: error.into(),
        })?;
        let embedded = EmbeddedMember::new(member, options)?;
        match wait_until_ready(&embedded.process, &node_id, within).await {
            Ok(()) => Ok(embedded),
            Err(error) => {
                embedded.stop().await;
                Err(error)
            }
        }
    }
}

fn member_config(node_id: &NodeId, config: ClusterConfig, address: SocketAddr) -> Result<Config, SettingsError> {
    let data_dir = config.data_dir.or(config.settings.data_dir.clone());
    let peers = match config.peers.is_empty() {
        true => config.settings.peers.clone().unwrap_or_default(),
        false => config.peers,
    };
    let settings = Settings {
        data_dir: Some(data_dir.unwrap_or_else(|| PathBuf::from(DATA_FOLDER).join(&node_id.0))),
        node_id: Some(node_id.0.clone()),
        listen: ListenSettings::around(address),
        ..config.settings
    };
    let founding = Founding {
        replication_factor: config.replication_factor,
        partition_count: config.partition_count,
        alone: peers.is_empty(),
    };
    check(&founding)?;
    Ok(Config {
        peers,
        founding,
        ..settings.into_config().map_err(in_code)?
    })
}

/// What was set in code has no line.
fn in_code(impossible: Impossible) -> SettingsError {
    SettingsError::Impossible {
        place: Place::Nowhere,
        impossible,
    }
}

/// Zeros stand for defaults.
fn check(founding: &Founding) -> Result<(), SettingsError> {
    let impossible = |key, problem| Err(in_code(Impossible::new(key, problem)));
    if founding.replication_factor > MAX_REPLICATION_FACTOR {
        return impossible("replication_factor", "must be 1 to 7");
    }
    match founding.partition_count > MAX_PARTITIONS {
        true => impossible("partition_count", "must be 1 to 1024"),
        false => Ok(()),
    }
}

async fn wait_until_ready(process: &Process, name: &NodeId, within: Duration) -> Result<(), StartError> {
    let deadline = Instant::now() + within;
    while let Err(missing) = process.ready() {
        if process.cancel.is_cancelled() {
            return Err(StartError::Ended {
                name: name.clone(),
                reason: process.fatal().unwrap_or_default(),
            });
        }
        if Instant::now() >= deadline {
            return Err(StartError::NotReady {
                name: name.clone(),
                within,
                missing: what_is_missing(process, missing),
            });
        }
        sleep(LOOK_AGAIN_AFTER).await;
    }
    Ok(())
}

fn what_is_missing(process: &Process, missing: String) -> String {
    match process.assignment() {
        Some(_) => missing,
        None => format!(
            "no cluster yet; for the first start all of its peers have to be up: {}",
            process.config.peers.join(", ")
        ),
    }
}

/// A member that runs in this process, and the client of its cluster that asks it: all calls of
/// [`kotoba_proto::KotobaCluster`] can be made on it, and a clone of that client goes wherever one is wanted.
///
/// Stop it with [`EmbeddedMember::stop`]. Dropped without that, it stops in the background, if the runtime lasts so long; if
/// not, it ends as in a crash: nothing acknowledged is lost, but its leaders are missed for the time of an election.
pub struct EmbeddedMember {
    client: Client,
    process: Arc<Process>,
    member: Option<Member>,
}

impl EmbeddedMember {
    fn new(member: Member, options: Options) -> Result<Self, ClusterError> {
        let process = member.process.clone();
        let own = reachable(process.config.client_listen).to_string();
        Ok(EmbeddedMember {
            client: Client::connect_with(&own, options)?,
            process,
            member: Some(member),
        })
    }

    /// Where other members speak to this one: what their [`ClusterConfig::peers`] name.
    pub fn peer_address(&self) -> SocketAddr {
        self.process.config.peer_listen
    }

    /// Where clients speak to this member.
    pub fn client_address(&self) -> SocketAddr {
        self.process.config.client_listen
    }

    /// Where probes and metrics are.
    pub fn http_address(&self) -> SocketAddr {
        self.process.config.http_listen
    }

    /// Comes when the member ends by itself, as it does when its disk fails; gives the reason. Stop it then, too.
    pub async fn ended(&self) -> String {
        self.process.cancel.cancelled().await;
        self.process.fatal().unwrap_or_default()
    }

    /// Hands over what is led here, ends the requests under way and closes the disk, so that it can be opened again.
    pub async fn stop(mut self) {
        let process = Arc::downgrade(&self.process);
        if let Some(member) = self.member.take() {
            member.stop().await;
        }
        drop(self);
        // The last task that ends lets go of the disk.
        let deadline = Instant::now() + DISK_FREE_WITHIN;
        while process.strong_count() > 0 && Instant::now() < deadline {
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

impl Deref for EmbeddedMember {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for EmbeddedMember {
    fn drop(&mut self) {
        let Some(member) = self.member.take() else { return };
        // Half of it must not live on: a replica that leads while its ports are closed keeps its partition from serving.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(member.stop())),
            Err(_) => self.process.cancel.cancel(),
        }
    }
}

/// The address by which a port of this machine is dialled from it.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_gives_all_ports_and_the_name_the_folder() {
        let address = "127.0.0.1:8080".parse().unwrap();
        let config = member_config(&"node-1".into(), ClusterConfig::default(), address).unwrap();
        assert_eq!(config.peer_advertise, "127.0.0.1:8080");
        assert_eq!(config.client_advertise, "127.0.0.1:8180");
        assert_eq!(config.http_listen.to_string(), "127.0.0.1:8160");
        assert_eq!(config.data_dir, PathBuf::from("kotoba-data/node-1"));
        assert!(config.founding.alone);
    }

    #[test]
    fn a_member_that_listens_everywhere_is_asked_on_loopback() {
        let asked = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:8180"), "127.0.0.1:8180");
        assert_eq!(asked("[::]:8180"), "[::1]:8180");
        assert_eq!(asked("10.0.0.7:8180"), "10.0.0.7:8180");
    }
}
