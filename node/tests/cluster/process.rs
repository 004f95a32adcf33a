//! One member on a runtime of its own, so that it can be killed in the middle of everything it does.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use kotoba_node::config::Config;
use kotoba_node::member::identity::Assignment;
use kotoba_node::member::running::Running;
use kotoba_node::member::{AssignError, FoundError, FoundingRequest, Process};
use kotoba_node::run::Member;
use kotoba_node::server::Ports;
use kotoba_state::ids::MemberId;
use tokio::runtime::Runtime;

/// Tasks end at their next await; only work on the blocking pool is waited for.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// Where a member listens, the same after every restart.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub peer: SocketAddr,
    pub client: SocketAddr,
    pub http: SocketAddr,
}

impl Addresses {
    /// Ports that the system gives, on a loopback address of this member's own: on 127.0.0.1 a stopped member's port
    /// could be taken by the outgoing connection of another.
    pub fn any() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let process = u8::try_from(std::process::id() % 200).unwrap() + 10;
        let free = SocketAddr::from((Ipv4Addr::new(127, process, high, low.wrapping_add(1)), 0));
        Addresses {
            peer: free,
            client: free,
            http: free,
        }
    }

    async fn open(self) -> anyhow::Result<(Ports, Self)> {
        let ports = Ports::open(self.peer, self.client, self.http)?;
        let opened = Addresses {
            peer: ports.peer.local_addr()?,
            client: ports.client.local_addr()?,
            http: ports.http.local_addr()?,
        };
        Ok((ports, opened))
    }
}

/// A member that runs.
pub struct Host {
    runtime: Option<Runtime>,
    member: Option<Member>,
    pub process: Arc<Process>,
    pub addresses: Addresses,
}

impl Host {
    pub async fn start(addresses: Addresses, config: Config) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(config.name.clone())
            .enable_all()
            .build()?;
        let started = runtime.spawn(async move {
            let (ports, addresses) = addresses.open().await?;
            let config = Config {
                peer_listen: addresses.peer,
                client_listen: addresses.client,
                http_listen: addresses.http,
                peer_advertise: addresses.peer.to_string(),
                client_advertise: addresses.client.to_string(),
                ..config
            };
            anyhow::Ok((Member::start_on(ports, config).await?, addresses))
        });
        match started.await? {
            Ok((member, addresses)) => Ok(Host {
                process: member.process.clone(),
                runtime: Some(runtime),
                member: Some(member),
                addresses,
            }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// The member, which has an identity.
    pub fn running(&self) -> Arc<Running> {
        self.process.running().expect("the member has an identity")
    }

    /// Founds the cluster from this process.
    pub async fn found(&self, request: FoundingRequest) -> Result<MemberId, FoundError> {
        let process = self.process.clone();
        self.within(async move { process.found(request).await }).await
    }

    /// Tells the process who it is.
    pub async fn assign(&self, assignment: Assignment) -> Result<(), AssignError> {
        let process = self.process.clone();
        self.within(async move { process.assign(&process.disk_id(), assignment).await })
            .await
    }

    /// Runs on the member's own runtime: what it starts there ends with the member.
    async fn within<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.as_ref().unwrap().spawn(work).await.unwrap()
    }

    /// Stops in order: requests end, states are made durable.
    pub async fn stop(mut self) {
        let member = self.member.take().unwrap();
        let runtime = self.runtime.take().unwrap();
        runtime.spawn(member.stop()).await.unwrap();
        end(runtime).await;
    }

    /// Ends every task where it stands. The stores stay open until what is returned is dropped: closing them would make
    /// durable what a real crash loses.
    pub async fn kill(mut self) -> Option<Arc<Running>> {
        let stores = self.process.running();
        end(self.runtime.take().unwrap()).await;
        stores
    }
}

async fn end(runtime: Runtime) {
    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(KILLED_WITHIN))
        .await
        .unwrap();
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
