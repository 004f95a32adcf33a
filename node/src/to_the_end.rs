//! Work that is not cut off where nobody waits for it any more.
//!
//! It runs where it is awaited: a task of its own costs a wake-up of another thread, which takes longer than most of what is done
//! here. Only what is left when it is dropped goes to a task.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::runtime::Handle;

type Work<T> = Pin<Box<dyn Future<Output = Result<T, Panicked>> + Send>>;

/// The work ended in a panic, which the log tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it failed: the log of the member says why")]
pub struct Panicked;

/// Runs work to its end, awaited or not; what was never polled is not begun, either.
pub fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> ToTheEnd<T> {
    let work = AssertUnwindSafe(work).catch_unwind();
    ToTheEnd {
        work: Some(Box::pin(work.map(|ended| ended.map_err(|_| Panicked)))),
        has_begun: false,
    }
}

/// See [`to_the_end`].
pub struct ToTheEnd<T: Send + 'static> {
    /// None where it has ended.
    work: Option<Work<T>>,
    has_begun: bool,
}

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.has_begun = true;
        let work = self.work.as_mut().expect("it is not polled behind its end");
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        let work = self.work.take().filter(|_| self.has_begun);
        // Without a runtime the process is at its end.
        if let Some(work) = work
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work.map(drop));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn what_is_dropped_in_the_middle_goes_on() {
        let (go_on, held) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let mut work = to_the_end(async move {
            let _ = held.await;
            let _ = done.send(());
        });
        assert!(futures::poll!(&mut work).is_pending());
        drop(work);
        go_on.send(()).unwrap();
        timeout(DEADLINE, is_done).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_awaited_runs_in_place_and_its_panic_stays_its_own() {
        let ran = tokio::spawn(async {
            let there = to_the_end(async { tokio::task::id() }).await;
            (Ok(tokio::task::id()), there)
        });
        let (here, there) = ran.await.unwrap();
        assert_eq!(here, there);
        assert_eq!(
            to_the_end(async { panic!("for the test") }).await,
            Err::<(), _>(Panicked)
        );
    }

    #[tokio::test]
    async fn what_was_never_polled_does_not_begin() {
        let (done, is_done) = oneshot::channel::<()>();
        drop(to_the_end(async move { done.send(()) }));
        assert!(timeout(DEADLINE, is_done).await.unwrap().is_err());
    }
}
