//! What the tests start as a program: the runtime, and cases that need a process of their own.

#[path = "../common/mod.rs"]
mod common;
mod held;

use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use held::Held;
use lamina_executor::ExitStatus;
use lamina_executor::RuntimeKind;
use lamina_executor::userns;
use lamina_executor::userns::IdMapping;
use lamina_network::Mode;
use lamina_network::NetworkOptions;
use lamina_network::Networks;
use lamina_snapshotter::Backend;
use lamina_snapshotter::XattrNamespace;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["runtime"] => lamina_executor::runtime_main(),
        ["measure", state, count] => measure(Path::new(state), count.parse().expect("a number")),
        ["measure-bridge", state, count] => {
            measure_on_bridge(Path::new(state), count.parse().expect("a number"));
        }
        ["shell", state, script] => shell(Path::new(state), XattrNamespace::Trusted, script),
        ["as-user", state, script] => {
            let xattrs = become_user();
            shell(Path::new(state), xattrs, script);
        }
        ["many", state, at_once, in_a_row] => {
            let world = world(Path::new(state), XattrNamespace::Trusted);
            many(world, Path::new(state), number(at_once), number(in_a_row));
        }
        ["many-as-user", state, at_once, in_a_row] => {
            let xattrs = become_user();
            let world = world(Path::new(state), xattrs);
            many(world, Path::new(state), number(at_once), number(in_a_row));
        }
        ["ask", socket, question] => ask(Path::new(socket), question),
        ["survive", state] => survive(Path::new(state)),
        ["enter-and-exit", code] => {
            userns::enter().unwrap_or_else(|error| fail(&error.to_string()));
            std::process::exit(code.parse().expect("a number"));
        }
        ["enter-and-wait"] => {
            userns::enter().unwrap_or_else(|error| fail(&error.to_string()));
            say("ready\n");
            std::thread::park();
        }
        // Started by a container, of its own accord.
        ["wait"] => {
            say("waiting\n");
            std::thread::park();
        }
        other => fail(&format!("unknown arguments {other:?}")),
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .expect("stdout works");
}

