//! Definitions of all kinds of wrong, and the names of right ones.

use prost::Message;

use super::*;
use crate::EntitlementError;

fn source(identifier: &str) -> pb::Op {
    pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: identifier.to_owned(),
            ..pb::SourceOp::default()
        })),
        ..pb::Op::default()
    }
}

fn input(bytes: &[u8], index: i64) -> pb::Input {
    pb::Input {
        digest: Digest::of(bytes).to_string(),
        index,
    }
}

fn merge(inputs: Vec<pb::Input>) -> Vec<u8> {
    let merged = (0_i64..)
        .take(inputs.len())
        .map(|input| pb::MergeInput { input });
    let op = pb::MergeOp {
        inputs: merged.collect(),
    };
    pb::Op {
        inputs,
        op: Some(pb::op::Op::Merge(op)),
        ..pb::Op::default()
    }
    .encode_to_vec()
}

fn terminal(inputs: Vec<pb::Input>) -> Vec<u8> {
    pb::Op {
        inputs,
        ..pb::Op::default()
    }
    .encode_to_vec()
}

fn exec_on_host_network() -> Vec<u8> {
    let root = pb::Mount {
        dest: "/".to_owned(),
        ..pb::Mount::default()
    };
    let scratch_root = pb::Mount { input: -1, ..root };
    let exec = pb::ExecOp {
        meta: Some(pb::Meta {
            args: vec!["a".to_owned()],
            ..pb::Meta::default()
        }),
        mounts: vec![scratch_root],
        network: pb::NetMode::Host.into(),
        ..pb::ExecOp::default()
    };
    pb::Op {
        op: Some(pb::op::Op::Exec(exec)),
        ..pb::Op::default()
    }
    .encode_to_vec()
}

fn load(def: Vec<Vec<u8>>) -> Result<Graph, LoadError> {
    load_with(def, |_| ())
}

fn load_with(def: Vec<Vec<u8>>, change: impl Fn(&mut pb::Definition)) -> Result<Graph, LoadError> {
    let mut definition = pb::Definition {
        def,
        ..pb::Definition::default()
    };
    change(&mut definition);
    let platform = Platform::new("linux", "amd64", "");
    Graph::load(&definition, &platform, &Entitlements::default())
}

#[test]
fn wrong_definitions_are_refused() {
    let image = source("docker-image://a").encode_to_vec();
    let gone = Digest::of(b"gone").to_string();
    for (name, def, error) in [
        ("empty", vec![], "invalid LLB with 0 vertexes".to_owned()),
        (
            "one op",
            vec![image.clone()],
            "invalid LLB with 1 vertexes".to_owned(),
        ),
        (
            "no result",
            vec![image.clone(), terminal(vec![])],
            "invalid LLB with no inputs on last vertex".to_owned(),
        ),
        (
            "missing input",
            vec![image.clone(), terminal(vec![input(b"gone", 0)])],
            format!("invalid missing input digest {gone}"),
        ),
        (
            "missing input of an input",
            vec![merge(vec![input(b"gone", 0)]), {
                terminal(vec![input(&merge(vec![input(b"gone", 0)]), 0)])
            }],
            format!("invalid missing input digest {gone}"),
        ),
        (
            "negative output",
            vec![image.clone(), terminal(vec![input(&image, -1)])],
            "invalid input 0 output index -1".to_owned(),
        ),
        (
            "no such output",
            vec![image.clone(), terminal(vec![input(&image, 1)])],
            format!("invalid output index 1 of {}: it has 1", Digest::of(&image)),
        ),
        (
            "no kind",
            vec![b"R\x00".to_vec(), terminal(vec![input(b"R\x00", 0)])],
            "invalid op: no kind that is known here".to_owned(),
        ),
        (
            "empty identifier",
            vec![source("").encode_to_vec(), {
                terminal(vec![input(&source("").encode_to_vec(), 0)])
            }],
            "invalid source op with no identifier".to_owned(),
        ),
    ] {
        assert_eq!(load(def).expect_err(name).to_string(), error, "{name}");
    }
    let error = load(vec![b"\xff".to_vec(), image]).expect_err("no message");
    assert!(matches!(error, LoadError::Decode { .. }), "{error}");
}

