//! The metrics of one member, read off its parts at each scrape; nothing is counted twice.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::http::Probes;
use crate::member::Process;
use crate::member::running::Running;
use crate::server::Connections;
use crate::space::{Mib, Reading};

/// A group of this member, as a label.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GroupLabel {
    group: String,
}

type PerGroup = Family<GroupLabel, Gauge<i64, std::sync::atomic::AtomicI64>>;

/// Answers the probes and gives the metrics.
pub struct Metrics {
    process: Arc<Process>,
}

impl Metrics {
    pub fn new(process: Arc<Process>) -> Self {
        Metrics { process }
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

    fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("kotoba");
        let ready = Gauge::<i64>::default();
        ready.set(i64::from(self.process.ready().is_ok()));
        registry.register("ready", "1 when this member serves clients", ready);
        disk(&mut registry, self.process.space.reading());
        connections(&mut registry, &self.process.client_connections);
        if let Some(running) = self.process.running() {
            groups(&mut registry, &running);
            cluster(&mut registry, &running);
        }
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(error) => format!("# metrics cannot be encoded: {error}\n"),
        }
    }
}

fn disk(registry: &mut Registry, room: Reading) {
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    gauge(
        "disk_free_bytes",
        "What the data of this member may still take, the ballast included",
        room.available_bytes,
    );
    gauge(
        "disk_reserve_bytes",
        "What is kept free: with less than that, clients' writes are refused",
        room.reserve_bytes,
    );
    gauge(
        "disk_full",
        "1 while clients' writes are refused for want of room",
        u64::from(room.is_short()),
    );
}

fn connections(registry: &mut Registry, clients: &Connections) {
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    gauge("client_connections", "Connections of clients", clients.open() as u64);
    gauge(
        "client_connections_max",
        "Connections of clients that are taken; more are refused",
        clients.max() as u64,
    );
    gauge(
        "client_connections_refused",
        "Connections of clients that were refused since the start",
        clients.refused(),
    );
}

fn groups(registry: &mut Registry, running: &Running) {
    let family = |registry: &mut Registry, name: &str, help: &str| {
        let family = PerGroup::default();
        registry.register(name, help, family.clone());
        family
    };
    let leading = family(registry, "raft_leading", "1 where the replica here leads its group");
    let term = family(registry, "raft_term", "Term of the group, as its replica here knows it");
    let last = family(
        registry,
        "raft_last_log_index",
        "Index of the last entry in the log here",
    );
    let applied = family(registry, "raft_applied_index", "Index of the last entry applied here");
    let durable = family(
        registry,
        "raft_durable_applied_index",
        "Index up to which the state here survives a loss of power",
    );
    let lag = family(
        registry,
        "raft_follower_lag_entries",
        "Entries that the slowest voter is behind; of leaders only",
    );
    for group in running.groups.list() {
        let seen = group.observe();
        let label = GroupLabel {
            group: seen.group.to_string(),
        };
        let set = |family: &PerGroup, value: u64| {
            family
                .get_or_create(&label)
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&leading, u64::from(seen.leader == Some(seen.replica)));
        set(&term, seen.term);
        set(&last, seen.last_log_index);
        set(&applied, seen.applied);
        set(&durable, seen.durable_applied);
        let matched = seen
            .progress
            .values()
            .map(|progress| progress.matched_index.unwrap_or(0))
            .min();
        if let Some(matched) = matched {
            set(&lag, seen.last_log_index.saturating_sub(matched));
        }
    }
}

fn cluster(registry: &mut Registry, running: &Running) {
    let catalogue = running.catalogue.get();
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    gauge(
        "members",
        "Members of the cluster, removed ones included",
        catalogue.members.len() as u64,
    );
    gauge(
        "moves_open",
        "Moves of replicas that have not ended",
        catalogue.moves.len() as u64,
    );
    gauge(
        "moves_finished",
        "Moves of replicas that have ended since the founding",
        catalogue.counters.moves_finished,
    );
    gauge(
        "balanced",
        "1 when the replicas are where placement wants them",
        u64::from(catalogue.is_balanced()),
    );
    gauge(
        "local_replicas",
        "Replicas of partitions on this member",
        running.partitions.all().len() as u64,
    );
}
