//! What clients may ask about disk usage.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use lamina_proto::control;
use lamina_snapshotter::StoreCheck;
use lamina_types::CancelToken;
use tokio::sync::mpsc;

use super::Stores;
use super::UsageError;
use super::inventory::Inventory;
use super::prune;
use crate::Engine;
use crate::GcPolicy;
use crate::filter::Filters;

impl Engine {
    /// Returns what takes space (rows CTL-06 to CTL-09).
    ///
    /// # Errors
    /// [`UsageError::Filter`]; [`UsageError::Negative`] for an age below 0.
    pub async fn disk_usage(
        &self,
        request: &control::DiskUsageRequest,
    ) -> Result<Vec<control::UsageRecord>, UsageError> {
        let filters = Filters::parse(&request.filter)?;
        let age = nanoseconds("ageLimit", request.age_limit)?;
        let youngest = SystemTime::now().checked_sub(age);
        let work = move |stores: &Stores, _: &CancelToken| {
            let mut items = Inventory::take(stores).items;
            items.retain(|item| {
                let old = age.is_zero() || youngest.is_some_and(|limit| item.idle_since <= limit);
                old && filters.match_fields(item)
            });
            Ok(items.into_iter().map(|item| item.record).collect())
        };
        self.with_stores(&CancelToken::new(), work).await
    }

    /// Compares all layers with what they were sealed with. Those that are damaged and not in use are
    /// removed, so that the steps which made them run again; the database and blobs stay.
    ///
    /// # Errors
    /// [`UsageError::Layers`] if layers cannot be removed; [`UsageError::Blocking`] at a cancel.
    pub async fn check_layers(&self, cancel: &CancelToken) -> Result<StoreCheck, UsageError> {
        let work = |stores: &Stores, cancel: &CancelToken| Ok(stores.snapshots.check(cancel)?);
        self.with_stores(cancel, work).await
    }

    /// Removes what is not needed, telling each record as it goes (rows CTL-10 to CTL-13). When the
    /// receiver is dropped, or this future is, no more is removed.
    ///
    /// # Errors
    /// [`UsageError::Filter`]; [`UsageError::Negative`]; trouble with deleting blobs.
    pub async fn prune(
        &self,
        request: &control::PruneRequest,
        removed: mpsc::Sender<control::UsageRecord>,
    ) -> Result<(), UsageError> {
        let rule = GcPolicy {
            all: request.all,
            filters: request.filter.clone(),
            keep_duration: nanoseconds("keepDuration", request.keep_duration)?,
            reserved_space: bytes("reservedSpace", request.reserved_space)?,
            max_used_space: bytes("maxUsedSpace", request.max_used_space)?,
            min_free_space: bytes("minFreeSpace", request.min_free_space)?,
        };
        self.collect(rule, move |record| removed.blocking_send(record).is_ok())
            .await
    }

    /// Removes what a rule lets go.
    pub(super) async fn collect(
        &self,
        rule: GcPolicy,
        mut removed: impl FnMut(control::UsageRecord) -> bool + Send + 'static,
    ) -> Result<(), UsageError> {
        let _alone = self.0.usage.pruning.lock().await;
        let work = move |stores: &Stores, cancel: &CancelToken| {
            prune::prune(stores, &rule, &mut removed, cancel)
        };
        let any = self.with_stores(&CancelToken::new(), work).await?;
        if any {
            self.sweep_links().await?;
        }
        Ok(())
    }

    /// Drops keys that lead to nothing any more (row CTL-13), unless a build runs.
    async fn sweep_links(&self) -> Result<(), UsageError> {
        if let Err(error) = self.0.cache.flush().await {
            tracing::warn!(%error, "keys without results are kept");
            return Ok(());
        }
        let sweep = |stores: &Stores, _: &CancelToken| {
            let Ok(_no_builds) = stores.builds.try_write() else {
                return Ok(());
            };
            match stores.cache.sweep_links() {
                Ok(removed) => tracing::debug!(removed, "keys without results are gone"),
                Err(error) => tracing::warn!(%error, "keys without results are kept"),
            }
            Ok(())
        };
        self.with_stores(&CancelToken::new(), sweep).await
    }

    /// Runs work on the stores where it may block.
    async fn with_stores<T: Send + 'static>(
        &self,
        cancel: &CancelToken,
        work: impl FnOnce(&Stores, &CancelToken) -> Result<T, UsageError> + Send + 'static,
    ) -> Result<T, UsageError> {
        let stores = Arc::clone(&self.0.usage.stores);
        let blocking = &self.0.services.blocking;
        blocking
            .run(cancel, move |cancel| work(&stores, cancel))
            .await
    }
}

fn nanoseconds(name: &'static str, value: i64) -> Result<Duration, UsageError> {
    bytes(name, value).map(Duration::from_nanos)
}

fn bytes(name: &'static str, value: i64) -> Result<u64, UsageError> {
    u64::try_from(value).map_err(|_| UsageError::Negative { name, value })
}
