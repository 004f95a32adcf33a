//! Rounds over peers, operations and numbers of clients; one sample each.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kotoba_drive::{Pace, drive};
use tokio_util::sync::CancellationToken;

use crate::cell::{Cells, Sample, Subject};
use crate::machine::flushes;
use crate::operation::Operation;
use crate::peer::{Peer, Programs, Running};

#[derive(Clone, Debug)]
pub struct Settings {
    pub programs: Programs,
    pub data_dir: PathBuf,
    pub rounds: u32,
    pub duration: Duration,
    pub clients: Vec<u16>,
    pub operations: Vec<Operation>,
}

pub async fn all(settings: &Settings) -> Result<Cells> {
    let mut cells = Cells::new();
    for round in 0..settings.rounds {
        let mut peers = settings.programs.peers();
        if round % 2 == 1 {
            peers.reverse();
        }
        for peer in peers {
            eprintln!(
                "kotoba-bench: round {} of {}, {}",
                round + 1,
                settings.rounds,
                peer.name()
            );
            one_peer(settings, peer, &mut cells).await?;
        }
    }
    Ok(cells)
}

/// Reads first: what writes leave behind would be read more slowly.
async fn one_peer(settings: &Settings, peer: Peer, cells: &mut Cells) -> Result<()> {
    let folder = settings.data_dir.join(peer.name());
    remove(&folder)?;
    let running = Running::start(peer, &settings.programs, &folder).await?;
    let mut operations: Vec<Operation> = settings
        .operations
        .iter()
        .copied()
        .filter(|one| peer.can(*one))
        .collect();
    operations.sort_by_key(|operation| !operation.is_read());
    for operation in operations {
        for &clients in &settings.clients {
            let subject = Subject {
                operation,
                clients,
                peer,
            };
            let sample = sample(&running, subject, settings).await?;
            eprintln!(
                "  {operation} with {clients}: {:.0}/s, p50 {:.2} ms",
                sample.per_s, sample.p50_ms
            );
            cells.entry(subject).or_default().push(sample);
        }
    }
    drop(running);
    remove(&folder)
}

fn remove(folder: &PathBuf) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("removing a peer's data"),
        _ => Ok(()),
    }
}

async fn sample(running: &Running, subject: Subject, settings: &Settings) -> Result<Sample> {
    let client = running.client(subject.operation, subject.clients).await?;
    let stop = CancellationToken::new();
    let pace = |duration| Pace {
        clients: subject.clients,
        duration,
        rate_per_s: None,
    };
    drive(client.clone(), &pace(settings.duration / 5), &stop, |_, _| {}).await;
    let before = (cpu(running)?, flushes(&settings.data_dir)?);
    let began = Instant::now();
    let measured = drive(client, &pace(settings.duration), &stop, |_, _| {}).await;
    let took = began.elapsed().as_secs_f64();
    let after = (cpu(running)?, flushes(&settings.data_dir)?);
    if let Some(error) = &measured.first_error {
        eprintln!("  {} operations failed, one of them so: {error}", measured.errors());
    }
    let times = measured.all();
    let records = (times.answered.len() * subject.operation.records()) as f64;
    let flushed = before
        .1
        .zip(after.1)
        .map_or(f64::NAN, |(before, after)| (after - before) as f64);
    Ok(Sample {
        per_s: records / took,
        p50_ms: times.quantile_ms(0.5),
        p99_ms: times.quantile_ms(0.99),
        cpu_us: (after.0 - before.0).as_secs_f64() * 1e6 / records,
        flushes: flushed / records,
        errors: times.errors,
    })
}

fn cpu(running: &Running) -> Result<Duration> {
    running.processes().iter().map(crate::process::Process::cpu).sum()
}
