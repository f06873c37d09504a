//! When and how often layers were used (row CTL-08).
//!
//! ```text
//! layer_uses   id of the layer  ->  last use in nanoseconds since 1970, number of uses
//! ```
//!
//! Kept in memory and written in one transaction now and then: a crash costs some order among what
//! is collected first, nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use async_trait::async_trait;
use lamina_llb::Snapshot;
use lamina_llb::SnapshotResults;
use lamina_solver::OpError;
use lamina_solver::ResultStore;
use lamina_solver::catch_damage;
use lamina_types::LayerId;
use redb::Database;
use redb::ReadableDatabase;
use redb::ReadableTable;
use redb::TableDefinition;
use redb::TableError;

use crate::flusher::Flusher;

const USES: TableDefinition<'_, u64, (u64, u64)> = TableDefinition::new("layer_uses");

/// The uses of one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LayerUse {
    last_ns: u64,
    pub(super) count: u64,
}

impl LayerUse {
    pub(super) fn last(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.last_ns)
    }
}

/// The uses of all layers.
pub(crate) struct LayerUses {
    database: Arc<Database>,
    /// Since the last write: the time of the last use, and how many there were.
    unwritten: Mutex<HashMap<LayerId, LayerUse>>,
}

impl LayerUses {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self {
            database,
            unwritten: Mutex::default(),
        }
    }

    /// Notes that a layer is used now.
    fn note(&self, layer: LayerId) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        let mut unwritten = self.unwritten();
        let uses = unwritten.entry(layer).or_default();
        uses.last_ns = u64::try_from(now).unwrap_or(u64::MAX);
        uses.count += 1;
    }

    /// Returns the uses of all layers.
    pub(super) fn all(&self) -> HashMap<LayerId, LayerUse> {
        let mut all = catch_damage(|| self.stored()).unwrap_or_else(|error| {
            tracing::warn!(%error, "it is not known when layers were used");
            HashMap::new()
        });
        for (layer, new) in &*self.unwritten() {
            add(all.entry(*layer).or_default(), *new);
        }
        all
    }

    fn stored(&self) -> Result<HashMap<LayerId, LayerUse>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(USES) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(HashMap::new()),
            table => table?,
        };
        let mut uses = HashMap::new();
        for entry in table.iter()? {
            let (layer, value) = entry?;
            let (last_ns, count) = value.value();
            uses.insert(LayerId(layer.value()), LayerUse { last_ns, count });
        }
        Ok(uses)
    }

    /// Writes what is new, and drops what is known of layers that `gone` names. Blocks.
    pub(super) fn write(&self, gone: &[LayerId]) {
        let mut new = std::mem::take(&mut *self.unwritten());
        for layer in gone {
            new.remove(layer);
        }
        if new.is_empty() && gone.is_empty() {
            return;
        }
        if let Err(error) = catch_damage(|| self.store(&new, gone)) {
            tracing::warn!(%error, "the use of layers could not be noted");
        }
    }

    fn store(&self, new: &HashMap<LayerId, LayerUse>, gone: &[LayerId]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(USES)?;
        for (layer, new) in new {
            let known = table.get(layer.0)?.map(|value| value.value());
            let mut uses = known.map_or_else(LayerUse::default, |(last_ns, count)| LayerUse {
                last_ns,
                count,
            });
            add(&mut uses, *new);
            table.insert(layer.0, (uses.last_ns, uses.count))?;
        }
        for layer in gone {
            table.remove(layer.0)?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    fn unwritten(&self) -> MutexGuard<'_, HashMap<LayerId, LayerUse>> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(uses: &mut LayerUse, new: LayerUse) {
    uses.last_ns = uses.last_ns.max(new.last_ns);
    uses.count = uses.count.saturating_add(new.count);
}

/// Results whose uses are noted: of each, the topmost layer, since the others are below it in
/// results of their own. New ones are brought to the disk in the background.
pub(crate) struct NotedResults {
    pub(crate) results: SnapshotResults,
    pub(crate) uses: Arc<LayerUses>,
    pub(crate) flusher: Arc<Flusher>,
}

impl NotedResults {
    fn note(&self, value: &Snapshot) {
        if let Some(top) = value.stack().layers().last() {
            self.uses.note(top.id());
        }
    }
}

#[async_trait]
impl ResultStore<Snapshot> for NotedResults {
    async fn save(&self, value: &Snapshot) -> Result<Vec<u8>, OpError> {
        self.note(value);
        self.flusher.layers_came();
        self.results.save(value).await
    }

    async fn load(&self, record: &[u8]) -> Option<Snapshot> {
        let value = self.results.load(record).await?;
        self.note(&value);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_add_up_across_writes_and_go_with_their_layers() {
        let dir = tempfile::tempdir().expect("a folder");
        let database = Database::create(dir.path().join("db")).expect("a database");
        let uses = LayerUses::new(Arc::new(database));
        assert!(uses.all().is_empty());
        for layer in [1, 2, 1] {
            uses.note(LayerId(layer));
        }
        uses.write(&[]);
        uses.note(LayerId(1));
        let all = uses.all();
        assert_eq!(all[&LayerId(1)].count, 3);
        assert_eq!(all[&LayerId(2)].count, 1);
        assert!(all[&LayerId(1)].last() >= all[&LayerId(2)].last());
        uses.write(&[LayerId(1)]);
        assert_eq!(uses.all().into_keys().collect::<Vec<_>>(), [LayerId(2)]);
    }
}
