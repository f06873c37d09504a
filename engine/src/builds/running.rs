//! Which builds run, so that all of them can be stopped.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use lamina_llb::BuildError;
use lamina_types::CancelToken;
use tokio::sync::watch;

use crate::Engine;

/// gRPC's `UNAVAILABLE`: another daemon may take the build.
const UNAVAILABLE: i32 = 14;

const STOPPING: &str = "the daemon is stopping";

/// The builds of one engine that run.
#[derive(Default)]
pub(crate) struct RunningBuilds {
    stop: CancelToken,
    count: watch::Sender<usize>,
}

/// A build that runs; it has ended when this is dropped.
pub(super) struct RunningBuild(Arc<RunningBuilds>);

impl RunningBuilds {
    /// Counts a build, unless no more may begin.
    pub(super) fn begin(self: &Arc<Self>) -> Result<RunningBuild, BuildError> {
        self.count.send_modify(|count| *count += 1);
        let build = RunningBuild(Arc::clone(self));
        // After it was counted: who stops either sees the build or is seen by it.
        if self.stop.is_cancelled() {
            return Err(BuildError {
                code: Some(UNAVAILABLE),
                ..BuildError::new(STOPPING)
            });
        }
        Ok(build)
    }

    async fn stop(&self) {
        self.stop.cancel();
        let mut count = self.count.subscribe();
        // The sender lives as long as this.
        drop(count.wait_for(|count| *count == 0).await);
    }
}

impl RunningBuild {
    /// Does the work of the build, and cancels it when the engine stops. The error then says so
    /// (row NET-17).
    pub(super) async fn run<T>(
        &self,
        cancel: &CancelToken,
        work: impl Future<Output = Result<T, BuildError>>,
    ) -> Result<T, BuildError> {
        let mut work = pin!(work);
        tokio::select! {
            outcome = &mut work => return outcome,
            () = self.0.stop.cancelled() => cancel.cancel(),
        }
        work.await.map_err(|error| match error.cancelled {
            true => BuildError {
                message: format!("{}: {STOPPING}", error.message),
                ..error
            },
            false => error,
        })
    }
}

impl Drop for RunningBuild {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count -= 1);
    }
}

impl Engine {
    /// Cancels all builds and waits until each has its error and its record. No build begins from
    /// now on. [`Engine::settle`] waits for what is left of their steps.
    pub async fn stop(&self) {
        self.0.running.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use lamina_types::Cancelled;

    use super::*;

    #[tokio::test]
    async fn stopping_cancels_what_runs_and_lets_nothing_begin() {
        let builds = Arc::new(RunningBuilds::default());
        let (one, cancel) = (builds.begin().expect("may begin"), CancelToken::new());
        let work = tokio::spawn(async move {
            let until_cancelled = async {
                cancel.cancelled().await;
                Err::<(), _>(BuildError {
                    cancelled: true,
                    ..BuildError::new(Cancelled.to_string())
                })
            };
            one.run(&cancel, until_cancelled).await
        });
        builds.stop().await;
        let error = work.await.expect("no panic").expect_err("cancelled");
        assert_eq!(error.message, "context canceled: the daemon is stopping");
        let refused = builds.begin().err().expect("stopped");
        assert_eq!(refused.message, STOPPING);
        assert_eq!(*builds.count.borrow(), 0);
    }
}
