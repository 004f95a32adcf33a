//! What the clients of this member asked, how long it took and how it ended; counted as it happens.

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tonic::Status;

use super::seconds::Seconds;

/// The calls of the client port that end by themselves.
pub const METHODS: [&str; 8] = [
    "ExecuteOperation",
    "ExecuteQuery",
    "GetHistory",
    "GetStatus",
    "CheckHealth",
    "JoinCluster",
    "LeaveCluster",
    "GetClusterConfig",
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FailureLabel {
    method: &'static str,
    code: String,
}

/// Counts of one member; clones share them.
#[derive(Clone, Debug)]
pub struct Requests {
    seconds: Family<MethodLabel, Histogram, fn() -> Histogram>,
    failed: Family<FailureLabel, Counter>,
    pub operations_processed: Counter,
    pub operations_failed: Counter,
    pub query_rows: Counter,
    pub event_subscribers: Gauge,
}

impl Default for Requests {
    fn default() -> Self {
        let seconds = Family::<MethodLabel, Histogram, fn() -> Histogram>::new_with_constructor(new_histogram);
        // Known from the start: a rate needs a zero to begin with.
        for method in METHODS {
            drop(seconds.get_or_create(&MethodLabel { method }));
        }
        Requests {
            seconds,
            failed: Family::default(),
            operations_processed: Counter::default(),
            operations_failed: Counter::default(),
            query_rows: Counter::default(),
            event_subscribers: Gauge::default(),
        }
    }
}

fn new_histogram() -> Histogram {
    Seconds::default().histogram()
}

impl Requests {
    /// Measures from now until it is dropped.
    pub fn begin(&self, method: &'static str) -> Timer {
        Timer {
            requests: self.clone(),
            method,
            begun: Instant::now(),
        }
    }

    pub fn failed(&self, method: &'static str, status: &Status) {
        let code = format!("{:?}", status.code());
        self.failed.get_or_create(&FailureLabel { method, code }).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "request_seconds",
            "Time that calls of clients took, streams until their end",
            self.seconds.clone(),
        );
        registry.register(
            "requests_failed",
            "Calls of clients that ended with an error, by its gRPC code",
            self.failed.clone(),
        );
        registry.register(
            "operations_processed",
            "Operations of clients that were applied",
            self.operations_processed.clone(),
        );
        registry.register(
            "operations_failed",
            "Operations of clients that were refused, or whose outcome is not known",
            self.operations_failed.clone(),
        );
        registry.register("query_rows", "Rows sent to clients", self.query_rows.clone());
        registry.register(
            "event_subscribers",
            "Clients that follow events at this member",
            self.event_subscribers.clone(),
        );
    }
}

/// A call under way.
pub struct Timer {
    requests: Requests,
    method: &'static str,
    begun: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        let label = MethodLabel { method: self.method };
        let took = self.begun.elapsed().as_secs_f64();
        self.requests.seconds.get_or_create(&label).observe(took);
    }
}
