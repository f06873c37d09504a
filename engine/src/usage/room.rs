//! Making room on a full disk, while builds run.

use std::sync::Arc;

use async_trait::async_trait;
use lamina_llb::MakeRoom;
use lamina_llb::Room;
use lamina_proto::control::UsageRecord;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use tokio::sync::Mutex;

use super::Stores;
use super::Usage;
use super::UsageError;
use super::inventory::Inventory;
use super::policy::DiskSpace;
use super::prune;
use crate::GcPolicy;

/// A step that found the disk full gets a tenth of it, and at least so much,
const LEAST_BYTES: u64 = 1_000_000_000;
const WANTED_PART: u64 = 10;
/// but the cache of others is not given up for more than half.
const LARGEST_PART: u64 = 2;

/// Removes what no build holds, what was used last at the end.
pub(crate) struct Evictor {
    stores: Arc<Stores>,
    pruning: Arc<Mutex<()>>,
    blocking: Blocking,
}

impl Usage {
    /// Returns what makes room; it works where `blocking` lets it.
    pub(crate) fn evictor(&self, blocking: Blocking) -> Evictor {
        Evictor {
            stores: Arc::clone(&self.stores),
            pruning: Arc::clone(&self.pruning),
            blocking,
        }
    }
}

#[async_trait]
impl MakeRoom for Evictor {
    async fn make_room(&self) -> Room {
        let _alone = self.pruning.lock().await;
        let stores = Arc::clone(&self.stores);
        let work = move |cancel: &CancelToken| Ok::<_, UsageError>(evict(&stores, cancel));
        let room = self.blocking.run(&CancelToken::new(), work).await;
        room.unwrap_or_else(|error| {
            tracing::warn!(%error, "no room could be made");
            Room::default()
        })
    }
}

fn evict(stores: &Stores, cancel: &CancelToken) -> Room {
    let before = stores.disk();
    let rule = GcPolicy {
        all: true,
        min_free_space: before.free.saturating_add(wanted_bytes(before)),
        ..GcPolicy::default()
    };
    let mut removed_bytes = 0;
    let mut note = |record: UsageRecord| {
        removed_bytes += u64::try_from(record.size).unwrap_or(0);
        true
    };
    if let Err(error) = prune::prune(stores, &rule, &mut note, cancel) {
        tracing::warn!(%error, "the cache could not be collected on a full disk");
    }
    stores.snapshots.finish_deleting();
    Room {
        path: stores.snapshots.path().display().to_string(),
        removed_bytes,
        free_bytes: stores.disk().free,
        kept_bytes: Inventory::take(stores).bytes(),
    }
}

fn wanted_bytes(disk: DiskSpace) -> u64 {
    let wanted = (disk.total / WANTED_PART).max(LEAST_BYTES);
    wanted.min(disk.total / LARGEST_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_room_is_made() {
        const GB: u64 = 1_000_000_000;
        for (name, total, wanted) in [
            ("a tiny disk", 64 << 20, 32 << 20),
            ("a small disk", 5 * GB, GB),
            ("a large disk", 500 * GB, 50 * GB),
        ] {
            let disk = DiskSpace { total, free: 0 };
            assert_eq!(wanted_bytes(disk), wanted, "{name}");
        }
    }
}
