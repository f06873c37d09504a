//! Collecting by itself after builds (row CFG-15).

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use lamina_types::Blocking;
use lamina_types::CancelToken;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Usage;
use super::UsageError;
use crate::Engine;

/// At most one collection starts in this time.
const PAUSE: Duration = Duration::from_secs(60);

/// When collections ran and run.
#[derive(Default)]
pub(super) struct Schedule(Mutex<Times>);

#[derive(Default)]
struct Times {
    last: Option<Instant>,
    next: Option<JoinHandle<()>>,
}

impl Engine {
    /// To be called after each build: collects now, or when a minute has passed since the last time.
    pub(crate) fn build_ended(&self) {
        let mut times = self
            .0
            .usage
            .schedule
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_planned = times.next.as_ref().is_some_and(|next| !next.is_finished());
        if self.0.usage.policies.is_empty() || is_planned {
            return;
        }
        let now = Instant::now();
        let start = times.last.map_or(now, |last| now.max(last + PAUSE));
        times.last = Some(start);
        // Waiting must not keep the engine from being dropped.
        let engine = Arc::downgrade(&self.0);
        times.next = Some(tokio::spawn(async move {
            tokio::time::sleep_until(start).await;
            if let Some(engine) = engine.upgrade().map(Self) {
                engine.collect_by_policies().await;
            }
        }));
    }

    async fn collect_by_policies(&self) {
        for rule in self.0.usage.policies.clone() {
            let removed = |record: lamina_proto::control::UsageRecord| {
                tracing::debug!(id = record.id, size = record.size, "collected");
                true
            };
            if let Err(error) = self.collect(rule, removed).await {
                tracing::warn!(%error, "the cache could not be collected");
            }
        }
    }
}

impl Usage {
    /// Writes down what is only in memory; ends a collection that waits for its time, and waits for
    /// what is being deleted.
    pub(crate) async fn settled(&self, blocking: &Blocking) {
        let next = {
            let mut times = self
                .schedule
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            times.next.take()
        };
        if let Some(next) = next {
            next.abort();
            drop(next.await);
        }
        // One small transaction at the end of the process.
        self.stores.uses.write(&[]);
        let snapshots = self.stores.snapshots.clone();
        let deleting = move |_: &CancelToken| {
            snapshots.finish_deleting();
            Ok::<_, UsageError>(())
        };
        if let Err(error) = blocking.run(&CancelToken::new(), deleting).await {
            tracing::warn!(%error, "not everything is deleted yet");
        }
    }
}