#[test]
fn unknown_caps_are_refused_by_name() {
    let image = source("docker-image://a").encode_to_vec();
    let with_cap = |cap: &str, needed: bool| {
        let def = vec![image.clone(), terminal(vec![input(&image, 0)])];
        load_with(def, |definition| {
            let metadata = pb::OpMetadata {
                caps: [(cap.to_owned(), needed)].into(),
                ..pb::OpMetadata::default()
            };
            definition.metadata = [(Digest::of(&image).to_string(), metadata)].into();
        })
    };
    assert!(with_cap("source.image", true).is_ok());
    assert!(with_cap("made.up", false).is_ok());
    let error = with_cap("made.up", true).expect_err("unknown");
    assert!(error.to_string().contains("\"made.up\""), "{error}");
    assert_eq!(error.vertex(), Some(Digest::of(&image)));
}

#[test]
fn entitlements_are_checked_before_anything_runs() {
    let exec = exec_on_host_network();
    let error = load(vec![exec.clone(), terminal(vec![input(&exec, 0)])]);
    match error.expect_err("refused") {
        LoadError::Invalid { source, .. } => {
            let wanted = "network.host is not allowed";
            assert!(
                matches!(
                    &source,
                    SpecError::Entitlement(EntitlementError::NotGranted(_))
                ) && source.to_string() == wanted,
                "{source}"
            );
        }
        other => panic!("{other}"),
    }
}

#[test]
fn long_chains_are_bounded_and_wide_graphs_are_not() {
    let chain = |length: usize| {
        let mut def = vec![source("docker-image://a").encode_to_vec()];
        for _ in 1..length {
            def.push(merge(vec![input(&def[def.len() - 1], 0)]));
        }
        def.push(terminal(vec![input(&def[def.len() - 1], 0)]));
        load(def)
    };
    assert_eq!(chain(4_000).expect("within the limit").nodes.len(), 4_000);
    let error = chain(4_001).expect_err("too long");
    assert!(error.to_string().contains("longest chain"), "{error}");
    let sources: Vec<Vec<u8>> = (0..5_000)
        .map(|n| source(&format!("docker-image://{n}")).encode_to_vec())
        .collect();
    let wide = merge(sources.iter().map(|bytes| input(bytes, 0)).collect());
    let mut def = sources;
    def.push(wide.clone());
    def.push(terminal(vec![input(&wide, 0)]));
    assert_eq!(load(def).expect("no chain").nodes.len(), 5_001);
}

#[test]
fn names_do_not_explode() {
    let mut def = vec![source("docker-image://a").encode_to_vec()];
    for _ in 0..60 {
        let last = def[def.len() - 1].clone();
        def.push(merge(vec![input(&last, 0), input(&last, 0)]));
    }
    def.push(terminal(vec![input(&def[def.len() - 1], 0)]));
    let graph = load(def).expect("valid");
    assert_eq!(
        graph.nodes[1].name,
        "merge (docker-image://a, docker-image://a)"
    );
    let last = &graph.nodes[60].name;
    assert!(last.len() < 5_000, "{} bytes", last.len());
}

/// Watchers and the history see names (row LLB-08).
#[test]
fn names_show_no_credentials() {
    let a = source("https://user:secret@h.test/a").encode_to_vec();
    let custom = source("https://h.test/b").encode_to_vec();
    let both = merge(vec![input(&a, 0), input(&custom, 0)]);
    let def = vec![
        a,
        custom.clone(),
        both.clone(),
        terminal(vec![input(&both, 0)]),
    ];
    let graph = load_with(def, |definition| {
        let name = "ADD https://token@h.test/b /".to_owned();
        let metadata = pb::OpMetadata {
            description: [("llb.customname".to_owned(), name)].into(),
            ..pb::OpMetadata::default()
        };
        definition.metadata = [(Digest::of(&custom).to_string(), metadata)].into();
    });
    let nodes = graph.expect("valid").nodes;
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "https://xxxxx:xxxxx@h.test/a",
            "ADD https://xxxxx@h.test/b /",
            "merge (https://xxxxx:xxxxx@h.test/a, ADD https://xxxxx@h.test/b /)"
        ]
    );
}

