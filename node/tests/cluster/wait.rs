//! Waiting with a deadline; nothing in these tests sleeps for a fixed time.

use std::future::Future;
use std::time::{Duration, Instant};

/// Nothing a test waits for takes this long unless it is broken, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// The longest a whole test may take.
const TEST_DEADLINE: Duration = Duration::from_secs(120);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Runs a test on a runtime of its own, which is not that of any member, and ends it at the deadline.
///
/// `RUST_LOG` shows what the members say; each one's threads carry its name.
pub fn run(test: impl Future<Output = ()>) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_thread_names(true);
    // Another test of this process may have been first.
    let _ = log.with_writer(std::io::stderr).try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(TEST_DEADLINE, test).await });
    runtime.shutdown_background();
    assert!(ended.is_ok(), "the test took longer than {TEST_DEADLINE:?}");
}

/// Waits until a check gives a value; an error says what was seen instead, and is shown when time is up.
pub async fn until<T, E, Check>(what: &str, mut check: impl FnMut() -> Check) -> T
where
    E: std::fmt::Debug,
    Check: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check().await {
            Ok(value) => return value,
            Err(seen) => assert!(Instant::now() < deadline, "not in time: {what}; last seen: {seen:?}"),
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// Whether a condition holds before the time is up.
#[allow(dead_code, reason = "not every suite asks")]
pub async fn becomes(condition: impl Fn() -> bool, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
    true
}

/// For the checks of [`until`]: an error unless the condition holds.
pub fn ensure(condition: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen()) }
}
