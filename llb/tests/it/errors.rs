//! Errors in the words and with the details that clients know (rows ERR-01, ERR-06, LLB-01).

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lamina_llb::BuildError;
use lamina_proto::pb;
use lamina_proto::pb::file_action::Action;
use lamina_proto::pb::op::Op;
use lamina_session::LocalSession;
use lamina_types::Digest;
use prost::Message;
use serde_json::Value;

use crate::graph;
use crate::graph::Ops;
use crate::graph::exec;
use crate::graph::file_on;
use crate::graph::on_base;
use crate::graph::shell;
use crate::harness::Outcome;
use crate::harness::say;
use crate::wire;
use crate::world;

fn with_network(network: pb::NetMode) -> pb::Definition {
    on_base(Op::Exec(pb::ExecOp {
        network: network.into(),
        ..shell("true")
    }))
}

fn insecure() -> pb::Definition {
    on_base(Op::Exec(pb::ExecOp {
        security: pb::SecurityMode::Insecure.into(),
        ..shell("true")
    }))
}

fn as_user(user: &str) -> pb::Definition {
    let mut op = shell("true");
    op.meta.as_mut().expect("given").user = user.to_owned();
    on_base(Op::Exec(op))
}

fn in_directory(cwd: &str) -> pb::Definition {
    let mut op = exec(&["/bin/sh", "-c", "true"]);
    op.meta.as_mut().expect("given").cwd = cwd.to_owned();
    on_base(Op::Exec(op))
}

/// The definition of a source, and one that the step cannot do without.
fn of_source(identifier: &str) -> pb::Definition {
    let mut ops = Ops::default();
    ops.add(graph::source(identifier), &[]);
    ops.definition()
}

fn copy_of_nothing() -> pb::Definition {
    let mut ops = Ops::with_base();
    let action = Action::Copy(pb::FileActionCopy {
        src: "/nothere".to_owned(),
        dest: "/x".to_owned(),
        mode: -1,
        timestamp: -1,
        ..pb::FileActionCopy::default()
    });
    let mut actions = file_on(0, vec![action]);
    if let Op::File(op) = &mut actions {
        // From the tree that is changed: no content key is asked for.
        op.actions[0].secondary_input = 0;
    }
    ops.add(actions, &[0]);
    ops.definition()
}

fn with_parents(mut action: Action) -> Action {
    if let Action::Mkdir(op) = &mut action {
        op.make_parents = true;
    }
    action
}

fn unknown_input() -> pb::Definition {
    let input = |digest: &Digest| pb::Input {
        digest: digest.to_string(),
        index: 0,
    };
    let missing: Digest = "sha256:785956b713c5b1bdbd9fda1c04b0d41a5035cb229500afaad8712aedba020b62"
        .parse()
        .expect("a digest");
    let op = pb::Op {
        inputs: vec![input(&missing)],
        op: Some(Op::Exec(shell("true"))),
        ..pb::Op::default()
    };
    let op = op.encode_to_vec();
    let last = pb::Op {
        inputs: vec![input(&Digest::of(&op))],
        ..pb::Op::default()
    };
    pb::Definition {
        def: vec![op, last.encode_to_vec()],
        ..pb::Definition::default()
    }
}

fn rows() -> Vec<(&'static str, pb::Definition)> {
    let garbage = pb::Definition {
        def: vec![vec![0xff, 0x01, 0x02], vec![0xff, 0xff]],
        ..pb::Definition::default()
    };
    let alone = pb::Definition {
        def: Ops::with_base().0,
        ..pb::Definition::default()
    };
    let files = |actions| on_base(file_on(0, actions));
    let mkfile = |path| graph::mkfile(path, b"", 0o644);
    vec![
        ("empty definition", pb::Definition::default()),
        ("exec exits 7", on_base(Op::Exec(shell("exit 7")))),
        (
            "exec missing binary",
            on_base(Op::Exec(exec(&["/no/such"]))),
        ),
        (
            "exec missing cwd is created",
            in_directory("/not/there/yet"),
        ),
        ("exec unknown user", as_user("nobodyhere")),
        (
            "exec host network without entitlement",
            with_network(pb::NetMode::Host),
        ),
        ("exec insecure without entitlement", insecure()),
        ("copy of a missing file", copy_of_nothing()),
        (
            "mkdir under a file",
            files(vec![with_parents(graph::mkdir("/etc/passwd/x"))]),
        ),
        (
            "second action fails",
            files(vec![mkfile("/a"), mkfile("/no/parent")]),
        ),
        ("unknown scheme", of_source("weird://x")),
        ("garbage op", garbage),
        ("one op only", alone),
        ("input digest unknown", unknown_input()),
    ]
}

