//! The state folder: its owner, its format, damage.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use std::time::Instant;
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

/// How long opening may take with many records, on an idle machine.
const OPENING: Duration = Duration::from_millis(100);

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

/// Figures of the daemon: from start to answering, also with many records.
pub(crate) fn opening_is_quick() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        if let Err(reason) = fixture::engine(dir.path()).await {
            return Outcome::Skipped(reason);
        }
        let path = dir.path().join("root/meta.redb");
        fill(&path, 100_000).await;
        let started = Instant::now();
        let engine = fixture::engine(dir.path()).await.expect("opens");
        let opened = started.elapsed();
        let workers = engine.workers(&[]).expect("no filter");
        let ratio = fixture::figure("start with 100,000 records", opened, OPENING);
        assert_eq!(workers.len(), 1);
        assert!(ratio < 20.0, "{opened:?}");
        Outcome::Passed
    })
}

async fn fill(path: &Path, count: u32) {
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
