//! What was measured, as rows: one for each kind of operation, and one for all where there are several.

use kotoba_drive::{Measured, Times};

use super::work::Work;
use crate::cli::output::Record;

pub(super) fn records(measured: &Measured<Work>) -> Vec<Record> {
    let seconds = measured.took.as_secs_f64();
    let rows = measured.kinds.iter();
    let mut records: Vec<Record> = rows.map(|(kind, times)| record(kind.name(), times, seconds)).collect();
    if records.len() > 1 {
        records.push(record("all", &measured.all(), seconds));
    }
    records
}

fn record(operation: &'static str, times: &Times, seconds: f64) -> Record {
    let per_second = times.answered.len() as f64 / seconds;
    let record = Record::new()
        .field("operation", operation)
        .field("count", times.answered.len())
        .field("errors", times.errors)
        .field_as("seconds", seconds, format!("{seconds:.1}"))
        .field_as("per_s", per_second, format!("{per_second:.0}"));
    let quantiles = [
        ("p50_ms", 0.5),
        ("p90_ms", 0.9),
        ("p99_ms", 0.99),
        ("p99_9_ms", 0.999),
        ("max_ms", 1.0),
    ];
    quantiles.into_iter().fold(record, |record, (name, quantile)| {
        let millis = times.quantile_ms(quantile);
        record.field_as(name, millis, format!("{millis:.2}"))
    })
}