/// The error as the golden data has it: message, then the types of its details.
fn described(error: &BuildError) -> (String, Vec<&'static str>) {
    let mut details = Vec::new();
    if !error.sources.is_empty() {
        details.push("errdefs.Source");
    }
    if error.vertex.is_some() {
        details.push("errdefs.Vertex");
    }
    if error.exit_code.is_some() {
        details.push("gatewayapi.ExitMessage");
    }
    (error.message.clone(), details)
}

fn golden(row: &Value) -> Option<(String, Vec<String>)> {
    let message = row["message"].as_str()?.to_owned();
    let kind = |detail: &Value| {
        let url = detail["type_url"].as_str().expect("a type");
        let name = url.rsplit('/').next().expect("not empty");
        name.trim_end_matches("+json").to_owned()
    };
    let details = row["details"].as_array();
    Some((message, details.into_iter().flatten().map(kind).collect()))
}

pub(crate) fn rows_of_the_wire() -> Outcome {
    let goldens = wire::golden(&["errors"]);
    world::with(BTreeMap::new(), |world| async move {
        let mut wrong = Vec::new();
        for (name, definition) in rows() {
            let build = world.build(Arc::new(LocalSession::builder().build())).0;
            let found = world::solve(&build, definition).await.err();
            let found = found.as_ref().map(described);
            let golden = golden(&goldens[name]);
            let same = match (&found, &golden) {
                (None, None) => goldens[name] == "success",
                (Some((text, details)), Some((golden, wanted))) => {
                    text == golden && details == wanted
                }
                _ => false,
            };
            if !same {
                wrong.push(format!("{name}:\n  golden {golden:?}\n  ours   {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
}

/// A case of the golden definitions.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    ops: Vec<String>,
    error: Option<String>,
}

#[derive(serde::Deserialize)]
struct GoldenOp {
    digest: String,
    op: String,
}

/// Errors of golden definitions in the same words; raise it with every one that is won.
const SAME_WORDS: usize = 679;

/// What the golden data calls the id of an input.
fn without_ids(text: &str) -> String {
    let Some((before, after)) = text.split_once("checksum of ref ") else {
        return text.to_owned();
    };
    let after = after.split_once(": ").map_or(after, |(_, after)| after);
    format!("{before}checksum of ref ID: {after}")
}

/// Names of owners on scratch, which has none (row FIL-05).
pub(crate) fn of_names_without_a_tree() -> Outcome {
    let name = pb::NamedUserOpt {
        name: "app".to_owned(),
        input: -1,
    };
    let user = pb::UserOpt {
        user: Some(pb::user_opt::User::ByName(name)),
    };
    let mut ops = Ops::default();
    let file = pb::FileActionMkFile {
        path: "/f".to_owned(),
        owner: Some(pb::ChownOpt {
            user: Some(user),
            group: None,
        }),
        ..pb::FileActionMkFile::default()
    };
    ops.add(graph::file(vec![Action::Mkfile(file)]), &[]);
    let definition = ops.definition();
    world::with(BTreeMap::new(), |world| async move {
        let build = world.plain_build();
        let error = world::solve(&build, definition).await;
        let error = error.expect_err("names cannot be looked up");
        assert_eq!(error.message, "invalid user index: -1");
    })
}

pub(crate) fn words_of_the_goldens() -> Outcome {
    let ops: HashMap<String, Vec<u8>> = wire::lines("ops.jsonl.zst")
        .map(|op: GoldenOp| (op.digest, BASE64_STANDARD.decode(op.op).expect("base64")))
        .collect();
    let cases: Vec<Case> = wire::lines("cases.jsonl.zst").collect();
    world::with(BTreeMap::new(), |world| async move {
        let (mut same, mut all) = (0, 0);
        let build = world.plain_build();
        for case in &cases {
            let Some(golden) = &case.error else { continue };
            let definition = pb::Definition {
                def: case.ops.iter().map(|digest| ops[digest].clone()).collect(),
                ..pb::Definition::default()
            };
            let Err(error) = world::solve(&build, definition).await else {
                continue;
            };
            all += 1;
            let found = without_ids(&error.message);
            if found == *golden {
                same += 1;
            } else {
                say(&format!(
                    "  {}:\n    golden {golden}\n    ours   {found}",
                    case.name
                ));
            }
        }
        say(&format!("  {same} of {all} errors in the same words"));
        assert!(
            same >= SAME_WORDS,
            "{same} are the same, {SAME_WORDS} were before"
        );
    })
}
