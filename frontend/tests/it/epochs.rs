//! What `SOURCE_DATE_EPOCH` may name, and what time that is (row FDF-41).

use std::sync::Arc;

use lamina_frontend::DockerfileFrontend;
use lamina_llb::Frontend;
use lamina_proto::pb;
use lamina_types::FileKind;
use lamina_types::Stat;

use crate::bridge::RecordingBridge;
use crate::bridge::ops;

const COMMITTED: i64 = 1_700_000_000;
const MODIFIED: i64 = 1_600_000_000;
const NEWEST: i64 = 1_500_000_000;

/// What a step is told: `--` if there is no such argument.
const TAIL: &str = "FROM base\nARG SOURCE_DATE_EPOCH\nRUN --network=none x\n";

/// Serves a file whose stage `s` is `stage`; the web has an archive `/a.tar` and a text `/t`.
fn bridge(stage: &str, epoch: &str, options: &[(&str, &str)]) -> RecordingBridge {
    let file = format!("ARG DIR=http://h.test\n{stage}{TAIL}");
    let mut all = vec![
        ("context:base", "local:base"),
        ("build-arg:SOURCE_DATE_EPOCH", epoch),
    ];
    all.extend(options);
    let mut bridge = RecordingBridge::of(&file, &all);
    bridge.commit = Some(format!("tree x\ncommitter a <b> {COMMITTED} +0000\n\nm\n").into());
    let mut archive = vec![0; 512];
    archive[257..262].copy_from_slice(b"ustar");
    bridge.add("http://h.test/a.tar", "a.tar", &archive);
    bridge.add("http://h.test/a.tar", "context", &archive);
    bridge.add("http://h.test/t", "t", b"text");
    bridge.add("http://h.test/z", "z", b"BZh of no archive");
    let entry = |name: &str, kind, seconds: i64| {
        let mtime_ns = i128::from(seconds) * 1_000_000_000 + 999;
        let stat = Stat {
            mtime_ns,
            ..Stat::new(kind, 0o644)
        };
        (name.as_bytes().to_vec(), stat)
    };
    let root = vec![
        entry("d", FileKind::Directory, COMMITTED),
        entry("l", FileKind::Symlink, COMMITTED),
        entry("o", FileKind::File, NEWEST - 1),
    ];
    let inner = vec![entry("n", FileKind::File, NEWEST)];
    bridge.archive = [("/".to_owned(), root), ("/d".to_owned(), inner)].into();
    bridge
}

/// What the build's result says, and what its step sees.
type Outcome = Result<(Option<i64>, Option<String>), String>;

async fn outcome(bridge: RecordingBridge) -> (Arc<RecordingBridge>, Outcome) {
    let bridge = Arc::new(bridge);
    let result = DockerfileFrontend.build(Arc::clone(&bridge) as _).await;
    let outcome = result.map_err(|error| error.message).map(|result| {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let epoch = result.metadata.get("source.date.epoch").map(text);
        let definition = bridge.result().expect("a definition is solved");
        let metas = ops(&definition).into_iter().filter_map(|op| match op.op {
            Some(pb::op::Op::Exec(exec)) => exec.meta,
            _ => None,
        });
        let mut env = metas.flat_map(|meta| meta.env);
        let seen = env.find_map(|pair| Some(pair.strip_prefix("SOURCE_DATE_EPOCH=")?.to_owned()));
        (epoch.map(|text| text.parse().expect("a number")), seen)
    });
    (bridge, outcome)
}

/// What it is, the stage, the value, further options, and the time.
type Row<'a> = (
    &'a str,
    &'a str,
    &'a str,
    &'a [(&'a str, &'a str)],
    Option<i64>,
);

