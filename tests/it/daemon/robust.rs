//! Long lives: clients that stall or die in every phase, builds by the hundred, and stopping while
//! they run (rows NET-17, CSTA-03, CSTA-11, SVC-02, SES-08).

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use lamina_client::BuildRequest;
use lamina_client::Client;
use lamina_client::ClientError;
use lamina_client::TlsFiles;
use lamina_client::llb::State;
use lamina_proto::control::StatusRequest;
use lamina_proto::control::control_client::ControlClient;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use tokio::sync::mpsc;

use super::fake::Fake;
use super::raw::attach;
use super::raw::block_on;
use super::raw::connect;
use super::rig::Daemon;
use super::rig::daemon_of_root;
use crate::harness::base;
use crate::leftovers::unfinished;
use crate::waiting::wait_for_line;
use crate::waiting::wait_until;

/// How long what is left of builds may take to go: their names linger for ten seconds.
const FORGOTTEN: Duration = Duration::from_secs(25);

/// What a daemon holds.
#[derive(Clone, Debug)]
struct Held {
    descriptors: usize,
    mounts: usize,
    processes: usize,
    /// Files that are being made.
    unfinished: usize,
    resident_kib: u64,
}

impl Held {
    fn of(daemon: &Daemon) -> Self {
        let id = daemon.id();
        let count = |dir: &str| fs::read_dir(dir).map_or(0, Iterator::count);
        let mounts = fs::read_to_string(format!("/proc/{id}/mountinfo")).unwrap_or_default();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        Self {
            descriptors: count(&format!("/proc/{id}/fd")),
            mounts: mounts.lines().count(),
            processes: children.unwrap_or_default().split_whitespace().count(),
            unfinished: unfinished(&daemon.lamina.root()).len(),
            resident_kib: daemon.memory("VmRSS:"),
        }
    }

    /// Says whether this is no more than there was; of memory, within what heaps keep.
    fn is_within(&self, before: &Self, heap_kib: u64) -> bool {
        self.descriptors <= before.descriptors + 4
            && self.mounts <= before.mounts
            && self.processes <= before.processes
            && self.unfinished <= before.unfinished
            && self.resident_kib <= before.resident_kib + heap_kib
    }
}

