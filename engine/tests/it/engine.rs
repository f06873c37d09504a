//! Requests, exports, and what is left of an engine that was killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lamina_engine::BuildOutcome;
use lamina_engine::BuildRequest;
use lamina_engine::BuildSource;
use lamina_engine::Engine;
use lamina_engine::ExportRequest;
use lamina_llb::BuildError;
use lamina_llb::Entitlements;
use lamina_proto::pb;
use lamina_session::LocalSession;
use lamina_solver::Event;
use lamina_types::CancelToken;
use lamina_types::Digest;
use prost::Message;
use tokio::sync::mpsc::unbounded_channel;

use crate::fixture;
use crate::harness::Outcome;

/// First argument of this program when it is to be killed.
pub(crate) const VICTIM: &str = "victim";
const KILLS: u64 = 100;

/// A chain of steps that each write one file.
pub(crate) fn chain(length: usize, salt: u64) -> pb::Definition {
    let mut steps: Vec<Vec<u8>> = Vec::new();
    for step in 0..length {
        let data = format!("{salt} {step}").into_bytes();
        steps.push(mkfile(
            &step.to_string(),
            0o644,
            data,
            steps.last().map(Vec::as_slice),
        ));
    }
    definition(steps)
}

/// A step that writes the file `/name` into what the step `below` left.
pub(crate) fn mkfile(name: &str, mode: i32, data: Vec<u8>, below: Option<&[u8]>) -> Vec<u8> {
    let file = pb::FileActionMkFile {
        path: format!("/{name}"),
        mode,
        data,
        timestamp: -1,
        ..pb::FileActionMkFile::default()
    };
    let action = pb::FileAction {
        input: if below.is_some() { 0 } else { -1 },
        secondary_input: -1,
        output: 0,
        action: Some(pb::file_action::Action::Mkfile(file)),
    };
    let op = pb::FileOp {
        actions: vec![action],
    };
    step(pb::op::Op::File(op), below)
}

/// A step with one input, or none.
pub(crate) fn step(op: pb::op::Op, below: Option<&[u8]>) -> Vec<u8> {
    let step = pb::Op {
        inputs: below.map(input).into_iter().collect(),
        op: Some(op),
        ..pb::Op::default()
    };
    step.encode_to_vec()
}

fn input(step: &[u8]) -> pb::Input {
    pb::Input {
        digest: Digest::of(step).to_string(),
        index: 0,
    }
}

/// The definition whose result is that of the last step.
pub(crate) fn definition(mut steps: Vec<Vec<u8>>) -> pb::Definition {
    let terminal = pb::Op {
        inputs: steps.last().map(|step| input(step)).into_iter().collect(),
        ..pb::Op::default()
    };
    steps.push(terminal.encode_to_vec());
    pb::Definition {
        def: steps,
        ..pb::Definition::default()
    }
}

pub(crate) fn request(definition: pb::Definition) -> BuildRequest {
    let session = Arc::new(LocalSession::builder().build());
    BuildRequest::new(BuildSource::Definition(definition), session)
}

pub(crate) async fn build(
    engine: &Engine,
    request: BuildRequest,
) -> (Result<BuildOutcome, BuildError>, Vec<Event>) {
    let (events, mut receiver) = unbounded_channel();
    let built = engine.build(request, events, &CancelToken::new()).await;
    let mut seen = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        seen.push(event);
    }
    (built, seen)
}

pub(crate) fn steps_run(events: &[Event]) -> usize {
    let last = |map: &mut BTreeMap<Digest, bool>, event: &Event| {
        if let Event::Vertex(vertex) = event {
            map.insert(vertex.digest, vertex.started.is_some() && !vertex.cached);
        }
    };
    let mut ran = BTreeMap::new();
    events.iter().for_each(|event| last(&mut ran, event));
    ran.values().filter(|ran| **ran).count()
}

fn is_cached(events: &[Event], name: &str) -> bool {
    let cached = |event: &Event| match event {
        Event::Vertex(vertex) if vertex.name == name => Some(vertex.cached),
        _ => None,
    };
    events.iter().rev().find_map(cached).unwrap_or_default()
}

