//! The state folder: its owner, its format, damage.

use std::fs;
use std::sync::mpsc::channel;

use lamina_daemon::Engine;
use lamina_daemon::EngineOptions;

use crate::fixture;
use crate::harness::Outcome;

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
            let refused = fixture::engine(dir.path()).await.err().expect("refused");
            assert!(refused.contains(error), "{refused}");
        }
        Outcome::Passed
    })
}
