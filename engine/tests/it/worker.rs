//! What the engine says of itself: rows CTL-02 to CTL-05.

use lamina_engine::EngineOptions;
use lamina_snapshotter::Backend;
use lamina_types::Platform;

use crate::fixture;
use crate::harness::Outcome;

pub(crate) fn filters_choose() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let options = || EngineOptions {
            labels: [("own.label/x".to_owned(), "y".to_owned())].into(),
            ..fixture::options(dir.path())
        };
        let engine = match fixture::open(options()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let worker = engine.workers(&[]).expect("no filter").remove(0);
        let label = |name: &str| {
            let name = format!("org.mobyproject.buildkit.worker.{name}");
            worker.labels.get(&name).map(String::as_str)
        };
        assert_eq!(label("executor"), Some("oci"));
        let snapshotter = match engine.mounts().backend {
            Backend::Overlay => "overlayfs",
            Backend::Fuse => "fuse-overlayfs",
            Backend::Copy => "native",
        };
        assert_eq!(label("snapshotter"), Some(snapshotter));
        assert_eq!(label("oci.process-mode"), Some("sandbox"));
        assert!(label("hostname").is_some() && label("selinux.enabled").is_some());
        assert_eq!(
            worker.labels.get("lamina.snapshotter.reason"),
            Some(&engine.mounts().reason())
        );
        let networks = engine.networks();
        assert_eq!(label("network"), Some(networks.label()));
        assert_eq!(
            worker.labels.get("lamina.network").map(String::as_str),
            Some(networks.description())
        );
        let host = Platform::host();
        let first = &worker.platforms[0];
        assert_eq!(
            (&first.os, &first.architecture),
            (&host.os, &host.architecture)
        );
        assert!(
            worker.gc_policy.is_empty(),
            "nothing is collected unless asked for"
        );
        for (filter, found) in [
            (format!("id=={}", worker.id), true),
            ("id==other".to_owned(), false),
            ("labels.\"own.label/x\"==y".to_owned(), true),
            (
                "labels.org.mobyproject.buildkit.worker.executor==oci".to_owned(),
                true,
            ),
        ] {
            let workers = engine
                .workers(std::slice::from_ref(&filter))
                .expect("a filter");
            assert_eq!(!workers.is_empty(), found, "{filter}");
        }
        engine.workers(&["==".to_owned()]).expect_err("no filter");
        drop(engine);
        let engine = fixture::open(options()).await.expect("opens again");
        let again = engine.workers(&[]).expect("no filter").remove(0);
        assert_eq!(again, worker, "also after a restart");
        Outcome::Passed
    })
}