pub(crate) fn bad_requests_are_refused() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let base = || request(chain(1, 0));
        let frontend = BuildSource::Frontend {
            name: "none.v0".to_owned(),
            options: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        let odd_export = ExportRequest {
            kind: "odd".to_owned(),
            ..ExportRequest::default()
        };
        let insecure = Entitlements {
            security_insecure: true,
            ..Entitlements::default()
        };
        let broken = pb::Definition {
            def: vec![b"\xff".to_vec()],
            ..pb::Definition::default()
        };
        for (request, error) in [
            (
                BuildRequest {
                    source: frontend,
                    ..base()
                },
                "invalid frontend: none.v0",
            ),
            (
                BuildRequest {
                    exports: vec![odd_export],
                    ..base()
                },
                "exporter \"odd\" could not be found",
            ),
            (
                BuildRequest {
                    entitlements: insecure,
                    ..base()
                },
                "granting entitlement security.insecure is not allowed by build daemon configuration",
            ),
            (
                request(broken),
                "failed to load LLB: failed to parse llb proto op: ",
            ),
        ] {
            let (built, events) = build(&engine, request).await;
            let refused = built.err().expect(error).to_string();
            assert!(refused.starts_with(error), "{refused}");
            assert_eq!(steps_run(&events), 0, "nothing has run");
        }
        Outcome::Passed
    })
}

pub(crate) fn exports_are_steps() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(async {
        let engine = match fixture::engine(dir.path()).await {
            Ok(engine) => engine,
            Err(reason) => return Outcome::Skipped(reason),
        };
        let target = dir.path().join("out.tar");
        let exported = |engine: Engine, definition| {
            let request = BuildRequest {
                exports: vec![ExportRequest {
                    kind: "tar".to_owned(),
                    ..ExportRequest::default()
                }],
                session: Arc::new(LocalSession::builder().file_target(0, &target).build()),
                ..request(definition)
            };
            async move { build(&engine, request).await }
        };
        let (built, events) = exported(engine.clone(), chain(2, 0)).await;
        built.map(drop).expect("builds");
        assert_eq!(steps_run(&events), 3, "two steps and the export");
        assert!(fs::metadata(&target).expect("exported").len() > 0);
        let (built, events) = exported(engine.clone(), chain(2, 0)).await;
        built.map(drop).expect("builds");
        assert!(
            is_cached(&events, "mkfile /1"),
            "only the export runs: {events:?}"
        );
        let (built, _) = exported(engine, pb::Definition::default()).await;
        built
            .map(drop)
            .expect("scratch is an empty tar (row ELO-09)");
        Outcome::Passed
    })
}

/// Builds without end over the folder that the second argument names, until killed.
pub(crate) fn victim() -> ! {
    let dir = PathBuf::from(std::env::args().nth(2).expect("a folder"));
    lamina_executor::userns::enter().expect("namespaces");
    fixture::block_on(async {
        let engine = fixture::engine(&dir).await.expect("an engine");
        crate::harness::say("ready");
        for salt in 0.. {
            let (built, _) = build(&engine, request(chain(20, salt))).await;
            built.map(drop).expect("builds");
        }
    });
    std::process::exit(1);
}

/// Kills engines at random moments: the next one finds what was finished, and nothing else is left.
pub(crate) fn killed_engines_leave_nothing() -> Outcome {
    let dir = fixture::temporary();
    let opened = fixture::block_on(async { fixture::engine(dir.path()).await.map(drop) });
    if let Err(reason) = opened {
        return Outcome::Skipped(reason);
    }
    let mut random = 0x5eed_u64;
    for _ in 0..KILLS {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        kill_after(dir.path(), Duration::from_millis((random >> 33) % 60));
    }
    fixture::block_on(async {
        let engine = fixture::engine(dir.path()).await.expect("opens");
        engine.snapshots().finish_deleting();
        assert_clean(dir.path());
        let (built, events) = build(&engine, request(chain(20, 0))).await;
        built.map(drop).expect("builds");
        assert!(
            steps_run(&events) < 20,
            "nothing was kept of {KILLS} builds"
        );
    });
    Outcome::Passed
}

fn kill_after(dir: &Path, delay: Duration) {
    let program = std::env::current_exe().expect("this program");
    let mut victim = Command::new(program)
        .arg(VICTIM)
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut ready = [0; 6];
    let stdout = victim.stdout.as_mut().expect("piped");
    stdout
        .read_exact(&mut ready)
        .expect("the victim gets ready");
    std::thread::sleep(delay);
    victim.kill().expect("killed");
    victim.wait().expect("gone");
}

fn assert_clean(dir: &Path) {
    for folder in ["layers", "cache-mounts"] {
        for entry in fs::read_dir(dir.join("root").join(folder)).expect("a folder") {
            let name = entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text");
            assert!(
                !name.starts_with("tmp-") && !name.starts_with("dead-"),
                "{folder}/{name}"
            );
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let ours = dir.to_str().expect("text");
    assert!(!mounts.contains(ours), "something is mounted: {mounts}");
}
