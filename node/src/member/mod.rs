//! One process: its disk, its identity, and the member that runs once it has one.

pub mod addresses;
pub mod directory;
mod founding;
mod hand_over;
pub mod identity;
mod ready;
mod removed;
pub mod replicas;
mod room;
pub mod running;
mod scrub;
mod sequences;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use founding::{FoundError, FoundingRequest};
pub use sequences::{SequenceError, Sequences};

use crate::config::Config;
use crate::member::directory::{Directory, DirectoryError};
use crate::member::identity::{Assignment, Identity, IdentityError};
use crate::member::running::{Running, StartError};
use crate::metrics::Requests;
use crate::peer::raft_door::RaftDoor;
use crate::server::{Connections, client_connections};
use crate::space::Space;

/// What a removed member answers to everything.
const REMOVED: &str =
    "this member was removed from its cluster: stop the process, or empty its data directory to join as a new member";

/// Why a process could not become, or be, a member.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{REMOVED}")]
    Removed,
    #[error("the member cannot be started")]
    Start(#[source] Arc<StartError>),
}

/// Why the process cannot start at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("learn the free space of the data directory {path}")]
    FreeSpace {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The process: Unassigned while its disk is empty, a member for ever after.
pub struct Process {
    pub config: Config,
    pub raft_door: RaftDoor,
    /// What clients asked of this process.
    pub requests: Requests,
    pub client_connections: Arc<Connections>,
    /// The room on the disk of the data directory.
    pub space: Arc<Space>,
    /// Ends everything that runs.
    pub cancel: CancellationToken,
    identity: Mutex<Identity>,
    running: OnceCell<Arc<Running>>,
    /// Ends what the member runs, while the process goes on to say that the member was removed.
    member_cancel: CancellationToken,
    /// Why the process has to end, where that is not a signal.
    fatal: Arc<OnceLock<String>>,
    _directory: Directory,
}

impl Process {
    /// Locks the data directory and reads who this is; nothing runs yet.
    pub fn open(config: Config) -> Result<Arc<Self>, OpenError> {
        let directory = Directory::open(&config.data_dir)?;
        let identity = Identity::open(directory.path(), || uuid::Uuid::new_v4().to_string())?;
        let cancel = CancellationToken::new();
        let space = Space::open(directory.path(), config.volume.clone(), config.reserve_bytes);
        let space = space.map_err(|source| OpenError::FreeSpace {
            path: directory.path().to_owned(),
            source,
        })?;
        Ok(Arc::new(Process {
            raft_door: RaftDoor::default(),
            requests: Requests::default(),
            client_connections: Arc::new(client_connections(config.max_connections)),
            space: Arc::new(space),
            config,
            member_cancel: cancel.child_token(),
            cancel,
            identity: Mutex::new(identity),
            running: OnceCell::new(),
            fatal: Arc::default(),
            _directory: directory,
        }))
    }

    /// Starts the member where the disk belongs to one.
    pub async fn start_if_assigned(self: &Arc<Self>) -> Result<(), AssignError> {
        let assignment = self.identity().assignment().cloned();
        match assignment {
            Some(assignment) if self.is_removed() => {
                warn!(member = %assignment.member, "{REMOVED}");
                Ok(())
            }
            Some(assignment) => self.start(assignment).await,
            None => {
                info!(
                    disk_id = self.disk_id(),
                    "the disk is empty: waiting for Bootstrap or Join"
                );
                Ok(())
            }
        }
    }

    /// Binds the disk to a member, durably, and starts it; saying it again does no harm.
    pub async fn assign(self: &Arc<Self>, disk_id: &str, assignment: Assignment) -> Result<(), AssignError> {
        self.identity().assign(disk_id, assignment)?;
        let assignment = self.identity().assignment().cloned();
        match assignment {
            Some(_) if self.is_removed() => Err(AssignError::Removed),
            Some(assignment) => self.start(assignment).await,
            None => Ok(()),
        }
    }

    async fn start(self: &Arc<Self>, assignment: Assignment) -> Result<(), AssignError> {
        let started = self
            .running
            .get_or_try_init(|| Running::start(self.clone(), assignment));
        started.await.map_err(|error| AssignError::Start(Arc::new(error)))?;
        Ok(())
    }

    /// The member, once it runs and while it belongs to its cluster.
    pub fn running(&self) -> Option<Arc<Running>> {
        self.started().filter(|_| !self.is_removed())
    }

    /// The member that was started here, also when it was removed since.
    pub fn started(&self) -> Option<Arc<Running>> {
        self.running.get().cloned()
    }

    /// Comes when what the member runs has ended, with the process or before.
    pub fn member_ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.member_cancel.clone().cancelled_owned()
    }

    /// The member was removed from its cluster: it serves nothing more, for ever.
    pub fn is_removed(&self) -> bool {
        self.identity().is_removed()
    }

    /// What a process without a running member waits for.
    pub fn why_not_running(&self) -> &'static str {
        let identity = self.identity();
        match identity.assignment() {
            _ if identity.is_removed() => REMOVED,
            Some(_) => "this member is starting: it opens its stores",
            None => "this process belongs to no cluster yet: it waits for Bootstrap or Join",
        }
    }

    pub fn disk_id(&self) -> String {
        self.identity().disk_id().to_owned()
    }

    pub fn assignment(&self) -> Option<Assignment> {
        self.identity().assignment().cloned()
    }

    /// Why the process ended itself, if it did.
    pub fn fatal(&self) -> Option<String> {
        self.fatal.get().cloned()
    }

    fn finish_founding(&self) -> Result<(), IdentityError> {
        self.identity().finish_founding()
    }

    fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
