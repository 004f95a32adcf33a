//! Progress on stdout: one line per event, with the seconds since the program began.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static BEGAN: OnceLock<Instant> = OnceLock::new();

/// Starts the clock of the lines; later calls change nothing.
pub fn begin() {
    BEGAN.get_or_init(Instant::now);
}

/// Since the program began.
pub fn elapsed() -> Duration {
    BEGAN.get_or_init(Instant::now).elapsed()
}

/// One line of progress.
pub fn say(line: impl AsRef<str>) {
    println!("[{:7.1}s]   {}", elapsed().as_secs_f64(), line.as_ref());
}

/// One line that begins or ends a step.
pub fn headline(line: impl AsRef<str>) {
    println!("[{:7.1}s] {}", elapsed().as_secs_f64(), line.as_ref());
}

/// `83.4 s`, `12 ms`.
pub fn duration_text(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_the_unit_that_fits() {
        assert_eq!(duration_text(Duration::from_millis(12)), "12 ms");
        assert_eq!(duration_text(Duration::from_millis(83_400)), "83.4 s");
    }
}
