//! Definitions, made by hand.

use lamina_proto::pb;
use lamina_proto::pb::file_action::Action;
use lamina_proto::pb::op::Op;
use lamina_types::Digest;
use prost::Message;

/// A program that needs no libraries.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// Ops of a graph, inputs first.
#[derive(Clone, Default)]
pub(crate) struct Ops(pub(crate) Vec<Vec<u8>>);

impl Ops {
    /// Adds an op on the first outputs of the ops with these indices; returns its index.
    pub(crate) fn add(&mut self, op: Op, inputs: &[usize]) -> usize {
        let input = |&at: &usize| pb::Input {
            digest: Digest::of(&self.0[at]).to_string(),
            index: 0,
        };
        let op = pb::Op {
            inputs: inputs.iter().map(input).collect(),
            op: Some(op),
            ..pb::Op::default()
        };
        self.0.push(op.encode_to_vec());
        self.0.len() - 1
    }

    /// A graph with busybox and users, as its only op.
    pub(crate) fn with_base() -> Self {
        let mut ops = Self::default();
        ops.add(file(base()), &[]);
        ops
    }

    /// The definition whose result is the last op.
    pub(crate) fn definition(mut self) -> pb::Definition {
        let last = self.0.last().map(|op| Digest::of(op).to_string());
        let terminal = pb::Op {
            inputs: last
                .map(|digest| pb::Input { digest, index: 0 })
                .into_iter()
                .collect(),
            ..pb::Op::default()
        };
        self.0.push(terminal.encode_to_vec());
        pb::Definition {
            def: self.0,
            ..pb::Definition::default()
        }
    }
}

fn base() -> Vec<Action> {
    vec![
        mkdir("/etc"),
        mkfile(
            "/etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235:/home/app:/bin/sh:x\n",
            0o644,
        ),
        mkfile("/etc/group", b"root:x:0:\napp:x:1235:\n", 0o644),
        mkdir("/bin"),
        mkfile(BUSYBOX, &std::fs::read(BUSYBOX).expect("busybox"), 0o755),
        symlink("/bin/sh", "/bin/busybox"),
        mkdir("/tmp"),
    ]
}

/// A file op whose actions build on each other; the first is on the op's first input, or on
/// nothing if `actions` begin with a tree of their own.
pub(crate) fn file(actions: Vec<Action>) -> Op {
    file_on(-1, actions)
}

/// A file op whose first action is on the input number `input`.
pub(crate) fn file_on(input: i64, actions: Vec<Action>) -> Op {
    let last = actions.len() - 1;
    let inputs = i64::from(input >= 0);
    let chained = actions
        .into_iter()
        .enumerate()
        .map(|(at, action)| pb::FileAction {
            input: match at {
                0 => input,
                _ => inputs + i64::try_from(at).expect("few actions") - 1,
            },
            secondary_input: -1,
            output: if at == last { 0 } else { -1 },
            action: Some(action),
        });
    let actions = chained.collect();
    Op::File(pb::FileOp { actions })
}

/// A copy between inputs of an op: from number 1 to number 0.
pub(crate) fn copy(from: &str, to: &str) -> Op {
    let action = pb::FileAction {
        input: 0,
        secondary_input: 1,
        output: 0,
        action: Some(Action::Copy(pb::FileActionCopy {
            src: from.to_owned(),
            dest: to.to_owned(),
            mode: -1,
            timestamp: -1,
            ..pb::FileActionCopy::default()
        })),
    };
    let actions = vec![action];
    Op::File(pb::FileOp { actions })
}

pub(crate) fn mkdir(path: &str) -> Action {
    Action::Mkdir(pb::FileActionMkDir {
        path: path.to_owned(),
        mode: 0o755,
        timestamp: -1,
        ..pb::FileActionMkDir::default()
    })
}

pub(crate) fn mkfile(path: &str, data: &[u8], mode: i32) -> Action {
    Action::Mkfile(pb::FileActionMkFile {
        path: path.to_owned(),
        mode,
        data: data.to_vec(),
        timestamp: -1,
        ..pb::FileActionMkFile::default()
    })
}

pub(crate) fn symlink(path: &str, target: &str) -> Action {
    Action::Symlink(pb::FileActionSymlink {
        newpath: path.to_owned(),
        oldpath: target.to_owned(),
        timestamp: -1,
        ..pb::FileActionSymlink::default()
    })
}

/// A process on the op's first input, whose root is the output.
pub(crate) fn exec(args: &[&str]) -> pb::ExecOp {
    pb::ExecOp {
        meta: Some(pb::Meta {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            cwd: "/".to_owned(),
            ..pb::Meta::default()
        }),
        mounts: vec![pb::Mount {
            dest: "/".to_owned(),
            ..pb::Mount::default()
        }],
        ..pb::ExecOp::default()
    }
}

pub(crate) fn shell(script: &str) -> pb::ExecOp {
    exec(&["/bin/sh", "-c", script])
}

pub(crate) fn source(identifier: &str) -> Op {
    Op::Source(pb::SourceOp {
        identifier: identifier.to_owned(),
        ..pb::SourceOp::default()
    })
}

/// A definition of one op on the base.
pub(crate) fn on_base(op: Op) -> pb::Definition {
    let mut ops = Ops::with_base();
    ops.add(op, &[0]);
    ops.definition()
}
