//! A state folder as long use leaves it.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use lamina_llb::SnapshotResults;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::XattrNamespace;
use lamina_solver::CacheStore as _;
use lamina_solver::KeyId;
use lamina_solver::Link;
use lamina_solver::Record;
use lamina_solver::RedbCache;
use lamina_solver::ResultStore as _;
use lamina_types::CancelToken;
use lamina_types::Digest;

use crate::Outcome;

/// Puts `records` cache records over `layers` layers into the state folder `root`, which no daemon
/// has used yet.
pub(crate) async fn fill(root: &Path, records: usize, layers: usize) -> Outcome<()> {
    std::fs::create_dir_all(root)?;
    let store = SnapshotStore::open(&root.join("layers"), XattrNamespace::Trusted)?;
    let stacks = make_layers(&store, layers)?;
    let database = Arc::new(redb::Database::create(root.join("meta.redb"))?);
    let cache = RedbCache::new(database);
    let results = SnapshotResults::new(store);
    for number in 0..records {
        let op = Digest::of(&number.to_le_bytes());
        let key = KeyId::root(op, 0);
        let above = KeyId::derived(op, 0, &[(key, None)]);
        let link = Link {
            input: 0,
            output: 0,
            op,
            selector: None,
        };
        cache.add_link(key, &link, above);
        let value = stacks[number % stacks.len()].clone().into();
        let record = Record {
            data: results.save(&value).await?,
            created: SystemTime::now(),
        };
        cache.add_record(above, &record);
    }
    Ok(cache.flush().await?)
}

/// Makes layers of one file each.
fn make_layers(store: &SnapshotStore, count: usize) -> Outcome<Vec<LayerStack>> {
    let mut stacks = Vec::new();
    for number in 0..count {
        let mut active = store.prepare(&LayerStack::empty())?;
        active.describe(format!("RUN /bin/sh -c make target-{number}"));
        let mut file = active.writer().root()?.create_file(b"file", 0o644)?;
        write!(file, "{number}")?;
        drop(file);
        stacks.push(LayerStack::new([active.commit(&CancelToken::new())?]));
    }
    Ok(stacks)
}
