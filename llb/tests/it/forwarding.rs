//! Sockets of the client in steps (rows EXC-27, SVC-15, SVC-16, SES-07).

use std::collections::BTreeMap;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use lamina_proto::pb;
use lamina_proto::pb::op::Op;
use lamina_session::LocalSession;

use crate::graph;
use crate::graph::Ops;
use crate::graph::exec;
use crate::harness::Outcome;
use crate::world;
use crate::world::World;

/// What starts programs with libraries.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

const SOCKET: &str = "/run/agent.sock";

/// Asks a socket, and fails if the answer is not the question in capitals: a program of a step.
pub(crate) fn ask(socket: &str, question: &str) {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("connects");
    stream.write_all(question.as_bytes()).expect("asked");
    stream.shutdown(std::net::Shutdown::Write).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert_eq!(answer, question.to_uppercase());
}

/// An agent that answers in capitals, in a thread of its own as long as the test program lives.
fn agent(dir: &Path) -> PathBuf {
    let path = dir.join("agent.sock");
    let listener = UnixListener::bind(&path).expect("listens");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut question = String::new();
            stream.read_to_string(&mut question).expect("asked");
            stream
                .write_all(question.to_uppercase().as_bytes())
                .expect("told");
        }
    });
    path
}

/// A folder with this program and its libraries, each where it looks for them.
fn program(dir: &Path) -> PathBuf {
    let root = dir.join("program");
    let copy = |from: &Path, to: &Path| {
        let place = root.join(to.strip_prefix("/").unwrap_or(to));
        std::fs::DirBuilder::new()
            .recursive(true)
            .create(place.parent().expect("below"))
            .expect("a folder");
        let data = std::fs::read(from).expect("a file");
        std::fs::write(&place, data).expect("copied");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&place, mode).expect("executable");
    };
    copy(Path::new("/proc/self/exe"), Path::new("/ask"));
    let own = std::env::current_exe()
        .expect("a path")
        .display()
        .to_string();
    let loader = Path::new(LOADER);
    copy(loader, loader);
    let listed = Command::new(LOADER).args(["--list", &own]).output();
    let listed = listed.expect("the loader lists libraries").stdout;
    let listed = String::from_utf8(listed).expect("text");
    for library in listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
    {
        if library.starts_with('/') {
            copy(Path::new(library), Path::new(library));
        }
    }
    root
}

/// A process that asks the agent; its root is the client's folder `program`.
fn asking(question: &str, ssh: pb::SshOpt) -> pb::Definition {
    let mut ops = Ops::default();
    ops.add(graph::source("local://program"), &[]);
    let mut op = exec(&["/ask", "ask", SOCKET, question]);
    op.mounts.push(pb::Mount {
        input: -1,
        output: -1,
        dest: SOCKET.to_owned(),
        mount_type: pb::MountType::Ssh.into(),
        ssh_opt: Some(ssh),
        ..pb::Mount::default()
    });
    ops.add(Op::Exec(op), &[0]);
    ops.definition()
}

fn options(id: &str, optional: bool) -> pb::SshOpt {
    pb::SshOpt {
        id: id.to_owned(),
        mode: 0o600,
        optional,
        ..pb::SshOpt::default()
    }
}

/// A world with the folder `program`.
fn with_program<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) -> Outcome {
    if !Path::new(LOADER).exists() {
        return Outcome::Skipped(format!("no {LOADER}"));
    }
    world::with(BTreeMap::new(), |world| {
        program(world.dir.path());
        test(world)
    })
}

fn client(world: &World) -> lamina_session::LocalSessionBuilder {
    LocalSession::builder().local_dir("program", world.dir.path().join("program"))
}

pub(crate) fn steps_reach_the_client() -> Outcome {
    with_program(|world| async move {
        let agent = agent(world.dir.path());
        for id in ["default", "work"] {
            let session = client(&world).ssh_agent(id, &agent).build();
            let (build, _) = world.build(Arc::new(session));
            let asked = if id == "default" { "" } else { id };
            let solved = world::solve(&build, asking(id, options(asked, false))).await;
            drop(solved.expect("the step reaches the agent"));
        }
    })
}

pub(crate) fn missing_agents() -> Outcome {
    with_program(|world| async move {
        let (build, _) = world.build(Arc::new(client(&world).build()));
        let solved = world::solve(&build, asking("q", options("x", false))).await;
        let error = solved.expect_err("no agent");
        assert_eq!(error.message, "no SSH key \"x\" forwarded from the client");
        assert!(error.exit_code.is_none() && error.vertex.is_some());
        let solved = world::solve(&build, asking("r", options("x", true))).await;
        assert!(
            solved.expect_err("no socket").exit_code.is_some(),
            "the step has run"
        );
    })
}

/// A step that two builds want runs with what either of their clients offers.
pub(crate) fn another_client_helps() -> Outcome {
    with_program(|world| async move {
        let agent = agent(world.dir.path());
        let (without, _) = world.build(Arc::new(client(&world).build()));
        let (with, _) = world.build(Arc::new(client(&world).ssh_agent("x", &agent).build()));
        let definition = asking("shared", options("x", false));
        let (without, with) = (
            world::solve(&without, definition.clone()),
            world::solve(&with, definition),
        );
        // Both wait for the same transfer first, so both are there when the step starts.
        let (without, with) = tokio::join!(without, with);
        drop(with.expect("the agent is there"));
        drop(without.expect("the other's agent helps"));
    })
}
