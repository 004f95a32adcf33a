//! The identity record: which disk this is, and which member of which cluster it belongs to.
//!
//! Written before it is answered to anyone. A record that exists and cannot be read stops the process:
//! an unreadable disk must never look like an empty one.

use std::io;
use std::path::{Path, PathBuf};

use kotoba_state::ids::{MemberId, ReplicaId};
use serde::{Deserialize, Serialize};

use super::directory::write_durably;

/// The format this build writes; a record of a later one is refused.
const FORMAT: u32 = 1;
const FILE_NAME: &str = "identity.json";

/// Why the identity record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("read the identity record {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the identity record {path} is damaged; the disk is not opened as an empty one: restore the file, or remove the whole data directory to come back as a new member"
    )]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the identity record {path} has format {format}, this build knows {FORMAT}: start a newer build")]
    Format { path: PathBuf, format: u32 },
    #[error("write the identity record {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "this disk holds member {member} of cluster {cluster_id}, and is never given to another; remove its data directory if it shall become a new member"
    )]
    Foreign { cluster_id: String, member: MemberId },
    #[error("this disk is {actual}, not {asked}: the call was meant for another one")]
    OtherDisk { actual: String, asked: String },
    #[error(
        "the data directory {path} holds stores but no identity record; restore the record from where the directory came from, or remove the whole directory to come back as a new member"
    )]
    Missing { path: PathBuf },
}

/// The record as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    disk_id: String,
    assignment: Option<Assignment>,
    /// The member was removed from its cluster: this disk is of no use any more.
    #[serde(default)]
    removed: bool,
}

/// Membership of a cluster, once given and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub cluster_id: String,
    pub member: MemberId,
    /// This member's replica of the meta group.
    pub meta_replica: ReplicaId,
    /// Where the others were when this was written; the catalogue knows better once it is here.
    pub peers: Vec<PeerAddress>,
    /// Present on the member that founds the cluster, until the founding is in the meta group's log.
    pub founding: Option<Founding>,
}

/// Another member's address, by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    pub member: MemberId,
    pub address: String,
}

/// What the founder still has to do: start the meta group with these voters, and log this command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    pub meta_voters: Vec<(ReplicaId, MemberId)>,
    pub command: kotoba_state::meta::Command,
}

/// The identity of this disk; the file behind it is written before a change is seen here.
#[derive(Debug)]
pub struct Identity {
    path: PathBuf,
    record: Record,
}

impl Identity {
    /// Reads the record, or makes one with a fresh disk id in an empty directory.
    pub fn open(directory: &Path, fresh_disk_id: impl FnOnce() -> String) -> Result<Self, IdentityError> {
        let path = directory.join(FILE_NAME);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Identity {
                record: decode(&path, &bytes)?,
                path,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(directory, path, fresh_disk_id()),
            Err(source) => Err(IdentityError::Read { path, source }),
        }
    }

    fn create(directory: &Path, path: PathBuf, disk_id: String) -> Result<Self, IdentityError> {
        if directory.join("log").exists() || directory.join("replicas").exists() {
            return Err(IdentityError::Missing {
                path: directory.to_owned(),
            });
        }
        let record = Record {
            format: FORMAT,
            disk_id,
            assignment: None,
            removed: false,
        };
        let mut identity = Identity { path, record };
        identity.write(identity.record.clone())?;
        Ok(identity)
    }

    pub fn disk_id(&self) -> &str {
        &self.record.disk_id
    }

    pub fn assignment(&self) -> Option<&Assignment> {
        self.record.assignment.as_ref()
    }

    /// Binds this disk to a member; the same assignment again is fine, another one is refused.
    pub fn assign(&mut self, disk_id: &str, assignment: Assignment) -> Result<(), IdentityError> {
        if disk_id != self.record.disk_id {
            return Err(IdentityError::OtherDisk {
                actual: self.record.disk_id.clone(),
                asked: disk_id.to_owned(),
            });
        }
        if let Some(existing) = &self.record.assignment {
            return match is_same_member(existing, &assignment) {
                true => Ok(()),
                false => Err(IdentityError::Foreign {
                    cluster_id: existing.cluster_id.clone(),
                    member: existing.member,
                }),
            };
        }
        let mut record = self.record.clone();
        record.assignment = Some(assignment);
        self.write(record)
    }

