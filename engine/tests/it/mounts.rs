//! Which backend mounts, and who is told (row CTL-04).

use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_engine::SnapshotterKind;
use lamina_solver::Event;

use crate::engine::build;
use crate::engine::chain;
use crate::engine::request;
use crate::fixture;
use crate::harness::Outcome;

pub(crate) fn slower_ones_are_announced() -> Outcome {
    for (kind, label, notice) in [
        (SnapshotterKind::Auto, "overlayfs", None),
        (SnapshotterKind::Overlay, "overlayfs", None),
        (SnapshotterKind::Fuse, "fuse-overlayfs", Some("fuse")),
        (SnapshotterKind::Copy, "native", Some("copy")),
    ] {
        let dir = fixture::temporary();
        let options = EngineOptions {
            snapshotter: kind,
            ..fixture::options(dir.path())
        };
        let checked = fixture::block_on(async {
            let engine = match Engine::open(options).await {
                Ok(engine) => engine,
                Err(error) => return Err(error.to_string()),
            };
            let workers = engine.workers(&[]).expect("no filter");
            let labels = &workers[0].labels;
            let name = "org.mobyproject.buildkit.worker.snapshotter";
            assert_eq!(labels.get(name).map(String::as_str), Some(label));
            let reason = labels.get("lamina.snapshotter.reason");
            assert_eq!(reason, Some(&engine.mounts().reason()));
            let (built, events) = build(&engine, request(chain(1, 0))).await;
            built.map(drop).expect("builds");
            assert_eq!(announced(&events).is_some(), notice.is_some());
            if let Some(backend) = notice {
                let text = announced(&events).expect("a line");
                let start = format!("[internal] slower mounts: {backend}");
                assert!(text.starts_with(&start), "{text}");
            }
            Ok(())
        });
        if let Err(reason) = checked {
            return Outcome::Skipped(reason);
        }
    }
    Outcome::Passed
}

/// Returns the line about mounts, if it is the first of the build.
fn announced(events: &[Event]) -> Option<&str> {
    match events.first() {
        Some(Event::Vertex(vertex)) if vertex.name.contains("slower mounts") => Some(&vertex.name),
        _ => None,
    }
}
