//! Frontends that call frontends (rows CSOL-04, GW-15, GW-35, ERR-10).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::FrontendRequest;
use lamina_llb::ResultRefs;
use lamina_llb::Warning;
use lamina_proto::pb;
use lamina_session::LocalSession;
use lamina_solver::Event;
use lamina_types::Digest;
use lamina_types::Position;

use crate::graph;
use crate::graph::Ops;
use crate::harness::Outcome;
use crate::world;

/// Does what its option `do` says.
struct Obedient;

fn request(name: &str, what: &str) -> FrontendRequest {
    FrontendRequest {
        name: name.to_owned(),
        options: [
            ("do".to_owned(), what.to_owned()),
            ("source".to_owned(), "image/of/it".to_owned()),
        ]
        .into(),
        ..FrontendRequest::default()
    }
}

fn registered() -> BTreeMap<String, Arc<dyn Frontend>> {
    [("obedient.v0".to_owned(), Arc::new(Obedient) as _)].into()
}

#[async_trait]
impl Frontend for Obedient {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        match bridge.options().get("do").map(String::as_str) {
            Some("make") => {
                let mut ops = Ops::default();
                ops.add(
                    graph::file(vec![graph::mkfile("/made", b"inside", 0o644)]),
                    &[],
                );
                Ok(BuildResult {
                    refs: ResultRefs::Single(bridge.solve(ops.definition()).await?),
                    ..BuildResult::default()
                })
            }
            Some("fail") => Err(BuildError::new("it failed")),
            Some("unknown") => bridge.run_frontend(request("nope.v9", "make")).await,
            Some("endless") => bridge.run_frontend(request("obedient.v0", "endless")).await,
            Some("warn") => {
                bridge.warn(Digest::of(b"no vertex"), warning());
                Ok(BuildResult::default())
            }
            Some("panic") => panic!("a bug"),
            Some(what) => {
                let inner = what.trim_start_matches("call ");
                bridge.run_frontend(request("obedient.v0", inner)).await
            }
            None => Ok(BuildResult::default()),
        }
    }
}

fn warning() -> Warning {
    let position = |line| Some(pb::Position { line, character: 2 });
    Warning {
        short: "odd".to_owned(),
        detail: vec!["very".to_owned()],
        url: "u".to_owned(),
        source: Some(pb::SourceInfo {
            filename: "Dockerfile".to_owned(),
            data: b"FROM".to_vec(),
            ..pb::SourceInfo::default()
        }),
        ranges: vec![pb::Range {
            start: position(3),
            end: None,
        }],
        level: 1,
    }
}

pub(crate) fn nested_calls() -> Outcome {
    world::with(registered(), |world| async move {
        let build = world.plain_build();
        let options = request("", "call call make").options;
        let result = build
            .run(Arc::new(Obedient), options, BTreeMap::new())
            .await;
        let ResultRefs::Single(Some(reference)) = result.expect("built").refs else {
            panic!("one tree");
        };
        assert!(
            !build
                .evaluate(&reference)
                .await
                .expect("runs")
                .stack()
                .is_empty()
        );
    })
}

pub(crate) fn endless_calls_end() -> Outcome {
    world::with(registered(), |world| async move {
        let build = world.plain_build();
        let options = request("", "endless").options;
        let error = build
            .run(Arc::new(Obedient), options, BTreeMap::new())
            .await;
        let error = error.err().expect("too deep");
        assert_eq!(error.message, "frontends call each other more than 16 deep");
    })
}

pub(crate) fn errors_name_the_frontend() -> Outcome {
    world::with(registered(), |world| async move {
        let build = world.plain_build();
        for (what, message, named) in [
            ("fail", "it failed", true),
            ("call fail", "it failed", true),
            ("panic", "internal error: a bug", true),
            ("unknown", "invalid frontend: nope.v9", true),
        ] {
            let options = request("", what).options;
            let error = build
                .run_frontend("obedient.v0", options, BTreeMap::new())
                .await;
            let error = error.err().expect("fails");
            assert_eq!(error.message, message);
            let frontend = error
                .frontend
                .map(|frontend| (frontend.name, frontend.source));
            let expected = ("obedient.v0".to_owned(), "image/of/it".to_owned());
            assert_eq!(frontend, named.then_some(expected), "{what}");
        }
        let error = build
            .run_frontend("nope.v9", BTreeMap::new(), BTreeMap::new())
            .await;
        let error = error.err().expect("unknown");
        assert_eq!(error.message, "invalid frontend: nope.v9");
        assert!(error.frontend.is_none(), "none has run");
    })
}

pub(crate) fn warnings_are_events() -> Outcome {
    world::with(registered(), |world| async move {
        let (build, mut events) = world.build(Arc::new(LocalSession::builder().build()));
        let options = request("", "warn").options;
        let result = build
            .run(Arc::new(Obedient), options, BTreeMap::new())
            .await;
        drop(result.expect("built"));
        let Some(Event::Warning { vertex, warning }) = events.recv().await else {
            panic!("no warning");
        };
        assert_eq!(vertex, Digest::of(b"no vertex"));
        assert_eq!((warning.level, warning.short.as_str()), (1, "odd"));
        let file = warning.file.expect("a file");
        assert_eq!(
            (file.filename.as_str(), &file.data[..]),
            ("Dockerfile", &b"FROM"[..])
        );
        let start = Position {
            line: 3,
            character: 2,
        };
        assert_eq!(warning.ranges[0].start, start);
        assert_eq!(warning.ranges[0].end, Position::default());
    })
}
