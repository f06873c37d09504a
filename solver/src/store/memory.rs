//! A cache store that ends with the process.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

use super::CacheStore;
use super::Record;
use super::latest_first;
use crate::key::KeyId;
use crate::key::Link;

/// Keeps everything in maps.
#[derive(Default, Debug)]
pub struct MemoryCache(Mutex<Tables>);

#[derive(Default, Debug)]
struct Tables {
    links: HashMap<(KeyId, Link), BTreeSet<KeyId>>,
    records: HashMap<KeyId, BTreeMap<Vec<u8>, SystemTime>>,
}

impl MemoryCache {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheStore for MemoryCache {
    fn links(&self, from: KeyId, link: &Link) -> Vec<KeyId> {
        let tables = self.tables();
        let ids = tables.links.get(&(from, *link));
        ids.map_or_else(Vec::new, |ids| ids.iter().copied().collect())
    }

    fn add_link(&self, from: KeyId, link: &Link, to: KeyId) {
        self.tables()
            .links
            .entry((from, *link))
            .or_default()
            .insert(to);
    }

    fn records(&self, id: KeyId) -> Vec<Record> {
        let tables = self.tables();
        let stored = tables.records.get(&id).into_iter().flatten();
        let mut records: Vec<_> = stored.map(record).collect();
        latest_first(&mut records);
        records
    }

    fn add_record(&self, id: KeyId, record: &Record) {
        let mut tables = self.tables();
        let records = tables.records.entry(id).or_default();
        let created = records.entry(record.data.clone()).or_insert(record.created);
        *created = record.created.max(*created);
    }

    fn forget(&self, id: KeyId, data: &[u8]) {
        let mut tables = self.tables();
        if let Some(records) = tables.records.get_mut(&id) {
            records.remove(data);
            if records.is_empty() {
                tables.records.remove(&id);
            }
        }
    }

    fn for_each_record(&self, visit: &mut dyn FnMut(KeyId, &Record)) {
        let all: Vec<_> = {
            let tables = self.tables();
            let pairs = tables.records.iter();
            pairs
                .flat_map(|(id, records)| records.iter().map(|entry| (*id, record(entry))))
                .collect()
        };
        for (id, record) in &all {
            visit(*id, record);
        }
    }
}

fn record((data, created): (&Vec<u8>, &SystemTime)) -> Record {
    Record {
        data: data.clone(),
        created: *created,
    }
}
