//! The one door between waiting (tokio) and working (rayon).

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::sync::oneshot;

use crate::CancelToken;
use crate::Cancelled;

/// Runs work that blocks on files or burns CPU, on one pool of threads with bounded admission.
///
/// Clones share the pool. Work may itself use rayon's parallel iterators; they run on this pool.
#[derive(Clone)]
pub struct Blocking {
    pool: Arc<rayon::ThreadPool>,
    admission: Arc<Semaphore>,
}

/// Work did not return a result of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingError {
    /// Cancelled before it started.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Panicked; a bug of ours, reported as an internal error.
    #[error("internal error: {0}")]
    Panicked(String),
}

impl Blocking {
    /// Starts a pool of `threads` threads; at most that many pieces of work run at once.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("lamina-work-{index}"))
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Self {
            pool: Arc::new(pool),
            admission: Arc::new(Semaphore::new(threads.max(1))),
        })
    }

    /// Runs `work` on the pool and waits for it.
    ///
    /// The work gets a child token that is cancelled when this future is dropped, so abandoned work
    /// stops at its next check.
    ///
    /// # Errors
    /// The work's own error; [`Cancelled`] if `cancel` was cancelled before it started; a panic of
    /// the work as [`BlockingError::Panicked`].
    pub async fn run<T, E, F>(&self, cancel: &CancelToken, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<BlockingError> + Send + 'static,
        F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
    {
        let permit = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(BlockingError::from(Cancelled).into()),
            permit = Arc::clone(&self.admission).acquire_owned() => permit.expect("never closed"),
        };
        let token = cancel.child();
        let guard = token.cancel_on_drop();
        let (sender, receiver) = oneshot::channel();
        self.pool.spawn(move || {
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| work(&token)));
            // The receiver is gone if the waiter left; its token told the work so. Dropping what it
            // would have got is work as well.
            drop(sender.send(result));
            drop(permit);
        });
        let result = receiver.await;
        drop(guard);
        match result {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(BlockingError::Panicked(panic_text(panic.as_ref())).into()),
            Err(_) => Err(BlockingError::Panicked("worker thread lost".to_owned()).into()),
        }
    }

    /// Waits until no work runs, also none that nobody waits for any more. To be called when nothing
    /// begins any more: work that comes later waits for this.
    pub async fn idle(&self) {
        let all = u32::try_from(self.pool.current_num_threads().max(1)).unwrap_or(u32::MAX);
        let permits = self.admission.acquire_many(all).await;
        drop(permits.expect("never closed"));
    }
}

/// Returns what a caught panic said, for reports of internal errors.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_errors_and_panics_come_back() {
        let blocking = Blocking::new(2).expect("threads start");
        let cancel = CancelToken::new();
        let ok: Result<u32, BlockingError> = blocking.run(&cancel, |_| Ok(7)).await;
        assert_eq!(ok.expect("succeeds"), 7);
        let panicked: Result<(), BlockingError> = blocking.run(&cancel, |_| panic!("ouch")).await;
        assert_eq!(
            panicked.expect_err("panics").to_string(),
            "internal error: ouch"
        );
    }

    #[tokio::test]
    async fn cancelled_work_never_starts() {
        let blocking = Blocking::new(1).expect("threads start");
        let cancel = CancelToken::new();
        cancel.cancel();
        let result: Result<(), BlockingError> = blocking
            .run(&cancel, |_| panic!("started although cancelled"))
            .await;
        assert!(matches!(result, Err(BlockingError::Cancelled(_))));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn abandoned_work_is_told_to_stop() {
        let blocking = Blocking::new(1).expect("threads start");
        let (stopped, told) = std::sync::mpsc::channel();
        let (started, running) = oneshot::channel();
        let work = tokio::spawn(async move {
            let result: Result<(), BlockingError> = blocking
                .run(&CancelToken::new(), move |token| {
                    started.send(()).expect("the test waits");
                    while !token.is_cancelled() {
                        std::thread::yield_now();
                    }
                    stopped.send(()).expect("the test waits");
                    Ok(())
                })
                .await;
            result
        });
        running.await.expect("work starts");
        work.abort();
        told.recv().expect("work stops");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn abandoned_work_and_its_result_are_waited_for() {
        struct Slow(Arc<std::sync::atomic::AtomicBool>);
        impl Drop for Slow {
            fn drop(&mut self) {
                std::thread::sleep(std::time::Duration::from_millis(100));
                self.0.store(true, std::sync::atomic::Ordering::Release);
            }
        }
        let blocking = Blocking::new(2).expect("threads start");
        let gone = Arc::new(std::sync::atomic::AtomicBool::default());
        let (started, running) = oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel();
        let work = tokio::spawn({
            let (blocking, slow) = (blocking.clone(), Slow(Arc::clone(&gone)));
            async move {
                let result: Result<Slow, BlockingError> = blocking
                    .run(&CancelToken::new(), move |_| {
                        started.send(()).expect("the test waits");
                        wait.recv().expect("the test says so");
                        Ok(slow)
                    })
                    .await;
                drop(result);
            }
        });
        running.await.expect("work starts");
        work.abort();
        assert!(work.await.expect_err("aborted").is_cancelled());
        go.send(()).expect("the work waits");
        blocking.idle().await;
        assert!(gone.load(std::sync::atomic::Ordering::Acquire));
    }
}
