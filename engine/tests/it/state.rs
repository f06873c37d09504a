//! The state folder: its owner, its format, damage.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::SystemTime;

use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_solver::CacheStore;
use lamina_solver::KeyId;
use lamina_solver::Record;
use lamina_solver::RedbCache;
use lamina_types::Digest;

use crate::fixture;
use crate::harness::Outcome;

/// What opening reads beside the database.
const READ_ELSEWHERE_BYTES: u64 = 1 << 20;

pub(crate) fn one_owner_at_a_time() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let first = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let (waits, told) = channel();
        let options = EngineOptions {
            on_wait: Some(Box::new(move || waits.send(()).expect("the test listens"))),
            ..fixture::options(dir.path())
        };
        let second = tokio::spawn(Engine::open(options));
        tokio::task::block_in_place(|| told.recv()).expect("the second waits");
        assert!(!second.is_finished());
        drop(first);
        second
            .await
            .expect("no panic")
            .expect("the second gets the folder");
        Outcome::Passed
    })
}

/// Others see nothing of it (CVE-2024-25621).
pub(crate) fn the_folders_are_private() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let run = fs::read_dir(dir.path().join("run")).expect("a folder");
        let folders = run.map(|entry| entry.expect("an entry").path());
        for folder in folders.chain([dir.path().join("root")]) {
            let mode = folder.metadata().expect("described").permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{}", folder.display());
        }
        drop(engine);
        Outcome::Passed
    })
}

pub(crate) fn damage_and_foreign_formats() -> Outcome {
    let dir = fixture::temporary();
    let root = dir.path().join("root");
    fixture::block_on(async {
        if let Err(reason) = fixture::engine(dir.path()).await {
            return Outcome::Skipped(reason);
        }
        assert!(
            fs::read_dir(dir.path().join("run"))
                .expect("a folder")
                .next()
                .is_none()
        );
        fs::write(root.join("meta.redb"), b"no database").expect("a file");
        fixture::engine(dir.path())
            .await
            .expect("a damaged cache is an empty cache");
        for (format, error) in [
            ("{", "the file \"format\" is damaged"),
            (
                r#"{"version":2,"xattrs":"trusted"}"#,
                "the state folder has version 2",
            ),
            (
                r#"{"version":1,"xattrs":"odd"}"#,
                "the state folder was made with odd xattrs",
            ),
        ] {
            fs::write(root.join("format"), format).expect("a file");
            let refused = Engine::open(fixture::options(dir.path())).await;
            let refused = refused.err().expect("refused").to_string();
            assert!(refused.contains(error), "{refused}");
        }
        Outcome::Passed
    })
}

/// What is known of earlier builds is not read twice.
pub(crate) fn opening_reads_the_database_once() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        if let Err(reason) = fixture::engine(dir.path()).await {
            return Outcome::Skipped(reason);
        }
        let path = dir.path().join("root/meta.redb");
        fill(&path, 20_000).await;
        let size = path.metadata().expect("described").len();
        let before = bytes_read();
        let engine = fixture::engine(dir.path()).await.expect("opens");
        assert_eq!(engine.workers(&[]).expect("no filter").len(), 1);
        let read = bytes_read() - before;
        assert!(read < size + READ_ELSEWHERE_BYTES, "{read} bytes of {size}");
        Outcome::Passed
    })
}

/// Returns how much this process has read so far.
fn bytes_read() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("counted");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.expect("counted").parse().expect("a number")
}

/// Adds records to the database of an engine that is not open.
pub(crate) async fn fill(path: &Path, count: u32) {
    let database = redb::Database::create(path).expect("a database");
    let cache = RedbCache::new(Arc::new(database));
    for number in 0..count {
        let digest = Digest::of(&number.to_le_bytes());
        let record = Record {
            data: vec![1, 0, 0, 0, 0],
            created: SystemTime::now(),
        };
        cache.add_record(KeyId::content(digest), &record);
    }
    cache.flush().await.expect("written");
}