    /// Whether the member was removed from its cluster.
    pub fn is_removed(&self) -> bool {
        self.record.removed
    }

    /// Notes, for ever, that the member was removed.
    pub fn note_removal(&mut self) -> Result<(), IdentityError> {
        let record = Record {
            removed: true,
            ..self.record.clone()
        };
        self.write(record)
    }

    /// The founding is in the log: nothing is left to do at the next start.
    pub fn finish_founding(&mut self) -> Result<(), IdentityError> {
        let mut record = self.record.clone();
        if let Some(assignment) = &mut record.assignment {
            assignment.founding = None;
        }
        self.write(record)
    }

    fn write(&mut self, record: Record) -> Result<(), IdentityError> {
        let bytes = serde_json::to_vec_pretty(&record).expect("a record of strings and numbers always encodes");
        write_durably(&self.path, &bytes).map_err(|source| IdentityError::Write {
            path: self.path.clone(),
            source,
        })?;
        self.record = record;
        Ok(())
    }
}

fn is_same_member(a: &Assignment, b: &Assignment) -> bool {
    a.cluster_id == b.cluster_id && a.member == b.member && a.meta_replica == b.meta_replica
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Record, IdentityError> {
    #[derive(Deserialize)]
    struct Header {
        format: u32,
    }
    let damaged = |source| IdentityError::Damaged {
        path: path.to_owned(),
        source,
    };
    let header: Header = serde_json::from_slice(bytes).map_err(damaged)?;
    if header.format != FORMAT {
        return Err(IdentityError::Format {
            path: path.to_owned(),
            format: header.format,
        });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(cluster: &str, member: u64) -> Assignment {
        Assignment {
            cluster_id: cluster.to_owned(),
            member: MemberId(member),
            meta_replica: ReplicaId(member),
            peers: vec![],
            founding: None,
        }
    }

    #[test]
    fn an_assignment_survives_a_restart_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mut identity = Identity::open(dir.path(), || "disk-1".into()).unwrap();
        identity.assign("disk-1", assignment("a", 1)).unwrap();
        let mut again = Identity::open(dir.path(), || "disk-2".into()).unwrap();
        assert_eq!(again.disk_id(), "disk-1");
        assert_eq!(again.assignment(), Some(&assignment("a", 1)));
        again.assign("disk-1", assignment("a", 1)).unwrap();
        assert!(matches!(
            again.assign("disk-1", assignment("b", 1)),
            Err(IdentityError::Foreign { .. })
        ));
        assert!(matches!(
            again.assign("disk-1", assignment("a", 2)),
            Err(IdentityError::Foreign { .. })
        ));
    }

    #[test]
    fn a_removal_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut identity = Identity::open(dir.path(), || "disk-1".into()).unwrap();
        identity.assign("disk-1", assignment("a", 1)).unwrap();
        assert!(!Identity::open(dir.path(), || "x".into()).unwrap().is_removed());
        identity.note_removal().unwrap();
        assert!(Identity::open(dir.path(), || "x".into()).unwrap().is_removed());
    }

    #[test]
    fn an_assignment_for_another_disk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut identity = Identity::open(dir.path(), || "disk-1".into()).unwrap();
        let error = identity.assign("disk-9", assignment("a", 1)).unwrap_err();
        assert!(matches!(error, IdentityError::OtherDisk { .. }));
    }

    #[test]
    fn a_damaged_record_is_never_opened_as_an_empty_disk() {
        let dir = tempfile::tempdir().unwrap();
        Identity::open(dir.path(), || "disk-1".into()).unwrap();
        std::fs::write(dir.path().join(FILE_NAME), b"{\"format\":1,").unwrap();
        assert!(matches!(
            Identity::open(dir.path(), || "x".into()),
            Err(IdentityError::Damaged { .. })
        ));
        std::fs::write(dir.path().join(FILE_NAME), b"{\"format\":9}").unwrap();
        assert!(matches!(
            Identity::open(dir.path(), || "x".into()),
            Err(IdentityError::Format { .. })
        ));
    }

    #[test]
    fn stores_without_a_record_are_never_opened_as_an_empty_disk() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("log"), b"x").unwrap();
        assert!(matches!(
            Identity::open(dir.path(), || "x".into()),
            Err(IdentityError::Missing { .. })
        ));
    }
}
