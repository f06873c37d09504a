//! The built-in frontend in place of the published one (rows FDF-34, FGW-01, FGW-05).

use std::sync::Arc;

use async_trait::async_trait;
use lamina_frontend::GatewayFrontend;
use lamina_llb::Bridge;
use lamina_llb::BridgeServer;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend as _;
use lamina_llb::Pipe;

use crate::bridge::RecordingBridge;

/// Serves nobody: no program is ever run here.
struct NoServer;

#[async_trait]
impl BridgeServer for NoServer {
    async fn serve(&self, _: Arc<dyn Bridge>, _: Pipe) -> Option<Result<BuildResult, BuildError>> {
        None
    }
}

/// No image can be had here: some have a stand-in, under some conditions.
#[tokio::test]
async fn only_the_published_frontend_has_a_stand_in() {
    let line = ("cmdline", "whatever");
    let replaced = ("context:docker/dockerfile:1", "docker-image://h/other");
    for (name, source, options, stands_in) in [
        ("published", "docker/dockerfile:1", vec![line], true),
        ("without tag", "docker/dockerfile", vec![line], true),
        (
            "full name",
            "docker.io/docker/dockerfile:1",
            vec![line],
            true,
        ),
        ("upstream", "docker/dockerfile-upstream:x", vec![line], true),
        ("no syntax line", "docker/dockerfile:1", vec![], false),
        (
            "another repository",
            "docker/dockerfiles:1",
            vec![line],
            false,
        ),
        (
            "another host",
            "localhost/docker/dockerfile:1",
            vec![line],
            false,
        ),
        (
            "replaced",
            "docker/dockerfile:1",
            vec![line, replaced],
            false,
        ),
    ] {
        let options = [&[("source", source)], &options[..]].concat();
        let bridge = RecordingBridge::of("#syntax=x\nFROM scratch\nCOPY a /\n", &options);
        let bridge = Arc::new(bridge);
        let frontend = GatewayFrontend::new(Arc::new(NoServer));
        let built = frontend.build(Arc::clone(&bridge) as Arc<dyn Bridge>).await;
        assert_eq!(built.is_ok(), stands_in, "{name}: {:?}", built.err());
        let warnings = bridge.warnings.lock().expect("unpoisoned");
        let told: Vec<_> = warnings.iter().collect();
        assert_eq!(told.len(), usize::from(stands_in), "{name}: {told:?}");
        for warning in told {
            let short = format!("{source} cannot be had, the built-in frontend is used instead");
            assert_eq!(warning.short, short, "{name}");
            assert_eq!(warning.detail, ["no such image"], "{name}");
            let lines = warning
                .ranges
                .iter()
                .map(|range| range.start.map(|at| at.line));
            assert_eq!(lines.collect::<Vec<_>>(), [Some(1)], "{name}");
        }
    }
}

/// What rules forbid is not to be had in another way.
#[tokio::test]
async fn a_forbidden_image_has_no_stand_in() {
    let options = [("source", "docker/dockerfile:1"), ("cmdline", "x")];
    let mut bridge = RecordingBridge::of("FROM scratch\n", &options);
    bridge.forbids_images = true;
    let frontend = GatewayFrontend::new(Arc::new(NoServer));
    let error = frontend
        .build(Arc::new(bridge))
        .await
        .err()
        .expect("refused");
    assert_eq!(error.message, "denied");
}
