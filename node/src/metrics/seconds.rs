//! Durations as histograms, all with the same buckets, so that one dashboard panel fits them all.

use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// From what a good disk takes for a sync to more than a request may take (37 s), each 2.5 times the one before.
const FIRST_BUCKET_S: f64 = 0.0001;
const GROWTH: f64 = 2.5;
const BUCKETS: u16 = 15;

/// How long something took, each time; clones share what they count.
#[derive(Clone, Debug)]
pub struct Seconds(Histogram);

impl Default for Seconds {
    fn default() -> Self {
        Seconds(Histogram::new(exponential_buckets(FIRST_BUCKET_S, GROWTH, BUCKETS)))
    }
}

impl Seconds {
    pub fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }

    /// For a registry.
    pub fn histogram(&self) -> Histogram {
        self.0.clone()
    }
}
