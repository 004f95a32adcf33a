//! `kotoba dev`: several members in one process, founded at once, with all that a real cluster has but separate machines.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use kotoba_state::meta::FirstMember;
use tokio::time::sleep;

use crate::config::{
    AdvertiseSettings, Config, DEFAULT_CLIENT_PORT, DEFAULT_HTTP_PORT, DEFAULT_PEER_PORT, ListenSettings, Settings,
};
use crate::member::{FoundError, FoundingRequest};
use crate::run::{Member, ended_by_signal};
use crate::server::raise_open_files;

const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Zones of the members in turn.
const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

/// Runs a cluster of `count` members until a signal; the data goes with it unless a directory is named.
pub async fn run(count: u8, kept: Option<PathBuf>) -> anyhow::Result<()> {
    raise_open_files();
    let temporary = TemporaryDirectory::unless(kept.is_some())?;
    let data_dir = kept.unwrap_or_else(|| temporary.path.clone());
    let begun = Instant::now();
    let members = start(count, &data_dir).await?;
    found(&members).await?;
    wait_until_ready(&members).await?;
    print_welcome(&members, &data_dir, begun.elapsed())?;
    ended_by_signal().await?;
    for member in members {
        member.stop().await;
    }
    Ok(())
}

async fn start(count: u8, data_dir: &Path) -> anyhow::Result<Vec<Member>> {
    let mut members = Vec::new();
    for number in 0..count {
        members.push(Member::start(config(number, data_dir)?).await?);
    }
    Ok(members)
}

fn config(number: u8, data_dir: &Path) -> anyhow::Result<Config> {
    let local = |port: u16| Some(SocketAddr::from(([127, 0, 0, 1], port + u16::from(number))).to_string());
    let settings = Settings {
        data_dir: Some(data_dir.join(format!("member-{}", number + 1))),
        zone: Some(ZONES[usize::from(number) % ZONES.len()].to_owned()),
        node_id: Some(format!("dev-{}", number + 1)),
        listen: ListenSettings {
            peer: local(DEFAULT_PEER_PORT),
            client: local(DEFAULT_CLIENT_PORT),
            http: local(DEFAULT_HTTP_PORT),
            max_connections: None,
        },
        advertise: AdvertiseSettings::default(),
        ..Settings::default()
    };
    Ok(settings.into_config()?)
}

/// Of each cluster its own, so that nobody takes a new one for the one before.
fn cluster_id(members: &[Member]) -> String {
    let kept = members.iter().find_map(|member| member.process.assignment());
    match kept {
        Some(assignment) => assignment.cluster_id,
        None => format!("development-{}", uuid::Uuid::new_v4()),
    }
}

/// Given to a cluster that was kept, this changes nothing.
async fn found(members: &[Member]) -> anyhow::Result<()> {
    let first = &members.first().context("a cluster has members")?.process;
    let request = FoundingRequest {
        cluster_id: cluster_id(members),
        members: members.iter().map(first_member).collect(),
        replication_factor: 0,
        partition_count: 0,
    };
    loop {
        match first.found(request.clone()).await {
            Ok(_) => return Ok(()),
            Err(FoundError::Pending) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn first_member(member: &Member) -> FirstMember {
    let config = &member.process.config;
    FirstMember {
        peer_address: config.peer_advertise.clone(),
        client_address: config.client_advertise.clone(),
        zone: config.zone.clone(),
        disk_id: member.process.disk_id(),
        name: config.name.clone(),
        meta_voter: false,
    }
}

async fn wait_until_ready(members: &[Member]) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    for member in members {
        while let Err(missing) = member.process.ready() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} is not ready after {READY_WITHIN:?}: {missing}; was the kept cluster made with another number of members?",
                member.process.config.name
            );
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }
    Ok(())
}

fn print_welcome(members: &[Member], data_dir: &Path, took: Duration) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "KotobaDB with {} members is ready after {:.1} s; data in {}",
        members.len(),
        took.as_secs_f64(),
        data_dir.display()
    )?;
    for member in members {
        let config = &member.process.config;
        writeln!(
            out,
            "  {}  clients {}  metrics http://{}/metrics  {}",
            config.name, config.client_advertise, config.http_listen, config.zone
        )?;
    }
    writeln!(out, "\nTry, in another terminal:")?;
    writeln!(out, "  kotoba status")?;
    writeln!(out, "  kotoba node create --label Person --property name=Ada")?;
    writeln!(out, "  kotoba node find --label Person")?;
    writeln!(out, "\nctrl-c ends it.")?;
    out.flush()
}

/// A directory that is removed with everything in it.
struct TemporaryDirectory {
    path: PathBuf,
    made: bool,
}

impl TemporaryDirectory {
    fn unless(kept: bool) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("kotoba-dev-{}", uuid::Uuid::new_v4()));
        if !kept {
            std::fs::create_dir_all(&path)?;
        }
        Ok(TemporaryDirectory { path, made: !kept })
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if self.made {
            // What cannot be removed is the system's temporary folder's to clean.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