fn fail(text: &str) -> ! {
    writeln!(std::io::stderr(), "{text}").expect("stderr works");
    std::process::exit(1)
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("tokio starts")
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

/// Enters the namespaces of an ordinary user, says which, and returns where its store keeps attributes.
fn become_user() -> XattrNamespace {
    let mapping = userns::enter().unwrap_or_else(|error| fail(&error.to_string()));
    say(&format!("{mapping:?}\n"));
    match mapping {
        IdMapping::Root => XattrNamespace::Trusted,
        _ => XattrNamespace::User,
    }
}

/// Runs steps at once and then in a row, and compares what this process holds before and after.
fn many(world: common::World, state: &Path, at_once: usize, in_a_row: usize) {
    let world = Arc::new(world);
    tokio().block_on(async {
        // What is made once is there from now on.
        step(Arc::clone(&world), 7).await;
        world.executor.settled().await;
        let before = Held::now(state);
        let started = Instant::now();
        let steps = (0..at_once).map(|number| step(Arc::clone(&world), number));
        tokio::task::JoinSet::from_iter(steps).join_all().await;
        say(&format!("{at_once} at once in {:?}\n", started.elapsed()));
        world.executor.settled().await;
        assert_eq!(Held::now(state), before, "at once");
        let started = Instant::now();
        for number in 0..in_a_row {
            step(Arc::clone(&world), number).await;
        }
        say(&format!("{in_a_row} in a row in {:?}\n", started.elapsed()));
        world.executor.settled().await;
        assert_eq!(Held::now(state), before, "in a row");
    });
}

/// Runs a step that ends with a code of its own.
async fn step(world: Arc<common::World>, number: usize) {
    let script = format!("exit {}", number % 256);
    let (finished, ..) = world.run(world.shell(&script)).await;
    let expected = ExitStatus::Code(i32::try_from(number % 256).expect("small"));
    assert_eq!(finished.expect("runs").status, expected);
}

/// Asks a socket and prints the answer.
fn ask(socket: &Path, question: &str) {
    let mut stream = std::os::unix::net::UnixStream::connect(socket)
        .unwrap_or_else(|error| fail(&format!("connect: {error}")));
    let mut answer = String::new();
    let asked = stream
        .write_all(question.as_bytes())
        .and_then(|()| stream.shutdown(std::net::Shutdown::Write))
        .and_then(|()| stream.read_to_string(&mut answer));
    asked.unwrap_or_else(|error| fail(&format!("ask: {error}")));
    say(&answer);
}

fn world(state: &Path, xattrs: XattrNamespace) -> common::World {
    let program = std::env::current_exe().expect("own path");
    let backend = match std::env::var("LAMINA_TEST_BACKEND").as_deref() {
        Ok("fuse") => Backend::Fuse,
        Ok("copy") => Backend::Copy,
        _ => Backend::Overlay,
    };
    common::World::on(backend, state, &program, RuntimeKind::Builtin, xattrs)
        .unwrap_or_else(|error| fail(&error.to_string()))
}

/// Runs a script as a step and prints what it prints, as it comes.
fn shell(state: &Path, xattrs: XattrNamespace, script: &str) {
    struct Print;
    impl lamina_types::ProgressSink for Print {
        fn log(&self, _: lamina_types::LogStream, data: &[u8]) {
            say(&String::from_utf8_lossy(data));
        }
        fn status(&self, _: lamina_types::StepStatus) {}
        fn warn(&self, _: &str) {}
    }
    let world = world(state, xattrs);
    let progress = lamina_types::Progress::new(std::sync::Arc::new(Print));
    let cancel = lamina_types::CancelToken::new();
    tokio().block_on(async {
        let mut spec = world.shell(script);
        spec.emulator = std::env::var_os("LAMINA_TEST_EMULATOR").map(Into::into);
        match world.executor.run(spec, &progress, &cancel).await {
            Ok(finished) => say(&format!("{:?}\n", finished.status)),
            Err(error) => fail(&error.to_string()),
        }
    });
}

/// Runs steps before and after the runtime, the only child of this process, is killed.
fn survive(state: &Path) {
    let world = world(state, XattrNamespace::Trusted);
    tokio().block_on(async {
        say(&format!(
            "{:?}\n",
            world
                .run(world.shell("exit 4"))
                .await
                .0
                .expect("runs")
                .status
        ));
        let outer = children("thread-self");
        let inner = children(&format!("{}/task/{}", outer[0], outer[0]));
        let pid = nix::unistd::Pid::from_raw(outer[0].parse().expect("a number"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
        // It takes the process that serves the socket along.
        while Path::new("/proc").join(&inner[0]).exists() {
            std::thread::yield_now();
        }
        say(&format!(
            "{:?}\n",
            world
                .run(world.shell("exit 5"))
                .await
                .0
                .expect("runs")
                .status
        ));
    });
}

fn children(task: &str) -> Vec<String> {
    let list = std::fs::read_to_string(format!("/proc/{task}/children")).expect("children");
    list.split_whitespace().map(str::to_owned).collect()
}

/// Prints how long a step of /bin/true takes over the process itself.
fn measure(state: &Path, count: u32) {
    measure_in(&world(state, XattrNamespace::Trusted), count);
}

/// The same for steps with a network of their own; to be run in a network namespace of its own.
fn measure_on_bridge(state: &Path, count: u32) {
    let options = NetworkOptions {
        mode: Mode::Bridge,
        state_dir: state.join("networks"),
        ..NetworkOptions::default()
    };
    let networks = Networks::start(options).unwrap_or_else(|error| fail(&error.to_string()));
    let program = std::env::current_exe().expect("own path");
    let how = (RuntimeKind::Builtin, XattrNamespace::Trusted);
    let world = common::World::with_networks(Backend::Overlay, state, &program, how, networks);
    measure_in(
        &world.unwrap_or_else(|error| fail(&error.to_string())),
        count,
    );
}

fn measure_in(world: &common::World, count: u32) {
    tokio().block_on(async {
        world.run(world.spec(&["/bin/true"])).await.0.expect("runs");
        let mut times = Vec::new();
        for _ in 0..count {
            let spec = world.spec(&["/bin/true"]);
            let start = Instant::now();
            let (finished, ..) = world.run(spec).await;
            times.push(start.elapsed());
            finished.expect("runs");
        }
        times.sort();
        let middle = times[times.len() / 2];
        say(&format!(
            "{count} steps: median {middle:?}, {:?} to {:?}\n",
            times[0],
            times[times.len() - 1]
        ));
    });
}
