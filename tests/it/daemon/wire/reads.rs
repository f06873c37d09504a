//! ReadFile, ReadDir and StatFile on the busybox tree (rows GW-24 to GW-28).

use lamina_client::ClientError;
use lamina_proto::fsutil;
use lamina_proto::gateway::FileRange;
use serde_json::Value;
use serde_json::json;
use tonic::Code;

use super::Wire;
use super::base_tree;
use super::compare::recorded;
use super::with_daemon;
use crate::harness::base;

/// The name of a row, what of its answer is another with us, and why.
type Difference = (&'static str, fn(&mut Value), &'static str);

/// Answers of ours that differ on purpose.
const DIFFERENT: &[Difference] = &[
    ("ReadDir g* /nothere", without_empty_name, EMPTY_NAME),
    ("StatFile ", root_is_named_so, HOST_PATH),
    ("StatFile /", root_is_named_so, HOST_PATH),
];

const HOST_PATH: &str = "BuildKit gives the name of a folder of the host";

const EMPTY_NAME: &str = "BuildKit says `resolve` and then the name of nothing";

fn without_empty_name(answer: &mut Value) {
    let message = answer["error"].as_str().expect("an error");
    answer["error"] = message.replace("resolve : ", "").into();
}

fn root_is_named_so(answer: &mut Value) {
    answer["path"] = "/".into();
}

/// One row of the recording.
enum Question<'a> {
    Dir {
        include: &'a str,
        path: &'a str,
    },
    File {
        range: FileRange,
        path: &'a str,
    },
    Stat {
        path: &'a str,
    },
    /// A reference whose step fails.
    Failing,
}

impl<'a> Question<'a> {
    /// Reads the name of a row.
    fn parse(name: &'a str) -> Self {
        if name == "ReadFile on a lazy failing ref" {
            return Self::Failing;
        }
        let (call, rest) = name.split_once(' ').expect("a call");
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        match call {
            "StatFile" => Self::Stat { path: rest },
            "ReadDir" => Self::Dir {
                include: first,
                path: second,
            },
            "ReadFile" => Self::file(first, second),
            other => panic!("{other} is no read"),
        }
    }

    /// Reads `2+5 PATH`, which is offset and length, or `PATH range [OFFSET LENGTH]`.
    fn file(first: &'a str, second: &'a str) -> Self {
        let numbers = |a: &str, b: &str| FileRange {
            offset: a.parse().expect("a number"),
            length: b.parse().expect("a number"),
        };
        if let Some((offset, length)) = first.split_once('+') {
            let range = numbers(offset, length);
            return Self::File {
                range,
                path: second,
            };
        }
        let range = second.strip_prefix("range [").expect("a range");
        let range = range.strip_suffix(']').expect("a range").split_once(' ');
        let (offset, length) = range.expect("two numbers");
        let range = numbers(offset, length);
        Self::File { range, path: first }
    }

    async fn ask(self, wire: &Wire, tree: &str) -> Result<Value, ClientError> {
        Ok(match self {
            Self::Dir { include, path } => {
                let entries = wire.gateway.read_dir(tree, path, include).await?;
                let entries: Vec<Value> = entries.iter().map(shown).collect();
                if entries.is_empty() {
                    Value::Null
                } else {
                    entries.into()
                }
            }
            Self::File { range, path } => {
                text(wire.gateway.read_file(tree, path, Some(range)).await?)
            }
            Self::Stat { path } => shown(&wire.gateway.stat_file(tree, path).await?),
            Self::Failing => {
                let run = base_tree().run(["/bin/sh", "-c", "exit 5"]).root();
                let failing = wire.reference(&run).await;
                text(
                    wire.gateway
                        .read_file(&failing, "/etc/passwd", None)
                        .await?,
                )
            }
        })
    }
}

fn text(data: Vec<u8>) -> Value {
    String::from_utf8(data).expect("text").into()
}

fn shown(stat: &fsutil::Stat) -> Value {
    let mut shown = json!({"mode": stat.mode, "path": stat.path});
    if stat.size != 0 {
        shown["size"] = stat.size.into();
    }
    shown
}

fn shown_error(error: &ClientError) -> Value {
    let ClientError::Daemon(failure) = error else {
        panic!("no answer of the daemon: {error}");
    };
    json!({
        "code": format!("{:?}", Code::from_i32(failure.code)),
        "error": failure.message,
    })
}

/// The busybox of this machine may be another than the recorded one.
fn with_own_busybox(mut answer: Value) -> Value {
    if answer["path"] == "busybox" {
        let busybox = base().expect("there").join("bin/busybox");
        let size = busybox.metadata().expect("there").len();
        answer["size"] = size.into();
    }
    answer
}

#[test]
fn recorded_reads_answer_as_recorded() {
    with_daemon(async |wire: &Wire| {
        let tree = wire.reference(&base_tree()).await;
        let rows = recorded(&["gateway", "reads"]).as_object().expect("rows");
        let mut wrong = Vec::new();
        for (name, theirs) in rows {
            let mut theirs = with_own_busybox(theirs.clone());
            if let Some((_, change, _)) = DIFFERENT.iter().find(|row| row.0 == name) {
                change(&mut theirs);
            }
            let ours = Question::parse(name).ask(wire, &tree).await;
            let ours = ours.unwrap_or_else(|error| shown_error(&error));
            if ours != theirs {
                wrong.push(format!("{name}\n    ours   {ours}\n    theirs {theirs}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(rows.len() == 33, "{} rows", rows.len());
    });
}
