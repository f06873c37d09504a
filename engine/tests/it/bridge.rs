//! What frontends get from a bridge: reads of results (rows GW-25 to GW-27), lazy solves, and
//! definitions found in files (rows OPS-01 to OPS-03).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_engine::BuildRequest;
use lamina_engine::BuildSource;
use lamina_engine::EngineOptions;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_llb::Reference;
use lamina_proto::pb;
use lamina_proto::pb::file_action::Action;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use lamina_types::Digest;
use prost::Message;
use tokio::sync::mpsc::unbounded_channel;

use crate::fixture;
use crate::harness::Outcome;

const PROBE: &str = "probe";
const GROUP: &str = "root:x:0:\napp:x:1235:\n";

/// Runs `checks` with a bridge.
async fn with_bridge(dir: &Path, probe: impl Frontend + 'static) -> Result<Outcome, BuildError> {
    let mut options: EngineOptions = fixture::options(dir);
    options.frontends.insert(PROBE.to_owned(), Arc::new(probe));
    let engine = match fixture::open(options).await {
        Ok(engine) => engine,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let source = BuildSource::Frontend {
        name: PROBE.to_owned(),
        options: BTreeMap::new(),
        inputs: BTreeMap::new(),
    };
    let request = BuildRequest::new(source, Arc::new(LocalSession::builder().build()));
    let (events, _watcher) = unbounded_channel();
    engine.build(request, events, &CancelToken::new()).await?;
    Ok(Outcome::Passed)
}

/// One file op of several actions, each on top of the one before.
fn file_op(actions: Vec<Action>) -> Vec<u8> {
    let last = actions.len() - 1;
    let chained = (-1_i64..)
        .zip(actions)
        .enumerate()
        .map(|(at, (input, action))| pb::FileAction {
            input,
            secondary_input: -1,
            output: if at == last { 0 } else { -1 },
            action: Some(action),
        });
    let op = pb::FileOp {
        actions: chained.collect(),
    };
    pb::Op {
        op: Some(pb::op::Op::File(op)),
        ..pb::Op::default()
    }
    .encode_to_vec()
}

fn definition(mut def: Vec<Vec<u8>>) -> pb::Definition {
    let result = pb::Input {
        digest: Digest::of(&def[def.len() - 1]).to_string(),
        index: 0,
    };
    let terminal = pb::Op {
        inputs: vec![result],
        ..pb::Op::default()
    };
    def.push(terminal.encode_to_vec());
    pb::Definition {
        def,
        ..pb::Definition::default()
    }
}

fn make_dir(path: &str) -> Action {
    Action::Mkdir(pb::FileActionMkDir {
        path: path.to_owned(),
        mode: 0o755,
        timestamp: -1,
        ..pb::FileActionMkDir::default()
    })
}

fn make_file(path: &str, data: &[u8]) -> Action {
    Action::Mkfile(pb::FileActionMkFile {
        path: path.to_owned(),
        mode: 0o644,
        data: data.to_vec(),
        timestamp: -1,
        ..pb::FileActionMkFile::default()
    })
}

fn make_link(path: &str, target: &str) -> Action {
    Action::Symlink(pb::FileActionSymlink {
        newpath: path.to_owned(),
        oldpath: target.to_owned(),
        timestamp: -1,
        ..pb::FileActionSymlink::default()
    })
}

fn small_root() -> pb::Definition {
    definition(vec![file_op(vec![
        make_dir("/etc"),
        make_file("/etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
        make_file("/etc/group", GROUP.as_bytes()),
        make_dir("/bin"),
        make_file("/bin/busybox", b"\x7fELF\x02\x01\x01"),
        make_link("/bin/sh", "/bin/busybox"),
    ])])
}

async fn solved(bridge: &Arc<dyn Bridge>, definition: pb::Definition) -> Reference {
    let reference = bridge.solve(definition).await.expect("loads");
    reference.expect("not scratch")
}

struct Reads;

#[async_trait]
impl Frontend for Reads {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        let root = solved(&bridge, small_root()).await;
        read_files(&bridge, &root).await;
        read_ranges(&bridge, &root).await;
        read_dirs(&bridge, &root).await;
        stat_files(&bridge, &root).await;
        Ok(BuildResult::default())
    }
}

fn text<T>(result: Result<T, BuildError>, show: impl Fn(T) -> String) -> String {
    result.map_or_else(|error| error.to_string(), show)
}

async fn read_files(bridge: &Arc<dyn Bridge>, root: &Reference) {
    for (path, golden) in [
        ("", " is not a regular file"),
        ("../../etc/group", "ot:x:"),
        ("/", "/ is not a regular file"),
        ("/bin/sh", "LF\u{2}\u{1}\u{1}"),
        ("/etc", "/etc is not a regular file"),
        ("/etc/passwd", "ot:x:"),
        ("/etc/passwd/x", "lstat /etc/passwd/x: not a directory"),
        ("/nothere", "open /nothere: no such file or directory"),
        ("etc/passwd", "ot:x:"),
    ] {
        let data = bridge.read_file(root, path, Some((2, 5))).await;
        let found = text(data, |data| String::from_utf8_lossy(&data).into_owned());
        assert_eq!(found, golden, "read {path:?}");
    }
}

async fn read_ranges(bridge: &Arc<dyn Bridge>, root: &Reference) {
    for (range, golden) in [
        (None, GROUP),
        (Some((0, 0)), ""),
        (Some((0, 1 << 20)), GROUP),
        (Some((1_000_000, 5)), ""),
        (Some((u64::MAX, u64::MAX)), ""),
    ] {
        let data = bridge
            .read_file(root, "/etc/group", range)
            .await
            .expect("reads");
        assert_eq!(String::from_utf8_lossy(&data), golden, "range {range:?}");
    }
}

async fn read_dirs(bridge: &Arc<dyn Bridge>, root: &Reference) {
    for (path, golden) in [
        ("", "[]"),
        ("../../etc/group", "stat /etc/group: not a directory"),
        ("/bin/sh", "stat /bin/busybox: not a directory"),
        ("/etc", "[\"group\"]"),
        ("/etc/passwd/x", "lstat /etc/passwd/x: not a directory"),
        ("/nothere", "lstat /nothere: no such file or directory"),
    ] {
        let entries = bridge.read_dir(root, path, Some("g*")).await;
        let names = |entries: Vec<(Vec<u8>, _)>| {
            let name = |(name, _): (Vec<u8>, _)| String::from_utf8_lossy(&name).into_owned();
            format!("{:?}", entries.into_iter().map(name).collect::<Vec<_>>())
        };
        assert_eq!(text(entries, names), golden, "list {path:?}");
    }
}

async fn stat_files(bridge: &Arc<dyn Bridge>, root: &Reference) {
    for (path, golden) in [
        ("../../etc/group", "group 644 22"),
        ("/bin/sh", "busybox 644 7"),
        ("/etc", "etc 755 0"),
        ("/etc/passwd/x", "lstat /etc/passwd/x: not a directory"),
        ("/nothere", "lstat /nothere: no such file or directory"),
    ] {
        let stat = bridge.stat_file(root, path).await;
        let found = text(stat, |(name, stat)| {
            format!(
                "{} {:o} {}",
                String::from_utf8_lossy(&name),
                stat.mode,
                stat.size
            )
        });
        assert_eq!(found, golden, "stat {path:?}");
    }
}

pub(crate) fn reads_follow_the_wire() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(with_bridge(dir.path(), Reads)).expect("builds")
}

