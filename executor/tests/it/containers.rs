//! Sandboxes with several processes (rows EXE-08 to EXE-22).

use std::time::Duration;

use lamina_executor::ExecError;
use lamina_executor::ExitStatus;
use lamina_executor::JoinSpec;
use lamina_executor::Launched;
use lamina_executor::ProcessOutput;
use lamina_executor::ProcessSpec;
use lamina_executor::ProcessStreams;
use lamina_executor::Sandbox;
use lamina_executor::SecurityMode;
use lamina_types::CancelToken;

use crate::Fixture;
use crate::fixture;

pub(crate) const SOME: ProcessStreams = ProcessStreams::Pipes {
    stdin: true,
    stdout: true,
    stderr: true,
};

/// Waits for a signal, and ends with the code that its name has here.
pub(crate) const WAITS: &str =
    "trap 'exit 10' USR1; trap 'exit 11' TERM; echo up; while :; do sleep 0.01; done";

pub(crate) async fn launch(world: &Fixture, script: &str) -> (Launched, Sandbox) {
    start(world, world.shell(script), SOME)
        .await
        .expect("launched")
}

pub(crate) async fn start(
    world: &Fixture,
    spec: ProcessSpec,
    streams: ProcessStreams,
) -> Result<(Launched, Sandbox), ExecError> {
    let cancel = CancelToken::new();
    world.executor.launch(spec, streams, &cancel).await
}

pub(crate) async fn join(
    world: &Fixture,
    sandbox: &Sandbox,
    spec: JoinSpec,
    streams: ProcessStreams,
) -> Result<Launched, ExecError> {
    let cancel = CancelToken::new();
    world.executor.join(sandbox, spec, streams, &cancel).await
}

pub(crate) fn command(args: &[&str]) -> JoinSpec {
    JoinSpec {
        args: args.iter().map(ToString::to_string).collect(),
        env: Vec::new(),
        cwd: "/".to_owned(),
        user: String::new(),
        security: SecurityMode::Sandbox,
        ulimits: Vec::new(),
    }
}

pub(crate) fn script(text: &str) -> JoinSpec {
    command(&["/bin/sh", "-c", text])
}

pub(crate) async fn all(output: &mut Option<ProcessOutput>) -> String {
    let output = output.as_mut().expect("wanted");
    let mut read = Vec::new();
    loop {
        read.reserve(4096);
        if output.read(&mut read).await.expect("readable") == 0 {
            return String::from_utf8(read).expect("text");
        }
    }
}

pub(crate) async fn line(output: &mut Option<ProcessOutput>) -> String {
    let output = output.as_mut().expect("wanted");
    let mut read = Vec::with_capacity(1);
    while !read.ends_with(b"\n") {
        read.reserve_exact(1);
        assert_ne!(
            output.read(&mut read).await.expect("readable"),
            0,
            "{read:?}"
        );
    }
    String::from_utf8(read).expect("text")
}

