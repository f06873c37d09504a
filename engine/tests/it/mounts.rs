//! Which backend mounts, and who is told (row CTL-04).

use lamina_engine::EngineOptions;
use lamina_engine::SnapshotterKind;
use lamina_snapshotter::Backend;
use lamina_solver::Event;

use crate::engine::build;
use crate::engine::chain;
use crate::engine::request;
use crate::fixture;
use crate::harness::Outcome;

/// The words of clients for them, and whether builds begin with a line about them.
const BACKENDS: [(Backend, &str, bool); 3] = [
    (Backend::Overlay, "overlayfs", false),
    (Backend::Fuse, "fuse-overlayfs", true),
    (Backend::Copy, "native", true),
];

pub(crate) fn slower_ones_are_announced() -> Outcome {
    let mut lacking = Vec::new();
    for (kind, wanted) in [
        (SnapshotterKind::Auto, None),
        (SnapshotterKind::Overlay, Some(Backend::Overlay)),
        (SnapshotterKind::Fuse, Some(Backend::Fuse)),
        (SnapshotterKind::Copy, Some(Backend::Copy)),
    ] {
        if let Err(reason) = fixture::block_on(check(kind, wanted)) {
            lacking.push(reason);
        }
    }
    match lacking.is_empty() {
        true => Outcome::Passed,
        false => Outcome::Skipped(lacking.join("; ")),
    }
}

/// Checks one of them; `Err` = what it lacks here.
async fn check(kind: SnapshotterKind, wanted: Option<Backend>) -> Result<(), String> {
    let dir = fixture::temporary();
    let options = EngineOptions {
        snapshotter: kind,
        ..fixture::options(dir.path())
    };
    let engine = fixture::open(options).await?;
    let chosen = engine.mounts();
    assert!(
        wanted.is_none_or(|wanted| chosen.backend == wanted),
        "{kind:?}"
    );
    let row = BACKENDS.iter().find(|row| row.0 == chosen.backend);
    let (backend, word, slower) = *row.expect("all are there");
    let workers = engine.workers(&[]).expect("no filter");
    let label = |name: &str| workers[0].labels.get(name).map(String::as_str);
    let name = "org.mobyproject.buildkit.worker.snapshotter";
    assert_eq!(label(name), Some(word));
    let reason = chosen.reason();
    assert_eq!(label("lamina.snapshotter.reason"), Some(reason.as_str()));
    let (built, events) = build(&engine, request(chain(1, 0))).await;
    built.map(drop).expect("builds");
    let start = format!("[internal] slower mounts: {backend}");
    let line = announced(&events);
    assert_eq!(line.is_some_and(|line| line.starts_with(&start)), slower);
    assert_eq!(line.is_some(), slower);
    Ok(())
}

/// Returns the line about mounts, if it is the first of the build.
fn announced(events: &[Event]) -> Option<&str> {
    match events.first() {
        Some(Event::Vertex(vertex)) if vertex.name.contains("slower mounts") => Some(&vertex.name),
        _ => None,
    }
}