/// Waits until the daemon holds no more than `before`.
#[track_caller]
fn assert_given_back(daemon: &Daemon, before: &Held, heap_kib: u64) {
    let begin = Instant::now();
    loop {
        let now = Held::of(daemon);
        if now.is_within(before, heap_kib) {
            println!("before {before:?}, after {now:?}");
            return;
        }
        assert!(
            begin.elapsed() < FORGOTTEN,
            "before {before:?}, after {now:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

async fn client(daemon: &Daemon) -> Client {
    let client = Client::connect(&daemon.address(), &TlsFiles::default()).await;
    client.expect("it listens")
}

fn session() -> LocalSession {
    let base = base().expect("checked at the start");
    LocalSession::builder().local_dir("base", base).build()
}

async fn build(client: &Client, what: &State) -> Result<(), ClientError> {
    let mut request = BuildRequest::new(Arc::new(session()));
    request.definition = Some(what.definition());
    let (events, _) = mpsc::unbounded_channel();
    client
        .solve(request, events, &CancelToken::new())
        .await
        .map(drop)
}

fn shell(script: &str) -> State {
    State::local("base").run(["/bin/sh", "-c", script]).root()
}

#[test]
fn errors_carry_large_dockerfiles() {
    let mut daemon = daemon_of_root!(buildx);
    let filler = "# a line that says nothing but takes its place in the file\n".repeat(3500);
    let dockerfile = format!("FROM base\n{filler}RUN exit 7\n");
    assert!(dockerfile.len() > 200 << 10);
    let failed = daemon.build(&dockerfile, &[]);
    failed.fails_with(&["exit code: 7", "RUN exit 7", "Dockerfile:3502"]);
    let base = format!("base={}", base().expect("checked at the start").display());
    let address = daemon.address();
    let failed = daemon
        .lamina
        .run(&["build", "--addr", &address, "--build-context", &base, "ctx"]);
    failed.fails_with(&["exit code: 7", "RUN exit 7"]);
    daemon.stop();
}

/// Starts buildx on a step that does not end, and waits until it runs. What it says goes to a file.
fn start_endless(daemon: &Daemon, errors: &Path) -> Child {
    let dockerfile = "FROM base\nRUN echo ready; sleep 1000\n";
    daemon.lamina.write("ctx/Dockerfile", dockerfile);
    let mut command = daemon.build_command(&[]);
    command.stdout(Stdio::null());
    command.stderr(fs::File::create(errors).expect("made"));
    let child = command.spawn().expect("buildx starts");
    wait_until("the step runs", || {
        let said = fs::read_to_string(errors).expect("text");
        said.lines().any(|line| line.ends_with(" ready"))
    });
    child
}

#[test]
fn stopping_tells_clients_why() {
    let mut daemon = daemon_of_root!(buildx);
    let errors = daemon.lamina.dir().join("errors");
    let mut stock = start_endless(&daemon, &errors);
    let error = block_on(async {
        let client = client(&daemon).await;
        let what = shell("echo other; sleep 1000");
        let building = build(&client, &what);
        tokio::pin!(building);
        let early = tokio::time::timeout(Duration::from_secs(1), &mut building).await;
        assert!(early.is_err(), "{early:?}");
        daemon.send("TERM");
        building.await.expect_err("stopped").to_string()
    });
    assert!(
        error.contains("context canceled: the daemon is stopping"),
        "{error}"
    );
    daemon.ended();
    assert!(!stock.wait().expect("a status").success());
    let errors = fs::read_to_string(errors).expect("text");
    assert!(errors.contains("context canceled"), "{errors}");
    for cut in ["EOF", "Unavailable", "transport"] {
        assert!(!errors.contains(cut), "{errors}");
    }
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let mut daemon = daemon_of_root!(buildx);
    let code = block_on(async {
        // A client that stays: the end in good order waits for it.
        let channel = connect(&daemon).await;
        let session = attach(channel, "stays", Fake::honest().routes()).await;
        let session = tokio::spawn(session);
        daemon.send("TERM");
        daemon.send("INT");
        let code = daemon.exit_code();
        session.abort();
        code
    });
    assert_eq!(code, Some(130), "{}", daemon.log());
    daemon.launch(&[]);
    daemon.wait_until_open();
    daemon.stop();
}

#[test]
fn hundreds_of_builds_leave_nothing() {
    let mut daemon = daemon_of_root!(buildx);
    block_on(async {
        let client = client(&daemon).await;
        let script = |round: usize| shell(&format!("echo {round} > /f"));
        for round in 0..5 {
            build(&client, &script(round)).await.expect("built");
        }
        let cached = script(0);
        for _ in 0..20 {
            build(&client, &cached).await.expect("built");
        }
        let before = Held::of(&daemon);
        for _ in 0..260 {
            build(&client, &cached).await.expect("built");
        }
        for round in 5..45 {
            build(&client, &script(round)).await.expect("built");
        }
        let many = (100..120).map(|round| {
            let (client, what) = (client.clone(), script(round));
            tokio::spawn(async move { build(&client, &what).await })
        });
        for one in many.collect::<Vec<_>>() {
            one.await.expect("no panic").expect("built");
        }
        assert_given_back(&daemon, &before, 16 << 10);
    });
    daemon.stop();
}

#[test]
fn clients_that_die_in_any_phase_leave_nothing() {
    let mut daemon = daemon_of_root!(buildx);
    daemon.build("FROM base\nRUN true\n", &[]).ok();
    let before = Held::of(&daemon);
    // Takes connections and never says a word.
    let registry = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = registry.local_addr().expect("an address");
    let push = format!("type=image,name={address}/app:1,push=true");
    let dockerfile = "FROM base\nRUN dd if=/dev/urandom of=/big bs=1M count=300\n";
    daemon.lamina.write("ctx/Dockerfile", dockerfile);
    for (output, phase) in [
        ("type=tar,dest=-", "sending tarball"),
        ("type=oci,dest=-", "sending tarball"),
        ("type=local,dest=out", "copying files"),
        (&push[..], "pushing"),
    ] {
        let mut command = daemon.build_command(&["--output", output]);
        // A pipe that nobody reads: the client cannot go on.
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn().expect("buildx starts");
        wait_for_line(&mut client, |line| line.contains(phase));
        client.kill().expect("killed");
        client.wait().expect("a status");
    }
    daemon.build("FROM base\nRUN true\n", &[]).ok();
    assert_given_back(&daemon, &before, 64 << 10);
    daemon.stop();
}

#[test]
fn a_watcher_that_stops_reading_holds_nothing_up() {
    let mut daemon = daemon_of_root!(buildx);
    daemon.stop();
    let unlimited = [
        ("BUILDKIT_STEP_LOG_MAX_SIZE", "-1"),
        ("BUILDKIT_STEP_LOG_MAX_SPEED", "-1"),
    ];
    for (name, variables, megabytes) in [("limited", &[][..], 400), ("all", &unlimited, 60)] {
        daemon.launch_with(&[], variables);
        block_on(async {
            let client = client(&daemon).await;
            let before = daemon.memory("VmRSS:");
            let script = format!("head -c {megabytes}000000 /dev/zero | tr '\\0' x");
            let mut request = BuildRequest::new(Arc::new(session()));
            request.definition = Some(shell(&script).definition());
            request.id = format!("loud-{name}");
            let mut control = ControlClient::new(connect(&daemon).await);
            let id = request.id.clone();
            let stalled = async {
                control
                    .status(StatusRequest { r#ref: id })
                    .await
                    .expect("it begins")
            };
            let (events, _) = mpsc::unbounded_channel();
            let cancel = CancelToken::new();
            let (built, stalled) = tokio::join!(client.solve(request, events, &cancel), stalled);
            built.expect("built");
            let grown = daemon.memory("VmHWM:") - before;
            println!("{name}: {megabytes} MB of log, {grown} KiB more memory");
            assert!(grown < 96 << 10, "{name}: {grown} KiB more");
            drop(stalled);
        });
        daemon.stop();
    }
}

#[test]
fn large_contexts_stream_through() {
    let mut daemon = daemon_of_root!(buildx);
    let (files, folders) = (5_000, 50);
    let context = daemon.lamina.dir().join("large");
    for folder in 0..folders {
        let folder = context.join(format!("{folder:03}"));
        fs::create_dir_all(&folder).expect("made");
        for file in 0..files / folders {
            fs::write(folder.join(format!("{file:04}")), "tiny").expect("written");
        }
    }
    let sparse = fs::File::create(context.join("sparse")).expect("made");
    sparse.set_len(256 << 20).expect("grown");
    block_on(async {
        let client = client(&daemon).await;
        let before = daemon.memory("VmRSS:");
        let session = LocalSession::builder()
            .local_dir("context", &context)
            .build();
        let mut request = BuildRequest::new(Arc::new(session));
        request.definition = Some(State::local("context").definition());
        let (events, _) = mpsc::unbounded_channel();
        let built = client.solve(request, events, &CancelToken::new()).await;
        built.expect("built");
        let grown = daemon.memory("VmHWM:") - before;
        println!("{files} files and 256 MiB: {grown} KiB more memory");
        assert!(grown < 96 << 10, "{grown} KiB more");
    });
    daemon.stop();
}