#[test]
fn only_what_the_result_needs_is_loaded_and_custom_names_win() {
    let a = source("docker-image://a").encode_to_vec();
    let b = source("docker-image://b").encode_to_vec();
    let graph = load_with(
        vec![b, a.clone(), terminal(vec![input(&a, 0)])],
        |definition| {
            let metadata = pb::OpMetadata {
                description: [("llb.customname".to_owned(), "[1/1] FROM a".to_owned())].into(),
                ..pb::OpMetadata::default()
            };
            definition.metadata = [(Digest::of(&a).to_string(), metadata)].into();
        },
    );
    let names: Vec<String> = graph
        .expect("valid")
        .nodes
        .into_iter()
        .map(|n| n.name)
        .collect();
    assert_eq!(names, ["[1/1] FROM a"]);
}

/// Ops of all kinds with all kinds of fields, as a start for damage.
fn samples() -> Vec<Vec<u8>> {
    let file = pb::FileOp {
        actions: vec![
            pb::FileAction {
                input: 0,
                secondary_input: 2,
                output: 0,
                action: Some(pb::file_action::Action::Copy(pb::FileActionCopy {
                    src: "/a".to_owned(),
                    dest: "/b".to_owned(),
                    owner: Some(pb::ChownOpt {
                        user: Some(pb::UserOpt {
                            user: Some(pb::user_opt::User::ByName(pb::NamedUserOpt {
                                name: "u".to_owned(),
                                input: 0,
                            })),
                        }),
                        group: None,
                    }),
                    ..pb::FileActionCopy::default()
                })),
            },
            pb::FileAction {
                input: -1,
                secondary_input: -1,
                output: -1,
                action: Some(pb::file_action::Action::Mkdir(
                    pb::FileActionMkDir::default(),
                )),
            },
        ],
    };
    let diff = pb::DiffOp {
        lower: Some(pb::LowerDiffInput { input: 0 }),
        upper: Some(pb::UpperDiffInput { input: -1 }),
    };
    let build = pb::BuildOp {
        builder: -1,
        inputs: [(
            "buildkit.llb.definition".to_owned(),
            pb::BuildInput { input: 0 },
        )]
        .into(),
        ..pb::BuildOp::default()
    };
    let image = source("docker-image://a").encode_to_vec();
    let with_input = |op| {
        let op = pb::Op {
            inputs: vec![input(&image, 0)],
            op: Some(op),
            ..pb::Op::default()
        };
        op.encode_to_vec()
    };
    vec![
        with_input(pb::op::Op::File(file)),
        with_input(pb::op::Op::Diff(diff)),
        with_input(pb::op::Op::Build(build)),
        exec_on_host_network(),
        image,
    ]
}

#[test]
fn damaged_definitions_never_panic() {
    let mut random = 0x1234_5678_u64;
    let mut next = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(random >> 33).expect("31 bits") % below
    };
    let image = source("docker-image://a").encode_to_vec();
    let samples = samples();
    let (mut loaded, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut op = samples[next(samples.len())].clone();
        for _ in 0..=next(2) {
            let at = next(op.len());
            match next(3) {
                0 => op[at] = u8::try_from(next(256)).expect("a byte"),
                1 => drop(op.splice(at..=at, [])),
                _ => op.insert(at, 0xff),
            }
        }
        let last = terminal(vec![input(&op, 0)]);
        match load(vec![image.clone(), op, last]) {
            Ok(_) => loaded += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(
        loaded > 100 && refused > 100,
        "{loaded} loaded, {refused} refused"
    );
}
