//! The contract of cache stores, for both; and what survives.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::SystemTime;

use lamina_solver::CacheStore;
use lamina_solver::KeyId;
use lamina_solver::Link;
use lamina_solver::MemoryCache;
use lamina_solver::Record;
use lamina_solver::RedbCache;
use lamina_types::Digest;

use crate::cached::base;
use crate::world::World;
use crate::world::exec;
use crate::world::mkfile;

fn id(text: &str) -> KeyId {
    KeyId::content(Digest::of(text.as_bytes()))
}

fn link(input: u32) -> Link {
    Link {
        input,
        output: 0,
        op: Digest::of(b"op"),
        selector: None,
    }
}

fn record(data: &str, seconds: u64) -> Record {
    Record {
        data: data.as_bytes().to_vec(),
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
    }
}

fn open(path: &Path) -> RedbCache {
    RedbCache::new(Arc::new(redb::Database::create(path).expect("opened")))
}

/// Runs the checks on a store made by `$make`, which may be asked for it several times: it then
/// returns the same store, closed and opened again where it can be.
macro_rules! store_suite {
    ($($store:ident => $make:expr),+) => {$(
        mod $store {
            use super::*;

            store_suite!(@check $make;
                links_lead_where_they_were_made_to,
                records_come_latest_first,
                adding_again_keeps_the_later_time,
                forgotten_is_gone_until_added_again,
                all_records_are_visited
            );
        }
    )+};
    (@check $make:expr; $($check:ident),+) => {$(
        #[test]
        fn $check() {
            let folder = tempfile::tempdir().expect("a folder");
            let make: fn(&Path) -> Box<dyn CacheStore> = $make;
            super::$check(&*make(folder.path()));
        }
    )+};
}

store_suite! {
    memory => |_| Box::new(MemoryCache::new()),
    redb_queued => |folder| Box::new(open(&folder.join("db"))),
    redb_written => |folder| Box::new(Written(open(&folder.join("db"))))
}

/// Waits after each write until it is on disk.
struct Written(RedbCache);

impl Written {
    fn wait(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(self.0.flush()).expect("written");
    }
}

impl CacheStore for Written {
    fn links(&self, from: KeyId, link: &Link) -> Vec<KeyId> {
        self.0.links(from, link)
    }
    fn add_link(&self, from: KeyId, link: &Link, to: KeyId) {
        self.0.add_link(from, link, to);
        self.wait();
    }
    fn records(&self, id: KeyId) -> Vec<Record> {
        self.0.records(id)
    }
    fn add_record(&self, id: KeyId, record: &Record) {
        self.0.add_record(id, record);
        self.wait();
    }
    fn forget(&self, id: KeyId, data: &[u8]) {
        self.0.forget(id, data);
        self.wait();
    }
    fn for_each_record(&self, visit: &mut dyn FnMut(KeyId, &Record)) {
        self.0.for_each_record(visit);
    }
}

fn links_lead_where_they_were_made_to(store: &dyn CacheStore) {
    let [a, b, x, y] = ["a", "b", "x", "y"].map(id);
    assert_eq!(store.links(a, &link(0)), []);
    for (from, input, to) in [(a, 0, x), (a, 0, y), (a, 0, x), (b, 0, x), (a, 1, y)] {
        store.add_link(from, &link(input), to);
    }
    let mut both = [x, y];
    both.sort();
    assert_eq!(store.links(a, &link(0)), both);
    assert_eq!(store.links(b, &link(0)), [x]);
    assert_eq!(store.links(a, &link(1)), [y]);
    assert_eq!(store.links(b, &link(1)), []);
    let selected = Link {
        selector: Some(Digest::of(b"/a")),
        ..link(0)
    };
    assert_eq!(store.links(a, &selected), []);
}

fn records_come_latest_first(store: &dyn CacheStore) {
    let x = id("x");
    assert_eq!(store.records(x), []);
    for (data, time) in [("b", 2), ("c", 3), ("a", 2), ("", 1)] {
        store.add_record(x, &record(data, time));
    }
    store.add_record(id("y"), &record("y", 9));
    let sorted = [
        record("c", 3),
        record("b", 2),
        record("a", 2),
        record("", 1),
    ];
    assert_eq!(store.records(x), sorted);
}

fn adding_again_keeps_the_later_time(store: &dyn CacheStore) {
    let x = id("x");
    for time in [5, 7, 6] {
        store.add_record(x, &record("a", time));
    }
    assert_eq!(store.records(x), [record("a", 7)]);
}

fn forgotten_is_gone_until_added_again(store: &dyn CacheStore) {
    let x = id("x");
    store.forget(x, b"a");
    store.add_record(x, &record("a", 1));
    store.add_record(x, &record("b", 1));
    store.forget(x, b"a");
    assert_eq!(store.records(x), [record("b", 1)]);
    store.add_record(x, &record("a", 1));
    assert_eq!(store.records(x).len(), 2);
}