#[tokio::test]
async fn stages_and_contexts_have_times() {
    const GIT: &str = "FROM scratch AS s\nADD https://h.test/x.git#v1 /\n";
    const TAR: &str = "FROM scratch AS s\nADD http://h.test/a.tar /\n";
    const WITH_ARGS: &str =
        "FROM scratch AS s\nARG DIR\nARG FILE=x TAIL=.tar\nADD ${DIR}/${FILE}${TAIL} /\n";
    let with_input = [("context:s", "http://h.test/a.tar")];
    let rows: &[Row<'_>] = &[
        ("a number", "", "007", &[], Some(7)),
        ("nothing", "", "", &[], None),
        ("a commit", GIT, "s", &[], Some(COMMITTED)),
        (
            "a file",
            "FROM scratch AS s\nADD http://h.test/t /\n",
            "s",
            &[],
            None,
        ),
        ("an archive", TAR, "s", &[], Some(NEWEST)),
        (
            "a build argument",
            WITH_ARGS,
            "s",
            &[("build-arg:FILE", "a")],
            Some(NEWEST),
        ),
        ("the context", "", "context", &[], None),
        (
            "a named repository",
            "",
            "s",
            &[("context:s", "git://h.test/x")],
            Some(COMMITTED),
        ),
        ("a named file", "", "s", &with_input, Some(NEWEST)),
        (
            "a named one before a stage",
            GIT,
            "s",
            &with_input,
            Some(NEWEST),
        ),
        (
            "a named directory",
            "",
            "s",
            &[("context:s", "local:s")],
            None,
        ),
        (
            "a named image",
            "",
            "s",
            &[("context:s", "docker-image://s")],
            None,
        ),
    ];
    for (what, stage, epoch, options, time) in rows {
        let (_, outcome) = outcome(bridge(stage, epoch, options)).await;
        let seen = time.map(|time| time.to_string());
        assert_eq!(outcome, Ok((*time, seen)), "{what}");
    }
}

/// A file's date goes before the dates of what is in it.
#[tokio::test]
async fn a_date_of_the_server_is_taken() {
    let stage = "FROM scratch AS s\nADD http://h.test/a.tar /\n";
    let mut dated = bridge(stage, "s", &[]);
    dated.modified = Some(MODIFIED);
    let (bridge, outcome) = outcome(dated).await;
    assert_eq!(outcome, Ok((Some(MODIFIED), Some(MODIFIED.to_string()))));
    assert_eq!(
        *bridge.lookups.lock().expect("no test panics with it"),
        ["[internal] resolve SOURCE_DATE_EPOCH source stage s"]
    );
}

/// What is compressed but no archive is copied, and is as old as a file without a date.
#[tokio::test]
async fn a_compressed_text_has_no_time() {
    let stage = "FROM scratch AS s\nADD http://h.test/z /\n";
    let mut copied = bridge(stage, "s", &[]);
    let file = (b"z".to_vec(), Stat::new(FileKind::File, 0o600));
    copied.archive = [("/".to_owned(), vec![file])].into();
    let (_, outcome) = outcome(copied).await;
    assert_eq!(outcome, Ok((None, None)));
}

/// The Dockerfile may say it itself; the client's value goes before that.
#[tokio::test]
async fn the_file_may_have_a_default() {
    let file =
        format!("ARG SOURCE_DATE_EPOCH=s\nFROM scratch AS s\nADD https://h.test/x.git /\n{TAIL}");
    for (given, time) in [(None, COMMITTED), (Some("5"), 5)] {
        let mut options = vec![("context:base", "local:base")];
        options.extend(given.map(|given| ("build-arg:SOURCE_DATE_EPOCH", given)));
        let mut bridge = RecordingBridge::of(&file, &options);
        bridge.commit = Some(format!("committer a <b> {COMMITTED} +0000\n\nm\n").into());
        let (_, outcome) = outcome(bridge).await;
        assert_eq!(
            outcome,
            Ok((Some(time), Some(time.to_string()))),
            "{given:?}"
        );
    }
}

#[tokio::test]
async fn what_has_no_time_is_refused() {
    let only = "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD";
    let one = format!("{only} source");
    let remote = "SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD";
    let scratch = "SOURCE_DATE_EPOCH stage must use FROM scratch";
    let run = "SOURCE_DATE_EPOCH stage does not meet source-only requirements: \
               unsupported Run instruction";
    for (stage, message) in [
        ("", "invalid SOURCE_DATE_EPOCH: s"),
        ("FROM scratch AS s\n", only),
        ("FROM base AS s\nADD http://h.test/t /\n", scratch),
        (
            "FROM scratch AS s\nADD http://h.test/t /\nADD http://h.test/t /\n",
            only,
        ),
        (
            "FROM scratch AS s\nADD http://h.test/t http://h.test/t /\n",
            &one,
        ),
        ("FROM scratch AS s\nADD <<E /\nE\n", &one),
        ("FROM scratch AS s\nADD file /\n", remote),
        ("FROM scratch AS s\nRun x\n", run),
        (
            "FROM scratch AS s\nADD --checksum=x http://h.test/t /\n",
            "invalid checksum digest format",
        ),
    ] {
        let (_, outcome) = outcome(bridge(stage, "s", &[])).await;
        assert_eq!(outcome, Err(message.to_owned()), "{stage}");
    }
    let (_, outcome) = outcome(bridge("", "No Name", &[])).await;
    let message = outcome.expect_err("no name");
    assert!(
        message.starts_with("invalid context name No Name"),
        "{message}"
    );
}