/// Joins and returns status and output.
pub(crate) async fn joined(
    world: &Fixture,
    sandbox: &Sandbox,
    spec: JoinSpec,
) -> (ExitStatus, String, String) {
    let mut launched = join(world, sandbox, spec, SOME).await.expect("joined");
    drop(launched.stdin.take());
    let (out, err) = (
        all(&mut launched.stdout).await,
        all(&mut launched.stderr).await,
    );
    let finished = launched.process.wait().await.expect("ran");
    (finished.status, out, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joined_process_sees_what_the_first_sees() {
    let Some(world) = fixture() else { return };
    let look = "for n in mnt pid ipc uts net cgroup user; do readlink /proc/self/ns/$n; done; \
                readlink /proc/self/root; cat /proc/self/cgroup; hostname; \
                grep -E '^(Cap|Seccomp|NoNewPrivs)' /proc/self/status; umask; ulimit -a; env; ls /";
    let (mut first, sandbox) =
        launch(&world, &format!("echo x >/made; {look}; echo end; {WAITS}")).await;
    let mut seen = String::new();
    while !seen.ends_with("end\n") {
        seen += &line(&mut first.stdout).await;
    }
    let (status, out, err) = joined(&world, &sandbox, script(&format!("{look}; echo end"))).await;
    assert_eq!((status, err.as_str()), (ExitStatus::Code(0), ""));
    // Both shells count themselves up.
    assert_eq!(out, seen);
    assert!(out.contains("\nmade\n"), "{out}");
    let fds = script("ls /proc/self/fd");
    assert_eq!(joined(&world, &sandbox, fds).await.1, "0\n1\n2\n3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_directories_and_codes() {
    let Some(world) = fixture() else { return };
    let (first, sandbox) = launch(&world, "echo late:x:77:77::/: >>/etc/passwd; cat").await;
    let spec = JoinSpec {
        user: "app".to_owned(),
        cwd: "/new/dir".to_owned(),
        env: vec!["A=1".to_owned()],
        ..script("id -u; id -G; pwd; echo $A $HOME; echo err >&2; exit 7")
    };
    let (status, out, err) = joined(&world, &sandbox, spec).await;
    assert_eq!((status, err.as_str()), (ExitStatus::Code(7), "err\n"));
    assert_eq!(out, "1000\n1001 10\n/new/dir\n1 /home/app\n");
    // Users that the container has made itself are known.
    let wait = "until grep -q late /etc/passwd; do sleep 0.01; done";
    joined(&world, &sandbox, script(wait)).await;
    let spec = JoinSpec {
        user: "late".to_owned(),
        ..script("id -u")
    };
    assert_eq!(joined(&world, &sandbox, spec).await.1, "77\n");
    for (spec, text) in [
        (
            command(&["/no/such"]),
            "unable to start container process: exec: \"/no/such\": stat /no/such: no such file or \
             directory",
        ),
        (
            JoinSpec {
                user: "nobody-here".to_owned(),
                ..script("true")
            },
            "unable to find user nobody-here: no matching entries in passwd file",
        ),
        (command(&[]), "no command specified"),
    ] {
        let refused = join(&world, &sandbox, spec, SOME);
        let error = refused.await.err().expect("refused").to_string();
        assert_eq!(error, text);
    }
    drop(first);
    world.executor.settled().await;
}

/// Row EXE-20.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_process_that_cannot_start_is_an_error() {
    let Some(world) = fixture() else { return };
    let spec = world.spec(&["nothing-like-this"]);
    let refused = start(&world, spec, SOME);
    let error = refused.await.err().expect("refused");
    assert!(matches!(error, ExecError::NotStarted(_)), "{error}");
    world.executor.settled().await;
}

/// Row EXE-21.
#[tokio::test(flavor = "multi_thread")]
async fn all_end_with_the_first() {
    let Some(world) = fixture() else { return };
    let (mut first, sandbox) = launch(&world, WAITS).await;
    line(&mut first.stdout).await;
    let spec = script("echo here; sleep 1000");
    let further = join(&world, &sandbox, spec, SOME);
    let mut further = further.await.expect("joined");
    line(&mut further.stdout).await;
    first.control.signal(10).expect("sent");
    let finished = first.process.wait().await.expect("ran");
    assert_eq!(finished.status, ExitStatus::Code(10));
    let finished = further.process.wait().await.expect("ran");
    assert_eq!(finished.status, ExitStatus::Signal(9));
    first.control.signal(10).expect("ignored");
    let late = join(&world, &sandbox, script("true"), SOME);
    let error = late.await.err().expect("refused").to_string();
    assert!(error.contains("the container has ended"), "{error}");
    // The runtime still makes namespaces where it should.
    let (_, sandbox) = launch(&world, "sleep 1000").await;
    drop(sandbox);
    world.executor.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_process_alone() {
    let Some(world) = fixture() else { return };
    let (mut first, sandbox) = launch(&world, WAITS).await;
    line(&mut first.stdout).await;
    let further = join(&world, &sandbox, script(WAITS), SOME);
    let mut further = further.await.expect("joined");
    line(&mut further.stdout).await;
    assert!(further.control.signal(4711).is_err());
    further.control.signal(15).expect("sent");
    let finished = further.process.wait().await.expect("ran");
    assert_eq!(finished.status, ExitStatus::Code(11));
    first.control.signal(15).expect("sent");
    let finished = first.process.wait().await.expect("ran");
    assert_eq!(finished.status, ExitStatus::Code(11));
}

/// Rows EXE-17 and EXE-19.
#[tokio::test(flavor = "multi_thread")]
async fn terminals_have_sizes_and_owners() {
    let Some(world) = fixture() else { return };
    let mut spec =
        world.shell("tty; ls -ln $(tty) | cut -d' ' -f1; read x; stty size; echo err >&2; exit 5");
    spec.user = "app".to_owned();
    let launched = start(&world, spec, ProcessStreams::Terminal);
    let (mut first, sandbox) = launched.await.expect("launched");
    for expected in ["/dev/pts/0\r\n", "crw--w----\r\n"] {
        assert_eq!(line(&mut first.stdout).await, expected);
    }
    first.control.resize(33, 44).expect("resized");
    let spec = script("tty; exec 2>/dev/null; read x || kill -KILL $$");
    let further = join(&world, &sandbox, spec, ProcessStreams::Terminal);
    let mut further = further.await.expect("joined");
    assert_eq!(line(&mut further.stdout).await, "/dev/pts/1\r\n");
    // As a user's Ctrl-C.
    let input = further.stdin.as_mut().expect("a terminal");
    input.write_all(b"\x03").await.expect("written");
    let finished = further.process.wait().await.expect("ran");
    assert_eq!(finished.status, ExitStatus::Signal(2));
    let input = first.stdin.as_mut().expect("a terminal");
    input.write_all(b"go\n").await.expect("written");
    assert_eq!(all(&mut first.stdout).await, "go\r\n33 44\r\nerr\r\n");
    let finished = first.process.wait().await.expect("ran");
    assert_eq!(finished.status, ExitStatus::Code(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_running_holds_no_stream() {
    let Some(world) = fixture() else { return };
    let (_first, sandbox) = launch(&world, "sleep 1000").await;
    let (status, out, _) = joined(&world, &sandbox, script("echo said; sleep 1000 &")).await;
    assert_eq!((status, out.as_str()), (ExitStatus::Code(0), "said\n"));
}

/// A container whose processes fill `/dev/pts` with something else gets no terminal of the host.
#[tokio::test(flavor = "multi_thread")]
async fn terminals_are_made_on_file_systems_of_terminals_only() {
    let Some(world) = fixture() else { return };
    let (mut first, sandbox) = launch(
        &world,
        "rm /dev/ptmx; mkfifo /dev/ptmx && echo up; sleep 1000",
    )
    .await;
    line(&mut first.stdout).await;
    let further = join(&world, &sandbox, script("tty"), ProcessStreams::Terminal);
    let joined = tokio::time::timeout(Duration::from_secs(20), further).await;
    let mut joined = joined.expect("does not hang").expect("joined");
    assert_eq!(all(&mut joined.stdout).await, "/dev/pts/0\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_everything() {
    let Some(world) = fixture() else { return };
    let cancel = CancelToken::new();
    let launched = world
        .executor
        .launch(world.shell("echo up; sleep 1000"), SOME, &cancel);
    let (mut first, sandbox) = launched.await.expect("launched");
    line(&mut first.stdout).await;
    let further = world
        .executor
        .join(&sandbox, script("sleep 1000"), SOME, &cancel);
    let further = further.await.expect("joined");
    cancel.cancel();
    for process in [first.process, further.process] {
        let error = process.wait().await.err().expect("cancelled");
        assert!(matches!(error, ExecError::Cancelled(_)), "{error}");
    }
    world.executor.settled().await;
}