fn all_records_are_visited(store: &dyn CacheStore) {
    let expected: Vec<_> = (0..20)
        .map(|n| (id(&n.to_string()), record("r", n)))
        .collect();
    for (id, record) in &expected {
        store.add_record(*id, record);
    }
    store.add_record(id("gone"), &record("r", 0));
    store.forget(id("gone"), b"r");
    let mut seen = Vec::new();
    store.for_each_record(&mut |id, record| seen.push((id, record.clone())));
    seen.sort_by_key(|(_, record)| record.created);
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn what_was_flushed_or_dropped_is_there_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    let store = open(&path);
    store.add_record(id("x"), &record("a", 1));
    store.flush().await.expect("written");
    store.flush().await.expect("nothing to write");
    store.add_link(id("x"), &link(0), id("y"));
    drop(store);
    let store = open(&path);
    assert_eq!(store.records(id("x")), [record("a", 1)]);
    assert_eq!(store.links(id("x"), &link(0)), [id("y")]);
}

#[tokio::test]
async fn a_restarted_solver_finds_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    let graph = |build| exec("b", &exec("a", &base(build), &[], "1"), &[], "random");
    let state = Arc::default();
    let first = World::with(Arc::new(open(&path)), Arc::clone(&state), 4);
    let made = first.build(&graph(0)).await;
    assert_eq!(made.ran, ["a", "b", "base", "base-local"]);
    drop(first);
    let second = World::with(Arc::new(open(&path)), state, 4);
    let found = second.build(&graph(1)).await;
    assert_eq!(found.ran, ["base-local"]);
    assert_eq!(found.file("/b"), made.file("/b"));
}

#[tokio::test]
async fn a_new_solver_over_the_same_stores_finds_everything() {
    let world = World::new();
    let graph = |build| exec("a", &base(build), &[], "random");
    world.build(&graph(0)).await;
    assert_eq!(world.restarted().build(&graph(1)).await.ran, ["base-local"]);
}

/// What a kill leaves is what was written until then: some prefix of the writes to the file. It must
/// open, hold a prefix of the steps, and let the rest be built.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_only_the_end() {
    let file = File::default();
    let state = Arc::default();
    let world = World::with(Arc::new(file.open()), Arc::clone(&state), 4);
    let last = 120;
    for step in 0..=last {
        world.build(&chain(step)).await;
        tokio::task::spawn(async {}).await.expect("ended");
    }
    drop(world);
    let moments = std::mem::take(&mut file.0.lock().unwrap().copies);
    assert!(moments.len() > 30, "{} moments", moments.len());
    for (moment, data) in moments.into_iter().enumerate() {
        let file = File::default();
        file.0.lock().unwrap().data = data;
        let world = World::with(Arc::new(file.open()), Arc::clone(&state), 4);
        let mut ran = world.build(&chain(last)).await.ran;
        ran.sort_by_key(|name| name[1..].parse::<u64>().expect("a number"));
        let kept = last + 1 - u64::try_from(ran.len()).unwrap();
        let missing: Vec<_> = (kept..=last).map(|n| format!("s{n}")).collect();
        assert_eq!(ran, missing, "moment {moment}");
        assert!(
            world.build(&chain(last)).await.ran.is_empty(),
            "moment {moment}"
        );
    }
}

/// A file in memory that is copied before every third write.
#[derive(Clone, Default, Debug)]
struct File(Arc<Mutex<Moments>>);

#[derive(Default, Debug)]
struct Moments {
    data: Vec<u8>,
    writes: usize,
    bytes_read: u64,
    copies: Vec<Vec<u8>>,
}

impl File {
    fn database(&self) -> Arc<redb::Database> {
        let mut builder = redb::Database::builder();
        // What was read once is read again.
        builder.set_cache_size(0);
        Arc::new(builder.create_with_backend(self.clone()).expect("opened"))
    }

    fn open(&self) -> RedbCache {
        RedbCache::new(self.database())
    }
}

impl redb::StorageBackend for File {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.lock().unwrap().data.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let mut moments = self.0.lock().unwrap();
        out.copy_from_slice(&moments.data[start..start + out.len()]);
        moments.bytes_read += out.len() as u64;
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0
            .lock()
            .unwrap()
            .data
            .resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let mut moments = self.0.lock().unwrap();
        moments.writes += 1;
        if moments.writes.is_multiple_of(3) && moments.copies.len() < 100 {
            let copy = moments.data.clone();
            moments.copies.push(copy);
        }
        let start = usize::try_from(offset).unwrap();
        moments.data[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn chain(steps: u64) -> Arc<crate::world::Node> {
    let first = mkfile("s0", None, "/s0", "");
    (1..=steps).fold(first, |below, n| {
        mkfile(&format!("s{n}"), Some(&below), &format!("/s{n}"), "")
    })
}

/// What a store reads in order to begin and to find one record does not depend on what is inside. (The
/// database below it reads all of its pages where it was built for debugging.)
#[test]
fn many_records_cost_nothing_at_the_start() {
    let few = bytes_to_begin(200);
    let many = bytes_to_begin(20_000);
    // A tree of a hundred times as many is a level or two deeper, and a page has 4 KiB.
    assert!(
        few > 0 && many <= few + 4 * 4096,
        "{few} bytes, then {many}"
    );
}

/// Fills a store, and counts what the next one reads to begin and to find one record.
fn bytes_to_begin(records: u64) -> u64 {
    let file = File::default();
    let store = file.open();
    for n in 0..records {
        let key = id(&n.to_string());
        store.add_link(key, &link(0), key);
        store.add_record(key, &record("data", n));
    }
    drop(store);
    let database = file.database();
    let before = file.0.lock().unwrap().bytes_read;
    let store = RedbCache::new(database);
    assert_eq!(store.records(id("77")), [record("data", 77)]);
    let after = file.0.lock().unwrap().bytes_read;
    after - before
}
