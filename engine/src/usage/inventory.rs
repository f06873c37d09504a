//! Everything that takes space, at one moment.

use std::collections::HashMap;
use std::time::SystemTime;

use lamina_content::ContentStore;
use lamina_llb::CacheMounts;
use lamina_llb::SnapshotResults;
use lamina_snapshotter::LayerBlob;
use lamina_snapshotter::SnapshotStore;
use lamina_solver::CacheStore;
use lamina_solver::KeyId;
use lamina_sources::GitRepositories;
use lamina_types::Digest;
use lamina_types::LayerId;

use super::Stores;
use super::graph::ResultGraph;
use super::item::Item;

/// A record of the cache, to be forgotten by these.
pub(super) type RecordKey = (KeyId, Vec<u8>);

/// What there is.
pub(super) struct Inventory {
    pub(super) items: Vec<Item>,
    pub(super) graph: ResultGraph<RecordKey>,
    /// Records of results without any layer, with the time when they were made.
    pub(super) empty: Vec<(RecordKey, SystemTime)>,
}

impl Inventory {
    /// Looks at everything. Blocks; nothing is walked but cache directories and repositories that were
    /// used since the last time.
    pub(super) fn take(stores: &Stores) -> Self {
        let (graph, empty) = results(&*stores.cache);
        let mut items = layers(&stores.snapshots, &stores.content, &graph, stores);
        items.extend(mounts(&stores.cache_mounts));
        items.extend(repositories(&stores.repositories));
        Self {
            items,
            graph,
            empty,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let private = self.items.iter().filter(|item| !item.record.shared);
        private.map(Item::bytes).sum()
    }
}

type Results = (ResultGraph<RecordKey>, Vec<(RecordKey, SystemTime)>);

fn results(cache: &dyn CacheStore) -> Results {
    let mut results: Vec<(SystemTime, RecordKey, Vec<LayerId>)> = Vec::new();
    let mut empty = Vec::new();
    cache.for_each_record(&mut |key, record| {
        let layers = SnapshotResults::layers_of(&record.data);
        let key = (key, record.data.clone());
        if layers.is_empty() {
            empty.push((key, record.created));
        } else {
            results.push((record.created, key, layers));
        }
    });
    // Of records of one moment, the shorter are what the longer are made of.
    results.sort_by_key(|(created, _, layers)| (*created, layers.len()));
    let results = results.into_iter().map(|(_, key, layers)| (key, layers));
    (ResultGraph::new(results), empty)
}

fn layers(
    snapshots: &SnapshotStore,
    content: &ContentStore,
    graph: &ResultGraph<RecordKey>,
    stores: &Stores,
) -> Vec<Item> {
    let uses = stores.uses.all();
    let mut counted: HashMap<Digest, u64> = HashMap::new();
    let layers = snapshots.usage().into_iter();
    layers
        .map(|layer| {
            let blobs = stored(content, &layer.blobs, &mut counted);
            let (parent, uses) = (graph.parent(layer.id), uses.get(&layer.id).copied());
            Item::layer(layer, parent, uses, &blobs)
        })
        .collect()
}

/// Returns the blobs of a layer that are there; one that several layers name counts once.
fn stored(
    content: &ContentStore,
    blobs: &[LayerBlob],
    counted: &mut HashMap<Digest, u64>,
) -> Vec<(Digest, u64)> {
    let mut found = Vec::new();
    for blob in blobs {
        let counts = counted.contains_key(&blob.digest);
        if let Ok(bytes) = content.size(&blob.digest) {
            counted.insert(blob.digest, bytes);
            found.push((blob.digest, if counts { 0 } else { bytes }));
        }
    }
    found
}

fn mounts(mounts: &CacheMounts) -> impl Iterator<Item = Item> {
    mounts.usage().into_iter().map(Item::cache_mount)
}

fn repositories(repositories: &GitRepositories) -> impl Iterator<Item = Item> {
    repositories.usage().into_iter().map(Item::repository)
}
