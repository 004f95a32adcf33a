//! A database of memory behind the real gRPC services: `catalogue` has its rules, `answers` what it says of itself, and
//! `process` the services of one member.

mod answers;
mod catalogue;
mod process;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use kotoba_proto::v1::admin_service_server::AdminServiceServer;
use kotoba_proto::v1::cluster_service_server::ClusterServiceServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;

use crate::tripwire::{Tripwire, Verdict};
use catalogue::State;
pub use catalogue::{Disk, Standing};
use process::Process;

#[derive(Clone, Default)]
pub struct Database {
    state: Arc<Mutex<State>>,
    tripwire: Tripwire,
}

impl Database {
    pub fn new(tripwire: Tripwire) -> Self {
        Database {
            state: Arc::default(),
            tripwire,
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Serves the process of a pod on a port of its own, until the test's runtime ends.
    pub async fn serve(&self, pod: &str, peer_address: &str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let process = Process {
            database: self.clone(),
            pod: pod.to_owned(),
            peer_address: peer_address.to_owned(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(AdminServiceServer::new(process.clone()))
            .add_service(ClusterServiceServer::new(process))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        address
    }

    /// Lets time pass: a joining member becomes active, one move ends, one copy leaves each drained member, and who is
    /// empty and shall be removed is.
    pub fn tick(&self) {
        let mut state = self.state();
        if state.stuck {
            return;
        }
        state.end_joins();
        state.end_a_move();
        state.move_off();
    }

    /// A write of the operator: it may die before or after it.
    fn write<T>(&self, change: impl FnOnce(&mut State) -> Result<T, Status>) -> Result<T, Status> {
        let dead = || Err(Status::unavailable("the operator is dead"));
        match self.tripwire.write() {
            Verdict::Go => {
                let done = change(&mut self.state());
                if self.state().loses_answers { dead() } else { done }
            }
            Verdict::DieAfter => change(&mut self.state()).and_then(|_| dead()),
            Verdict::DieBefore | Verdict::Dead => dead(),
        }
    }
}
