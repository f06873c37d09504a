//! Cache directories on disk: what is kept, what is swept, what seeds them.

use std::fs;
use std::io::Write;

use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::XattrNamespace;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use super::*;

fn key(id: &str) -> CacheKey {
    CacheKey {
        id: id.to_owned(),
        seed: None,
    }
}

async fn acquire(mounts: &CacheMounts, key: &CacheKey, seed: &LayerStack) -> CacheDir {
    let blocking = Blocking::new(1).expect("threads start");
    let cancel = CancelToken::new();
    let told = (&Progress::default(), &cancel);
    let acquired = mounts.acquire(key, CacheSharing::Private, seed, &blocking, told);
    acquired.await.expect("a directory")
}

fn write(dir: &CacheDir, name: &str) {
    let dir = dir.open().expect("opens");
    let flags = OFlags::WRONLY | OFlags::CREATE;
    let file = rustix::fs::openat(dir, name, flags, Mode::RUSR).expect("a file");
    drop(file);
}

fn has(dir: &CacheDir, name: &str) -> bool {
    rustix::fs::statat(
        dir.open().expect("opens"),
        name,
        rustix::fs::AtFlags::empty(),
    )
    .is_ok()
}

#[tokio::test]
async fn what_is_written_outlives_the_process_and_damage_is_swept() {
    let folder = tempfile::tempdir().expect("a folder");
    let none = LayerStack::empty();
    let mounts = CacheMounts::open(folder.path()).expect("opens");
    write(&acquire(&mounts, &key("../../etc"), &none).await, "kept");
    drop(mounts);
    fs::create_dir_all(folder.path().join("tmp-9/fs")).expect("a folder");
    fs::create_dir_all(folder.path().join("7/fs")).expect("a folder");
    fs::create_dir_all(folder.path().join("8")).expect("a folder");
    fs::write(folder.path().join("8/key"), "{").expect("a file");
    fs::write(folder.path().join("stray"), "a plain file").expect("a file");
    let mounts = CacheMounts::open(folder.path()).expect("opens");
    let names = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(names, 1, "half-made and damaged directories are gone");
    assert!(has(
        &acquire(&mounts, &key("../../etc"), &none).await,
        "kept"
    ));
    assert!(!has(&acquire(&mounts, &key("other"), &none).await, "kept"));
}

#[tokio::test]
async fn emptied_directories_are_new_and_gone_when_nobody_uses_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let none = LayerStack::empty();
    let mounts = CacheMounts::open(folder.path()).expect("opens");
    let used = acquire(&mounts, &key("id"), &none).await;
    write(&used, "old");
    mounts.empty("id", false);
    assert!(has(&used, "old"), "a running step keeps its directory");
    let fresh = acquire(&mounts, &key("id"), &none).await;
    assert!(!has(&fresh, "old"));
    drop((used, fresh));
    mounts.empty("id", false);
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_seed_is_copied_and_never_linked() {
    let folder = tempfile::tempdir().expect("a folder");
    let cancel = CancelToken::new();
    let opened = SnapshotStore::open(&folder.path().join("layers"), XattrNamespace::User);
    let store = opened.expect("opens");
    let active = store.prepare(&LayerStack::empty()).expect("a layer");
    let root = active.writer().root().expect("a root");
    let mut file = root.create_file(b"seed", 0o644).expect("a file");
    file.write_all(b"seed").expect("written");
    drop((file, root));
    let seed = LayerStack::new([active.commit(&cancel).expect("sealed")]);
    let mounts = CacheMounts::open(&folder.path().join("mounts")).expect("opens");
    let seeded = CacheKey {
        seed: Some(
            seed.layers()
                .iter()
                .map(lamina_snapshotter::Layer::id)
                .collect(),
        ),
        ..key("id")
    };
    let dir = acquire(&mounts, &seeded, &seed)
        .await
        .open()
        .expect("opens");
    let stat = rustix::fs::statat(dir, "seed", rustix::fs::AtFlags::empty()).expect("is there");
    assert_eq!((stat.st_size, stat.st_nlink), (4, 1));
}

#[tokio::test]
async fn what_directories_take_is_counted_when_nobody_uses_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let none = LayerStack::empty();
    let mounts = CacheMounts::open(folder.path()).expect("opens");
    let used = acquire(&mounts, &key("id"), &none).await;
    fs::write(folder.path().join("0/fs/data"), [1; 10_000]).expect("a file");
    let usage = mounts.usage();
    assert!(usage[0].in_use);
    assert_eq!(usage[0].bytes, Some(0), "steps are writing to it");
    assert!(!mounts.remove(0));
    drop(used);
    let usage = mounts.usage();
    assert!(usage[0].bytes >= Some(10_000), "{usage:?}");
    assert_eq!((usage[0].id.as_str(), usage[0].uses.count), ("id", 1));
    drop(mounts);
    let mounts = CacheMounts::open(folder.path()).expect("opens again");
    assert_eq!(mounts.usage(), usage, "remembered across restarts");
    assert!(mounts.remove(0));
    assert!(mounts.usage().is_empty());
    assert!(!has(&acquire(&mounts, &key("id"), &none).await, "data"));
}
