//! Drives operations against running members: what they took, and what they cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use kotoba_drive::{Pace, Times, Work, drive};
use tokio_util::sync::CancellationToken;

use crate::cell::Sample;
use crate::machine::flushes;
use crate::process::Process;
use crate::settings::Settings;

/// How operations are sent.
#[derive(Clone, Copy, Debug)]
pub struct Drive {
    pub clients: u16,
    /// Records that one operation makes or reads.
    pub records: u64,
    /// None: each client sends when it has been answered.
    pub rate_per_s: Option<u32>,
}

impl Drive {
    pub fn closed(clients: u16) -> Self {
        Drive {
            clients,
            records: 1,
            rate_per_s: None,
        }
    }
}

/// A fifth of the time before is not counted.
pub async fn sample<W>(work: &Arc<W>, how: Drive, processes: &[Process], settings: &Settings) -> Result<Sample>
where
    W: Work<Error = String>,
{
    let pace = |duration| Pace {
        clients: how.clients,
        duration,
        rate_per_s: how.rate_per_s,
    };
    let stop = CancellationToken::new();
    drive(work.clone(), &pace(settings.duration / 5), &stop, |_, _| {}).await;
    let before = (cpu(processes)?, flushes(&settings.data_dir)?);
    let began = Instant::now();
    let measured = drive(work.clone(), &pace(settings.duration), &stop, |_, _| {}).await;
    let took = began.elapsed();
    let after = (cpu(processes)?, flushes(&settings.data_dir)?);
    if let Some(error) = &measured.first_error {
        eprintln!("  {} operations failed, one of them so: {error}", measured.errors());
    }
    let flushed = before
        .1
        .zip(after.1)
        .map_or(f64::NAN, |(before, after)| (after - before) as f64);
    Ok(summary(&measured.all(), how.records, took, after.0 - before.0, flushed))
}

fn summary(times: &Times, records: u64, took: Duration, cpu: Duration, flushed: f64) -> Sample {
    let records = (times.answered.len() * records) as f64;
    Sample {
        per_s: records / took.as_secs_f64(),
        p50_ms: times.quantile_ms(0.5),
        p99_ms: times.quantile_ms(0.99),
        cpu_us: cpu.as_secs_f64() * 1e6 / records,
        flushes: flushed / records,
        errors: times.errors,
    }
}

fn cpu(processes: &[Process]) -> Result<Duration> {
    processes.iter().map(Process::cpu).sum()
}
