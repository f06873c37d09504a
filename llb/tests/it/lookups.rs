//! Looking sources up (rows GW-09, GW-11, GW-13).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::ResolveSourceRequest;
use lamina_proto::pb;
use lamina_session::LocalSession;
use lamina_solver::Event;

use crate::harness::Outcome;
use crate::world;
use crate::world::World;

/// Looks one source up.
struct LooksUp(&'static str);

#[async_trait]
impl Frontend for LooksUp {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        let request = ResolveSourceRequest {
            source: pb::SourceOp {
                identifier: self.0.to_owned(),
                ..pb::SourceOp::default()
            },
            ..ResolveSourceRequest::default()
        };
        let resolved = bridge.resolve_source(request).await?;
        assert_eq!(resolved.source.identifier, self.0);
        Ok(BuildResult::default())
    }
}

/// Returns the error, and the names of the steps that were shown.
async fn look_up(world: &World, identifier: &'static str) -> (Option<String>, Vec<String>) {
    let session = Arc::new(LocalSession::builder().build());
    let (build, mut watcher) = world.build(session);
    let frontend = Arc::new(LooksUp(identifier));
    let result = build.run(frontend, BTreeMap::new(), BTreeMap::new()).await;
    drop(build);
    let mut names = Vec::new();
    while let Some(event) = watcher.recv().await {
        if let Event::Vertex(vertex) = event {
            names.push(vertex.name.clone());
        }
    }
    (result.err().map(|error| error.message), names)
}

/// A frontend that gets no answer for a source must not go on as if it had been looked up.
pub(crate) fn of_what_no_build_can_use_are_refused() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        for (identifier, refused) in [
            ("local://context", None),
            ("nosuch://x", Some("unknown scheme nosuch: not found")),
            ("plain", Some("failed to parse plain: expected scheme://..")),
            (
                "oci-layout+blob://user:token@h.test/a",
                Some(
                    "oci-layout+blob://xxxxx:xxxxx@h.test/a: sources of scheme oci-layout+blob \
                     are not supported yet",
                ),
            ),
        ] {
            let (error, steps) = look_up(&world, identifier).await;
            assert_eq!(error.as_deref(), refused);
            assert!(steps.is_empty(), "{identifier}: {steps:?}");
        }
    })
}

/// Not in errors and not in names (CVE-2023-26054, GHSA-gc89-7gcr-jxqc).
pub(crate) fn show_no_credentials() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        for (url, shown, place) in [
            (
                "http://user:secret@127.0.0.1:1/a",
                "http://xxxxx:xxxxx@127.0.0.1:1/a",
                "http://xxxxx:xxxxx@127.0.0.1:1/a",
            ),
            (
                "git://http://user:secret@127.0.0.1:1/a.git#x",
                "git://http://xxxxx:xxxxx@127.0.0.1:1/a.git#x",
                "http://127.0.0.1:1/a.git",
            ),
        ] {
            let (error, steps) = look_up(&world, url).await;
            let error = error.expect("nobody listens");
            assert!(error.contains(place), "{error}");
            assert!(!error.contains("secret"), "{error}");
            assert!(!steps.is_empty());
            for step in steps {
                assert_eq!(step, format!("resolve image config for {shown}"));
            }
        }
    })
}
