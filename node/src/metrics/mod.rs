//! The metrics of one member: what is counted as it happens (`requests`, `raft::Counters`, `transaction::Outcomes`), and what is
//! read off its parts at each scrape.
//!
//! Names are those of the original where it has one (`total_nodes`, `health_score`), with the units and suffixes that
//! Prometheus asks for. `/metrics` never waits for another member.

mod cluster;
mod connections;
mod disk;
mod groups;
mod process;
mod requests;
mod seconds;
mod text;

use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use requests::{Requests, Timer};
pub use seconds::Seconds;

use crate::http::{MetricsFormat, Probes};
use crate::member::Process;
use crate::member::running::Running;
use crate::space::Mib;

/// Answers the probes and gives the metrics.
pub struct Metrics {
    process: Arc<Process>,
    begun: SystemTime,
}

impl Metrics {
    pub fn new(process: Arc<Process>) -> Self {
        let begun = SystemTime::now();
        Metrics { process, begun }
    }

    fn database(&self) -> Registry {
        let mut registry = Registry::with_prefix("kotoba");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The build that runs", Info::new(version));
        let ready = i64::from(self.process.ready().is_ok());
        gauge(&mut registry, "ready", "1 when this member serves clients", ready);
        let room = self.process.space.reading();
        disk::register(&mut registry, room);
        connections::register(&mut registry, &self.process.client_connections);
        self.process.requests.register(&mut registry);
        if let Some(running) = self.process.running() {
            self.member(&mut registry, &running);
        }
        registry
    }

    fn member(&self, registry: &mut Registry, running: &Running) {
        groups::register(registry, &running.groups);
        running.groups.register(registry);
        cluster::register(registry, running);
        if let Some(gateway) = running.gateway() {
            gateway.outcomes().register(registry);
        }
    }

    fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode_registry(&mut text, &self.database())?;
        let process = process::registry(self.begun);
        prometheus_client::encoding::text::encode(&mut text, &process)?;
        Ok(text)
    }
}

impl Probes for Metrics {
    fn ready(&self) -> Result<(), String> {
        self.process.ready()
    }

    fn restriction(&self) -> Option<String> {
        let room = self.process.space.reading();
        room.is_short().then(|| {
            format!(
                "the disk is full, {} are left: writes are refused, reads go on",
                Mib(room.available_bytes)
            )
        })
    }

    fn metrics(&self, format: MetricsFormat) -> String {
        match (self.encode(), format) {
            (Ok(text), MetricsFormat::OpenMetrics) => text,
            (Ok(text), MetricsFormat::Text) => text::without_open_metrics(&text),
            (Err(error), _) => format!("# metrics cannot be encoded: {error}\n"),
        }
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    registry.register(name, help, ConstGauge::new(value));
}

fn as_gauge(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