struct NestedDefinition;

#[async_trait]
impl Frontend for NestedDefinition {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        let inner = definition(vec![file_op(vec![make_file("/inner", b"found")])]);
        let root = solved(&bridge, build_op(&inner.encode_to_vec(), "", "")).await;
        let data = bridge.read_file(&root, "/inner", None).await?;
        assert_eq!(data, b"found");
        let named = build_op(&inner.encode_to_vec(), "llbbuild.filename", "/other");
        let error = bridge
            .evaluate(&solved(&bridge, named).await)
            .await
            .expect_err("missing");
        assert!(
            error.to_string().contains("/other: no such file"),
            "{error}"
        );
        let broken = build_op(b"\xff", "", "");
        let error = bridge
            .evaluate(&solved(&bridge, broken).await)
            .await
            .expect_err("no LLB");
        assert!(
            error.to_string().contains("not an LLB definition"),
            "{error}"
        );
        let wrong = definition(vec![file_op(vec![make_file("/no/parent", b"")])]);
        let failing = build_op(&wrong.encode_to_vec(), "", "");
        let error = bridge
            .evaluate(&solved(&bridge, failing).await)
            .await
            .expect_err("fails");
        assert_eq!(
            error.vertex,
            Some(Digest::of(&wrong.def[0])),
            "the inner vertex: {error}"
        );
        Ok(BuildResult::default())
    }
}

/// A build op over a file with `bytes`.
fn build_op(bytes: &[u8], attr: &str, value: &str) -> pb::Definition {
    let file = file_op(vec![make_file("/buildkit.llb.definition", bytes)]);
    let build = pb::BuildOp {
        builder: -1,
        inputs: [(
            "buildkit.llb.definition".to_owned(),
            pb::BuildInput { input: 0 },
        )]
        .into(),
        attrs: [(attr.to_owned(), value.to_owned())].into(),
        ..pb::BuildOp::default()
    };
    let input = pb::Input {
        digest: Digest::of(&file).to_string(),
        index: 0,
    };
    let op = pb::Op {
        inputs: vec![input],
        op: Some(pb::op::Op::Build(build)),
        ..pb::Op::default()
    };
    definition(vec![file, op.encode_to_vec()])
}

pub(crate) fn definitions_in_files_are_solved() -> Outcome {
    let dir = fixture::temporary();
    fixture::block_on(with_bridge(dir.path(), NestedDefinition)).expect("builds")
}

/// A frontend with a bug.
struct Panics;

#[async_trait]
impl Frontend for Panics {
    async fn build(&self, _: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        panic!("a bug")
    }
}

/// A panic fails the build that it happens in, and nothing else.
pub(crate) fn panics_are_errors() -> Outcome {
    fixture::block_on(async {
        let dir = fixture::temporary();
        match with_bridge(dir.path(), Panics).await {
            Ok(Outcome::Skipped(reason)) => Outcome::Skipped(reason),
            Ok(Outcome::Passed) => panic!("the build succeeded"),
            Err(error) => {
                assert_eq!(error.to_string(), "internal error: a bug");
                Outcome::Passed
            }
        }
    })
}
