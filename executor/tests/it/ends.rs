//! How steps end (rows EXC-01, EXC-12): codes, signals, refusals, cancellation, our own death.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use lamina_executor::ExecError;
use lamina_executor::ExitStatus;
use lamina_types::CancelToken;
use lamina_types::LogStream;
use lamina_types::Progress;
use lamina_types::ProgressSink;
use lamina_types::StepStatus;

use crate::PROGRAM;
use crate::common;
use crate::fixture;
use crate::state_dir;
use crate::status;

#[tokio::test(flavor = "multi_thread")]
async fn codes_and_signals_are_reported() {
    let Some(world) = fixture() else { return };
    for (name, script, expected) in [
        ("success", "exit 0", ExitStatus::Code(0)),
        ("code", "exit 3", ExitStatus::Code(3)),
        (
            "not found in the shell",
            "nosuchprog",
            ExitStatus::Code(127),
        ),
        ("largest code", "exit 255", ExitStatus::Code(255)),
        (
            "child killed",
            "sh -c 'kill -9 $$'; exit $?",
            ExitStatus::Code(137),
        ),
    ] {
        let (finished, ..) = world.run(world.shell(script)).await;
        assert_eq!(status(finished), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_from_outside_is_reported() {
    let Some(world) = fixture() else { return };
    let marker = format!("85{}", std::process::id());
    let (told, running) = tokio::sync::oneshot::channel();
    let progress = Progress::new(Arc::new(TellOnOutput(std::sync::Mutex::new(Some(told)))));
    let spec = world.shell(&format!("echo go; exec sleep {marker}"));
    let executor = world.executor.clone();
    let step = async move { executor.run(spec, &progress, &CancelToken::new()).await };
    let task = tokio::spawn(step);
    running.await.expect("the step runs");
    wait_until(|| processes_with(&marker) == 1).await;
    for pid in all_processes()
        .into_iter()
        .filter(|pid| is_sleep(*pid, &marker))
    {
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
    }
    assert_eq!(status(task.await.expect("no panic")), ExitStatus::Signal(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_is_explained() {
    let Some(world) = fixture() else { return };
    for (name, program, expected) in [
        (
            "not in path",
            "nosuchprog",
            "exec: \"nosuchprog\": executable file not found in $PATH",
        ),
        (
            "no such file",
            "/no/such",
            "exec: \"/no/such\": stat /no/such: no such file or directory",
        ),
        (
            "not executable",
            "/etc/passwd",
            "exec: \"/etc/passwd\": permission denied",
        ),
    ] {
        let (finished, _, stderr) = world.run(world.spec(&[program])).await;
        assert_eq!(status(finished), ExitStatus::Code(1), "{name}");
        let expected = format!("unable to start container process: {expected}\n");
        assert_eq!(stderr, expected, "{name}");
    }
    let error = world.run(world.spec(&[])).await.0.err().expect("nothing");
    assert_eq!(error.to_string(), "no command specified");
    let mut spec = world.spec(&["/bin/true"]);
    spec.user = "nobody9".to_owned();
    let error = world.run(spec).await.0.err().expect("no such user");
    assert_eq!(
        error.to_string(),
        "unable to find user nobody9: no matching entries in passwd file"
    );
    let mut spec = world.spec(&["/bin/true"]);
    spec.ulimits = vec![lamina_executor::Ulimit {
        name: "NOFILE".to_owned(),
        soft: 1,
        hard: 1,
    }];
    let error = world.run(spec).await.0.err().expect("no such limit");
    assert_eq!(error.to_string(), "unknown ulimit \"NOFILE\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_complete_and_apart() {
    let Some(world) = fixture() else { return };
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo bad >&2";
    let (finished, stdout, stderr) = world.run(world.shell(script)).await;
    assert_eq!(status(finished), ExitStatus::Code(0));
    let expected: String = (0..20000)
        .map(|number| format!("line {number}\n"))
        .collect();
    assert!(
        stdout == expected,
        "{} of {} bytes",
        stdout.len(),
        expected.len()
    );
    assert_eq!(stderr, "bad\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn background_processes_do_not_keep_a_step_open() {
    let Some(world) = fixture() else { return };
    let start = Instant::now();
    let (finished, stdout, _) = world.run(world.shell("sleep 1000 & echo done")).await;
    assert_eq!(status(finished), ExitStatus::Code(0));
    assert_eq!(stdout, "done\n");
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

/// Cancels a token as soon as a step prints something.
pub(crate) struct CancelOnOutput(pub(crate) CancelToken);

impl ProgressSink for CancelOnOutput {
    fn log(&self, _: LogStream, _: &[u8]) {
        self.0.cancel();
    }
    fn status(&self, _: StepStatus) {}
    fn warn(&self, _: &str) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_kills_the_whole_tree() {
    let Some(world) = fixture() else { return };
    let marker = format!("86{}", std::process::id());
    let cancel = CancelToken::new();
    let progress = Progress::new(Arc::new(CancelOnOutput(cancel.clone())));
    let script = format!("(trap '' TERM; setsid sleep {marker} & sleep {marker}) & echo go; wait");
    let start = Instant::now();
    let result = world
        .executor
        .run(world.shell(&script), &progress, &cancel)
        .await;
    assert!(matches!(result, Err(ExecError::Cancelled(_))));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(processes_with(&marker), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_future_kills_the_step() {
    let Some(world) = fixture() else { return };
    let marker = format!("87{}", std::process::id());
    let (told, running) = tokio::sync::oneshot::channel();
    let progress = Progress::new(Arc::new(TellOnOutput(std::sync::Mutex::new(Some(told)))));
    let spec = world.shell(&format!("echo go; sleep {marker}"));
    let executor = world.executor.clone();
    let task = tokio::spawn(async move {
        drop(executor.run(spec, &progress, &CancelToken::new()).await);
    });
    running.await.expect("the step runs");
    task.abort();
    wait_until(|| processes_with(&marker) == 0).await;
}

struct TellOnOutput(std::sync::Mutex<Option<tokio::sync::oneshot::Sender<()>>>);

impl ProgressSink for TellOnOutput {
    fn log(&self, _: LogStream, _: &[u8]) {
        if let Some(told) = self.0.lock().expect("not poisoned").take() {
            told.send(()).expect("the test waits");
        }
    }
    fn status(&self, _: StepStatus) {}
    fn warn(&self, _: &str) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_die_with_a_daemon_that_is_killed() {
    if !nix::unistd::geteuid().is_root() || crate::obstacle().is_some() {
        return crate::skip::<()>("needs root and busybox").unwrap_or_default();
    }
    let state = state_dir();
    let marker = format!("88{}", std::process::id());
    let mut daemon = Command::new(PROGRAM)
        .arg("shell")
        .arg(state.path())
        .arg(format!(
            "(setsid sleep {marker} &); echo go; sleep {marker}"
        ))
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    let mut output = BufReader::new(daemon.stdout.take().expect("piped"));
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "go\n");
    // The line may come before the shell has started either of them.
    let both = async { wait_until(|| processes_with(&marker) == 2).await };
    let started = tokio::time::timeout(Duration::from_secs(10), both).await;
    daemon.kill().expect("killed");
    started.expect("both run");
    daemon.wait().expect("waited");
    wait_until(|| processes_with(&marker) == 0).await;
}

#[test]
fn a_runtime_that_died_is_replaced() {
    if !nix::unistd::geteuid().is_root() || crate::obstacle().is_some() {
        return crate::skip::<()>("needs root and busybox").unwrap_or_default();
    }
    let state = state_dir();
    let output = Command::new(PROGRAM)
        .arg("survive")
        .arg(state.path())
        .output()
        .expect("runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Code(4)\nCode(5)\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_steps_run_at_once_and_leave_no_descriptor() {
    let Some(world) = fixture() else { return };
    let run = |number: usize| {
        let spec = world.shell(&format!("echo {number}; exit {number}"));
        let executor = world.executor.clone();
        async move {
            let log = common::Log::default();
            let progress = Progress::new(Arc::new(log.clone()));
            let finished = executor.run(spec, &progress, &CancelToken::new()).await;
            (status(finished), log.text().0)
        }
    };
    let (finished, ..) = world.run(world.spec(&["/bin/true"])).await;
    drop(finished);
    let tasks: Vec<_> = (0..20).map(|number| tokio::spawn(run(number))).collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let code = i32::try_from(number).expect("small");
        let expected = (ExitStatus::Code(code), format!("{number}\n"));
        assert_eq!(task.await.expect("no panic"), expected);
    }
}

/// Polls a condition that the kernel brings about by itself.
async fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still not so after five seconds");
}

fn all_processes() -> Vec<i32> {
    std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn command_line(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Counts `sleep` processes with this argument.
pub(crate) fn processes_with(marker: &str) -> usize {
    all_processes()
        .into_iter()
        .filter(|pid| is_sleep(*pid, marker))
        .count()
}

fn is_sleep(pid: i32, marker: &str) -> bool {
    command_line(pid) == format!("sleep {marker} ")
}

/// A memory group with a limit, under which steps are put by name; removed with all that was made
/// below its name in other trees.
struct Limited(String);

impl Limited {
    fn make() -> Option<Self> {
        let name = format!("lamina-test-{}", std::process::id());
        let group = std::path::Path::new("/sys/fs/cgroup/memory").join(&name);
        if !group.parent().is_some_and(std::path::Path::exists) {
            return crate::skip("no memory controller of version 1");
        }
        if std::fs::create_dir(&group).is_err() {
            return crate::skip("control groups are not writable");
        }
        std::fs::write(group.join("memory.limit_in_bytes"), "32M").expect("limited");
        Some(Self(name))
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        for tree in std::fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let group = tree.path().join(&self.0);
            for dir in [group.join("buildkit"), group] {
                std::fs::remove_dir(dir).ok();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn want_of_memory_is_told_apart() {
    let Some(world) = fixture() else { return };
    let Some(limited) = Limited::make() else {
        return;
    };
    for (name, script, expected) in [
        ("too much", "tail /dev/zero", ExitStatus::OutOfMemory),
        (
            "too much in a child",
            "tail /dev/zero; exit 3",
            ExitStatus::OutOfMemory,
        ),
        ("enough", "exit 3", ExitStatus::Code(3)),
    ] {
        let mut spec = world.shell(script);
        spec.cgroup_parent = limited.0.clone();
        let (finished, ..) = world.run(spec).await;
        assert_eq!(status(finished), expected, "{name}");
    }
}
