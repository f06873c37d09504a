//! What takes space, and giving it back (rows CTL-06 to CTL-13, CFG-07, CFG-08, CFG-15).
//!
//! Three things take space: layers, with the blobs that they came from or were exported as, also those
//! that sources keep; cache directories; and what was fetched of repositories. Sizes are known from when
//! a layer was sealed. An *inventory* describes everything at one moment, a *rule* says what may go,
//! and a prune removes it from the top of the results downwards.

mod content;
mod error;
mod gc;
mod graph;
mod inventory;
mod item;
mod policy;
mod prune;
mod room;
mod service;
mod uses;

use std::sync::Arc;

use lamina_content::ContentStore;
use lamina_llb::CacheMounts;
use lamina_snapshotter::SnapshotStore;
use lamina_solver::RedbCache;
use lamina_sources::GitRepositories;
use redb::Database;
use tokio::sync::OwnedRwLockReadGuard;
use tokio::sync::RwLock;

pub use error::UsageError;

pub(crate) use policy::policy_message;
pub(crate) use uses::LayerUses;
pub(crate) use uses::NotedResults;

use crate::GcOptions;
use crate::GcPolicy;
use gc::Schedule;
use policy::DiskSpace;

/// Disk usage of an engine.
pub(crate) struct Usage {
    stores: Arc<Stores>,
    policies: Vec<GcPolicy>,
    /// Two prunes at once would only get in each other's way.
    pruning: Arc<tokio::sync::Mutex<()>>,
    schedule: Schedule,
}

/// Where things are kept.
pub(crate) struct Stores {
    pub(crate) snapshots: SnapshotStore,
    pub(crate) content: ContentStore,
    pub(crate) cache: Arc<RedbCache>,
    pub(crate) cache_mounts: CacheMounts,
    pub(crate) repositories: GitRepositories,
    pub(crate) uses: Arc<LayerUses>,
    /// Held for reading by every build that runs.
    pub(crate) builds: Arc<RwLock<()>>,
}

impl Stores {
    /// Returns the size of the disk with the layers; nothing if it cannot be told.
    fn disk(&self) -> DiskSpace {
        let Ok(stat) = rustix::fs::statvfs(self.snapshots.path()) else {
            return DiskSpace::default();
        };
        DiskSpace {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bfree.saturating_mul(stat.f_frsize),
        }
    }
}

impl Usage {
    pub(crate) fn new(stores: Stores, options: &GcOptions) -> Self {
        Self {
            policies: policy::resolve(options, stores.disk()),
            stores: Arc::new(stores),
            pruning: Arc::default(),
            schedule: Schedule::default(),
        }
    }

    /// Makes the book of uses over the engine's database.
    pub(crate) fn uses(database: Arc<Database>) -> Arc<LayerUses> {
        Arc::new(LayerUses::new(database))
    }

    /// Returns the rules of automatic collection.
    pub(crate) fn policies(&self) -> &[GcPolicy] {
        &self.policies
    }

    /// Registers a build that begins; blobs stay as long as the guard lives.
    pub(crate) async fn build_begins(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.stores.builds).read_owned().await
    }
}
