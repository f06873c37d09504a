//! Caches from elsewhere, as vertices see them (rows CSOL-12, CIM-05).
//!
//! A vertex looks in its own solver's table first, then in the imports of the builds that have it.
//! What an import knew of a path that was followed is written into the own table, and so is a
//! record that was used: the next build finds them without the import.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::SystemTime;

use crate::cell::Cell;
use crate::cell::Realised;
use crate::key::KeyId;
use crate::key::Link;
use crate::op::ResultStore;
use crate::store::CacheStore;
use crate::store::Record;

/// A cache from elsewhere. Nothing is written into it.
pub struct Import<V> {
    /// Its keys and records.
    pub cache: Arc<dyn CacheStore>,
    /// Fetches what a record names, at the first time that it is needed. An import that cannot be
    /// reached has no values.
    pub results: Arc<dyn ResultStore<V>>,
}

impl<V> std::fmt::Debug for Import<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import").finish_non_exhaustive()
    }
}

/// The imports that a vertex may use: as long as a build that brought them exists.
pub(crate) struct Imports<V>(Mutex<Vec<Weak<Import<V>>>>);

impl<V> Default for Imports<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V> Imports<V> {
    /// Adds those that are new.
    pub(crate) fn add(&self, imports: &[Arc<Import<V>>]) {
        if imports.is_empty() {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|import| import.strong_count() > 0);
        for import in imports {
            let is_same = |known: &Weak<Import<V>>| known.as_ptr() == Arc::as_ptr(import);
            if !known.iter().any(is_same) {
                known.push(Arc::downgrade(import));
            }
        }
    }

    fn live(&self) -> Vec<Arc<Import<V>>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(Weak::upgrade).collect()
    }
}

impl<V, C> Cell<V, C> {
    /// Returns the ids that `link` leads to from `from`, here or in an import.
    pub(crate) fn links(&self, from: KeyId, link: &Link) -> Vec<KeyId> {
        let cache = &self.shared.cache;
        let mut ids = cache.links(from, link);
        for import in self.imports.live() {
            for id in import.cache.links(from, link) {
                if !ids.contains(&id) {
                    cache.add_link(from, link, id);
                    ids.push(id);
                }
            }
        }
        ids
    }

    /// Returns when the latest record of an id was made: of the own ones, and of imported ones.
    pub(crate) fn latest(&self, id: KeyId) -> (Option<SystemTime>, Option<SystemTime>) {
        let latest = |records: Vec<Record>| records.first().map(|record| record.created);
        let imports = self.imports.live().into_iter();
        let imported = imports.filter_map(|import| latest(import.cache.records(id)));
        (latest(self.shared.cache.records(id)), imported.max())
    }
}

impl<V, C> Cell<V, C>
where
    V: Clone + Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    /// Loads the latest record that still has its value, preferably an own one; forgets those that
    /// have not.
    pub(crate) async fn load_record(&self, key: KeyId) -> Option<Realised<V>> {
        let (cache, results) = (&self.shared.cache, &self.shared.results);
        for record in cache.records(key) {
            if let Some(value) = results.load(&record.data).await {
                return Some(realised(value, key));
            }
            cache.forget(key, &record.data);
        }
        for import in self.imports.live() {
            for record in import.cache.records(key) {
                if let Some(value) = import.results.load(&record.data).await {
                    self.keep(key, &value, record.created).await;
                    return Some(realised(value, key));
                }
                import.cache.forget(key, &record.data);
            }
        }
        None
    }

    /// Writes an imported result down as an own one.
    async fn keep(&self, key: KeyId, value: &V, created: SystemTime) {
        match self.shared.results.save(value).await {
            Ok(data) => self.shared.cache.add_record(key, &Record { data, created }),
            Err(error) => tracing::warn!(%error, "imported result could not be kept"),
        }
    }
}

fn realised<V>(value: V, key: KeyId) -> Realised<V> {
    Realised {
        value,
        key,
        keys: Arc::from([key]),
    }
}
