//! Screens that take nothing: builds go on, and everything but the display ends.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::harness::Daemon;
use crate::harness::skip_unless_root;
use crate::run::BUSYBOX;
use crate::run::place_busybox;

/// Nothing that is waited for may take longer.
const LIMIT: Duration = Duration::from_secs(60);

/// Writes three times what may wait for a display, and then says something that is no part of its name.
const DOCKERFILE: &str = "FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
RUN busybox seq 1 3000000; echo that was $((40 + 2))
";

fn prepared() -> Option<Daemon> {
    if !fs::exists(BUSYBOX).unwrap_or(false) {
        writeln!(std::io::stderr(), "skipped: no static busybox").expect("standard error is open");
        return None;
    }
    let daemon = Daemon::start(&[]);
    daemon.write("much/Dockerfile", DOCKERFILE);
    place_busybox(&daemon.path("much/busybox"));
    daemon.write("little/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    Some(daemon)
}

/// Starts a build whose progress nobody reads, and waits until its result is there.
fn stopped(mut command: Command, result: &Path) -> Child {
    command.stderr(Stdio::piped()).stdout(Stdio::null());
    let child = command.spawn().expect("started");
    wait_until("the result is there", || result.exists());
    child
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads what was not read before, and returns it when the build has ended well.
fn read(mut stopped: Child) -> String {
    assert!(
        stopped.try_wait().expect("known").is_none(),
        "it was stopped"
    );
    let mut text = String::new();
    let mut stderr = stopped.stderr.take().expect("piped");
    stderr.read_to_string(&mut text).expect("text");
    assert!(stopped.wait().expect("ended").success(), "{text}");
    text
}

/// Says what was left out of a display of `DOCKERFILE`, and that the end was not.
#[track_caller]
fn assert_shortened(text: &str) {
    let last: Vec<&str> = text.lines().rev().take(20).collect();
    assert!(
        text.contains("bytes left out: the screen did not take them"),
        "{last:?}"
    );
    assert!(text.contains("that was 42"), "{last:?}");
    assert!(text.len() < 20 << 20, "{} bytes", text.len());
}

/// The state folder is free for others when the build has ended.
#[test]
fn an_engine_of_the_command_ends_before_its_display() {
    skip_unless_root!();
    let Some(daemon) = prepared() else { return };
    let line = |context: &'static str| {
        let output = format!("type=tar,dest={context}.tar");
        let words = [
            "build",
            "--embedded",
            "--progress",
            "plain",
            "--root",
            "own",
            "--output",
        ];
        let mut command = daemon.command(&words);
        command.args([output.as_str(), context]);
        command
    };
    let first = stopped(line("much"), &daemon.path("much.tar"));
    let mut second = line("little")
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    wait_until("the folder is free", || {
        second.try_wait().expect("known").is_some()
    });
    assert!(second.wait().expect("ended").success());
    assert_shortened(&read(first));
}

/// A daemon's build ends, and its record has all that a display may leave out.
#[test]
fn a_daemon_waits_for_no_display() {
    skip_unless_root!();
    let Some(daemon) = prepared() else { return };
    let words = [
        "build",
        "--progress",
        "plain",
        "--output",
        "type=tar,dest=much.tar",
        "much",
    ];
    let build = stopped(daemon.command(&words), &daemon.path("much.tar"));
    wait_until("the build has ended", || {
        daemon
            .run(&["history", "ls"])
            .ok()
            .stdout
            .contains("Completed")
    });
    let text = read(build);
    assert!(text.contains("that was 42"), "{} bytes", text.len());
    let log = daemon.run(&["history", "logs", "--progress", "plain"]).ok();
    let lines = log.stderr.lines();
    let numbers = lines.filter(|line| line.rsplit(' ').next().is_some_and(is_number));
    assert_eq!(numbers.count(), 3_000_001, "with that was 42");
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit()) && !word.is_empty()
}
