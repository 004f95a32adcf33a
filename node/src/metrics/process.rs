//! The process as the kernel sees it, under the names that all of Prometheus' libraries use. Empty where there is no /proc.

use std::fs;
use std::time::SystemTime;

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::{as_gauge, gauge};

/// The kernel's unit of time in /proc, the same on all its architectures that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn registry(begun: SystemTime) -> Registry {
    let mut registry = Registry::default();
    let since_epoch = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let start = ConstGauge::new(since_epoch.as_secs_f64());
    registry.register(
        "process_start_time_seconds",
        "When the process began, since the epoch",
        start,
    );
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    if let Some(bytes) = memory_bytes(&read("/proc/self/status"), "VmRSS:") {
        let help = "Memory that the process occupies";
        gauge(&mut registry, "process_resident_memory_bytes", help, as_gauge(bytes));
    }
    if let Some(seconds) = cpu_seconds(&read("/proc/self/stat")) {
        let help = "Processor time that the process took";
        registry.register("process_cpu_seconds", help, ConstCounter::new(seconds));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The one that is open to count them is not counted.
        let count = open.count().saturating_sub(1);
        gauge(&mut registry, "process_open_fds", "Open files", as_gauge(count));
    }
    if let Some(most) = most_files(&read("/proc/self/limits")) {
        gauge(
            &mut registry,
            "process_max_fds",
            "Most files that may be open",
            as_gauge(most),
        );
    }
    registry
}

fn memory_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// User and system time are the 14th and 15th field; the second, the name, may itself hold blanks and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / TICKS_PER_SECOND)
}

/// None where it is unlimited.
fn most_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let status = "Name:\tkotoba\nVmSize:\t  900000 kB\nVmRSS:\t    2048 kB\n";
        assert_eq!(memory_bytes(status, "VmRSS:"), Some(2 << 20));
        let stat = "42 (odd ) name) S 1 42 42 0 -1 4194560 3 4 5 6 250 50 8 9 20 0 1 0 100 1 2";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(most_files(limits), Some(1024));
        assert_eq!(most_files("Max open files  unlimited  unlimited  files"), None);
    }

    #[test]
    fn what_is_no_such_table_gives_nothing() {
        assert_eq!(memory_bytes("", "VmRSS:"), None);
        assert_eq!(cpu_seconds("1 (x) S"), None);
        assert_eq!(most_files(""), None);
    }
}
