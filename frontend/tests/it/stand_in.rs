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
    let digest = format!("@sha256:{}", "0".repeat(64));
    let pinned = format!("docker/dockerfile{digest}");
    let tagged_and_pinned = format!("docker/dockerfile:1{digest}");
    let line = ("cmdline", "whatever");
    let replaced = ("context:docker/dockerfile:1", "docker-image://h/other");
    for (source, options, stands_in) in [
        ("docker/dockerfile:1", vec![line], true),
        ("docker/dockerfile", vec![line], true),
        ("docker.io/docker/dockerfile:1", vec![line], true),
        ("docker/dockerfile-upstream:x", vec![line], true),
        ("docker/dockerfile:1", vec![], false),
        ("docker/dockerfiles:1", vec![line], false),
        ("localhost/docker/dockerfile:1", vec![line], false),
        ("docker/dockerfile:1", vec![line, replaced], false),
        (&pinned, vec![line], false),
        (&tagged_and_pinned, vec![line], false),
    ] {
        build_without_images(source, &options, stands_in).await;
    }
}

/// Builds where no image can be had, and checks whether that works and what the user is told.
async fn build_without_images(source: &str, options: &[(&str, &str)], stands_in: bool) {
    let name = format!("{source} with {options:?}");
    let options = [&[("source", source)], options].concat();
    let bridge = RecordingBridge::of("#syntax=x\nFROM scratch\nCOPY a /\n", &options);
    let bridge = Arc::new(bridge);
    let frontend = GatewayFrontend::new(Arc::new(NoServer));
    let built = frontend.build(Arc::clone(&bridge) as Arc<dyn Bridge>).await;
    assert_eq!(built.is_ok(), stands_in, "{name}: {:?}", built.err());
    let warnings = bridge.warnings.lock().expect("unpoisoned");
    assert_eq!(
        warnings.len(),
        usize::from(stands_in),
        "{name}: {warnings:?}"
    );
    for warning in &*warnings {
        let short = format!("{source} cannot be had, the built-in frontend is used instead");
        assert_eq!(warning.short, short, "{name}");
        assert_eq!(warning.detail, ["no such image"], "{name}");
        let ranges = warning.ranges.iter();
        let lines: Vec<_> = ranges.map(|range| range.start.map(|at| at.line)).collect();
        assert_eq!(lines, [Some(1)], "{name}");
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
