//! `lamina run` and `lamina build --debug-shell`, by a daemon and without.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::harness::Daemon;
use crate::harness::Finished;
use crate::harness::skip_unless_root;

pub(crate) const BUSYBOX: &str = "/bin/busybox";

const DOCKERFILE: &str = "FROM scratch AS base
COPY busybox /bin/busybox
COPY busybox /bin/sh
ENV WHO=image KEPT=1
WORKDIR /work
FROM base AS other
COPY note /note
FROM base
USER 7:8
ENTRYPOINT [\"/bin/busybox\", \"echo\", \"from the\"]
CMD [\"image\"]
";

/// A daemon and a context; `None`, and told, where they cannot be.
fn prepared() -> Option<Daemon> {
    if !fs::exists(BUSYBOX).unwrap_or(false) {
        writeln!(std::io::stderr(), "skipped: no static busybox").expect("standard error is open");
        return None;
    }
    let daemon = Daemon::start(&["--allow-insecure-entitlement=network.host"]);
    daemon.write("context/Dockerfile", DOCKERFILE);
    daemon.write("context/note", "a note\n");
    place_busybox(&daemon.path("context/busybox"));
    Some(daemon)
}

/// Puts a program with a shell at `to`.
pub(crate) fn place_busybox(to: &Path) {
    fs::write(to, fs::read(BUSYBOX).expect("readable")).expect("written");
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("owned");
}

/// Runs the same by the daemon and by an engine of the command.
fn both(daemon: &Daemon, args: &[&str]) -> [Finished; 2] {
    let args = [&["run", "--progress", "quiet"], args].concat();
    [daemon.run(&args), daemon.run_without_daemon(&args)]
}

/// Asserts that a command told why it failed.
#[track_caller]
fn told(finished: &Finished, why: &str) {
    assert!(finished.stderr.contains(why), "{}", finished.stderr);
}

/// Says what a command prints, which must end with `code`.
#[track_caller]
fn said(daemon: &Daemon, args: &[&str], code: i32) -> String {
    let [by_daemon, by_itself] = both(daemon, args);
    assert_eq!(by_daemon.code, Some(code), "{}", by_daemon.stderr);
    assert_eq!(by_itself.code, Some(code), "{}", by_itself.stderr);
    assert_eq!(by_daemon.stdout, by_itself.stdout);
    by_daemon.stdout
}

#[test]
fn the_image_says_what_is_run() {
    skip_unless_root!();
    let Some(daemon) = prepared() else { return };
    assert_eq!(said(&daemon, &["context"], 0), "from the image\n");
    let look = "pwd; busybox id -u; echo $WHO $KEPT; exit 5";
    let args = ["context", "--", "sh", "-c", look];
    assert_eq!(said(&daemon, &args, 5), "/work\n7\nimage 1\n");
    let options = [
        "-e", "WHO=me", "-u", "0", "-w", "/bin", "context", "--", "sh", "-c", look,
    ];
    assert_eq!(said(&daemon, &options, 5), "/bin\n0\nme 1\n");
    let stage = [
        "--target", "other", "context", "--", "busybox", "cat", "/note",
    ];
    assert_eq!(said(&daemon, &stage, 0), "a note\n");
    let missing = ["context", "--", "/no/such"];
    for finished in both(&daemon, &missing) {
        assert_eq!(finished.code, Some(1));
        told(&finished, "/no/such: no such file or directory");
    }
}

#[test]
fn mounts_and_networks_are_given() {
    skip_unless_root!();
    let Some(daemon) = prepared() else { return };
    let mounts = [
        "--mount",
        "target=/src,source=note",
        "--mount",
        "from=other,target=/other,ro=true",
        "--mount",
        "type=tmpfs,target=/t,size=4096",
        "--mount",
        "type=cache,target=/c",
        "--secret",
        "id=s,src=context/note",
        "--mount",
        "type=secret,id=s,mode=0444",
        "-u",
        "0",
        "--network",
        "none",
        "--hostname",
        "h",
        "--add-host",
        "x:1.2.3.4",
        "context",
        "--",
        "sh",
        "-c",
        "busybox cat /src /other/note /run/secrets/s; busybox hostname; busybox grep x /etc/hosts; \
         busybox ls /sys/class/net; echo kept >>/c/f; busybox grep -c tmpfs.*size=4k /proc/mounts",
    ];
    let shown = "a note\na note\na note\nh\n1.2.3.4\tx\nlo\n1\n";
    assert_eq!(said(&daemon, &mounts, 0), shown);
    let cached = [
        "--mount",
        "type=cache,target=/c",
        "context",
        "--",
        "busybox",
        "cat",
        "/c/f",
    ];
    assert_eq!(said(&daemon, &cached, 0), "kept\n");
    let host = ["--network", "host", "context"];
    for finished in both(&daemon, &host) {
        assert_eq!(finished.code, Some(1));
        told(&finished, "network.host is not allowed");
    }
    let granted = ["--allow", "network.host", "--network", "host", "context"];
    assert_eq!(said(&daemon, &granted, 0), "from the image\n");
    let wrong = daemon.run(&["run", "--mount", "type=disk,target=/x", "context"]);
    told(&wrong, "the type is bind, cache");
}

#[test]
fn pipes_carry_everything() {
    skip_unless_root!();
    let Some(daemon) = prepared() else { return };
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let mut command = daemon.command(&[
        "run",
        "--progress",
        "quiet",
        "context",
        "--",
        "sh",
        "-c",
        "busybox cat; echo end >&2; exit 9",
    ]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let fed = bytes.clone();
    let feeding = std::thread::spawn(move || stdin.write_all(&fed).expect("written"));
    let output = child.wait_with_output().expect("ended");
    feeding.join().expect("no panic");
    assert_eq!(output.status.code(), Some(9));
    assert!(output.stdout == bytes, "{} bytes", output.stdout.len());
    assert_eq!(output.stderr, b"end\n");
}

#[test]
fn a_signal_ends_the_command_and_its_container() {
    skip_unless_root!();
    let Some(daemon) = prepared() else { return };
    let mut command = daemon.command(&[
        "run",
        "--progress",
        "quiet",
        "context",
        "--",
        "sh",
        "-c",
        "echo up; busybox sleep 1000",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
    let mut line = [0; 3];
    let stdout = child.stdout.as_mut().expect("piped");
    std::io::Read::read_exact(stdout, &mut line).expect("it runs");
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("told");
    let code = child.wait().expect("ended").code();
    assert_eq!(code, Some(130));
}

/// Runs a command line on a terminal of its own, with these keys; returns all that is shown, and
/// the settings of the terminal before and after.
fn on_terminal(daemon: &Daemon, line: &str, keys: &str) -> Option<(String, [String; 2])> {
    let program = env!("CARGO_BIN_EXE_lamina");
    let wrapped = format!("stty -a >before; {program} {line}; echo code $?; stty -a >after",);
    let mut command = Command::new("script");
    command.args(["-qec", &wrapped, "/dev/null"]);
    command.current_dir(daemon.path(""));
    command.env(
        "BUILDKIT_HOST",
        format!("unix://{}", daemon.path("socket").display()),
    );
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        writeln!(std::io::stderr(), "skipped: no script(1)").expect("standard error is open");
        return None;
    };
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    let (mut shown, mut keys) = (String::new(), Some(keys));
    let mut buffer = [0; 4096];
    let begun = Instant::now();
    while let Ok(length) = std::io::Read::read(&mut stdout, &mut buffer) {
        if length == 0 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{shown}");
        shown += &String::from_utf8_lossy(&buffer[..length]);
        // The prompt: now the keys are for the shell.
        if shown.contains("# ")
            && let Some(keys) = keys.take()
        {
            stdin.write_all(keys.as_bytes()).expect("written");
        }
    }
    child.wait().expect("ended");
    Some((shown, ["before", "after"].map(|name| daemon.read(name))))
}

/// Row ERR-03, as a user has it: the shell has what the step left.
#[test]
fn a_failing_step_gets_a_shell() {
    skip_unless_root!();
    let Some(daemon) = prepared() else { return };
    daemon.write(
        "failing/Dockerfile",
        "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV A=b\nWORKDIR /w\n\
         RUN echo dirt >left; busybox seq 1 3000; echo the last of $((3000 + 1)); exit 6\n",
    );
    place_busybox(&daemon.path("failing/busybox"));
    let keys = "echo it is $(busybox cat left) $A; busybox tty\nexit 3\n";
    for embedded in ["", "--embedded --root other-state"] {
        let line = format!("build --progress plain --debug-shell {embedded} failing");
        let Some((shown, [before, after])) = on_terminal(&daemon, &line, keys) else {
            return;
        };
        assert!(shown.contains("it is dirt b\r\n/dev/pts/0"), "{shown}");
        let before_shell = shown.split("A shell where").next().unwrap_or_default();
        let last = before_shell.matches("the last of 3001").count();
        assert_eq!(last, 2, "as progress and in the report: {shown}");
        assert!(shown.contains("code 6"), "{shown}");
        assert_eq!(before, after, "the terminal is as it was");
    }
    let finished = daemon.run(&["build", "--debug-shell", "failing"]);
    told(&finished, "--debug-shell needs a terminal");
}

#[test]
fn a_program_gets_the_terminal() {
    skip_unless_root!();
    let Some(daemon) = prepared() else { return };
    let keys = "busybox tty; trap 'echo caught' INT\n\u{3}exit 4\n";
    let line = "run --progress plain -u 0 -e 'PS1=here# ' context -- sh";
    let Some((shown, [before, after])) = on_terminal(&daemon, line, keys) else {
        return;
    };
    assert!(shown.contains("/dev/pts/0\r\n"), "{shown}");
    assert!(shown.contains("code 4"), "{shown}");
    assert_eq!(before, after, "the terminal is as it was");
}
