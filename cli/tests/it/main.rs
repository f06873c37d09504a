//! The command as a client of a daemon, end to end; the daemon is the same program.

mod calls;
mod harness;
mod run;
mod screens;
mod streams;

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::process::Stdio;

use harness::Daemon;
use harness::skip_unless_root;
use serde_json::Value;

/// What every HTTP/2 client says first, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[test]
fn a_daemon_builds_and_remembers() {
    skip_unless_root!();
    let daemon = Daemon::start(&[]);
    daemon.write("context/Dockerfile", "FROM scratch\nCOPY hello /greeting\n");
    daemon.write("context/hello", "hello");

    let built = daemon
        .run(&["build", "--progress", "plain", "-o", "out", "context"])
        .ok();
    assert_eq!(daemon.read("out/greeting"), "hello");
    assert!(
        built.stderr.contains("COPY hello /greeting"),
        "{}",
        built.stderr
    );
    let again = daemon
        .run(&["build", "--progress", "plain", "-o", "out", "context"])
        .ok();
    assert!(again.stderr.contains(" CACHED"), "{}", again.stderr);

    let usage = daemon.run(&["du", "--format", "json"]).ok().json();
    assert!(
        usage.as_array().is_some_and(|records| !records.is_empty()),
        "{usage}"
    );
    let table = daemon.run(&["du"]).ok().stdout;
    assert!(
        table.starts_with("ID") && table.contains("Total:"),
        "{table}"
    );

    let builds = daemon
        .run(&["history", "ls", "--format", "{{json .}}"])
        .ok()
        .json();
    assert_eq!(builds.as_array().map(Vec::len), Some(2), "{builds}");
    let newest = builds[0]["ref"].as_str().expect("a name").to_owned();
    assert_eq!(builds[0]["status"], "Completed");
    let shown = daemon.run(&["history", "inspect", &newest]).ok().stdout;
    assert!(shown.contains("dockerfile.v0"), "{shown}");
    let logs = daemon.run(&["history", "logs", "^1"]).ok().stderr;
    assert!(logs.contains("COPY hello /greeting"), "{logs}");
    daemon.run(&["history", "rm", "--all"]).ok();
    assert_eq!(
        daemon.run(&["history", "ls"]).ok().stdout.lines().count(),
        1
    );

    let removed = daemon.run(&["prune", "--all"]).ok().stdout;
    assert!(removed.contains("Total:"), "{removed}");
}

#[test]
fn failures_are_told_as_without_a_daemon() {
    skip_unless_root!();
    let daemon = Daemon::start(&[]);
    daemon.write("context/Dockerfile", "FROM scratch\nCOPY missing /x\n");
    let build = ["build", "--progress", "plain", "-o", "out", "context"];
    let remote = daemon.run(&build);
    assert_eq!(remote.code, Some(1));
    for part in [
        "Dockerfile:2",
        ">>> COPY missing /x",
        "ERROR: failed to solve: ",
    ] {
        assert!(remote.stderr.contains(part), "{part}: {}", remote.stderr);
    }
    // Names of references are chosen anew in each build.
    let report = |text: &str| {
        let report = &text[text.find("Dockerfile:2").expect("a report")..];
        let (before, rest) = report.split_once("of ref ").expect("a reference");
        let (_, after) = rest.split_once(": ").expect("what is wrong with it");
        format!("{before}{after}")
    };
    let embedded = daemon.run_without_daemon(&build);
    assert_eq!(embedded.code, Some(1), "{}", embedded.stderr);
    assert_eq!(report(&remote.stderr), report(&embedded.stderr));
}

#[test]
fn daemons_are_looked_into() {
    skip_unless_root!();
    let daemon = Daemon::start(&["--oci-worker-labels=colour=blue"]);
    let info = daemon.run(&["debug", "info"]).ok().stdout;
    assert!(
        info.starts_with("BuildKit: github.com/lamina-build/lamina v"),
        "{info}"
    );
    let told = daemon.run(&["debug", "info", "--format", "json"]);
    let told = told.ok().json();
    let snapshotter = |field: &str| told["snapshotter"][field].as_str().unwrap_or_default();
    assert!(!snapshotter("reason").is_empty(), "{told}");
    let (name, reason) = (snapshotter("name"), snapshotter("reason"));
    let line = format!("\nSnapshotter: {name} ({reason})\n");
    assert!(info.contains(&line), "{info}");
    let workers = daemon
        .run(&["debug", "workers", "--format", "json"])
        .ok()
        .json();
    assert_eq!(workers[0]["labels"]["colour"], "blue", "{workers}");
    assert_eq!(workers[0]["platforms"][0]["os"], "linux", "{workers}");
    let table = daemon.run(&["debug", "workers"]).ok().stdout;
    assert!(table.starts_with("ID"), "{table}");
    let none = daemon
        .run(&["debug", "workers", "--filter", "labels.colour==red"])
        .ok()
        .stdout;
    assert_eq!(none.lines().count(), 1, "{none}");
}

#[test]
fn standard_input_and_output_reach_the_daemon() {
    skip_unless_root!();
    let daemon = Daemon::start(&[]);
    let mut command = daemon.command(&["dial-stdio"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(PREFACE).expect("written");
    let mut head = [0; 9];
    child
        .stdout
        .take()
        .expect("piped")
        .read_exact(&mut head)
        .expect("an answer");
    assert_eq!(head[3], 4, "a settings frame");
    drop(stdin);
    assert!(child.wait().expect("ended").success());
}

#[test]
fn a_daemon_that_is_not_there_is_an_error_with_a_way_out() {
    for command in [
        &["du"][..],
        &["prune"],
        &["history", "ls"],
        &["debug", "info"],
        &["dial-stdio"],
    ] {
        let output = harness::lamina()
            .args(command)
            .args(["--addr", "unix:///no/such/daemon.sock"])
            .output()
            .expect("started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        for part in [
            "cannot reach the daemon",
            "unix:///no/such/daemon.sock",
            "`lamina daemon`",
        ] {
            assert!(stderr.contains(part), "{command:?}: {stderr}");
        }
    }
}

#[test]
fn names_start_the_daemon() {
    for name in ["buildkitd", "laminad"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lamina"));
        let output = command
            .arg0(name)
            .arg("--version")
            .output()
            .expect("started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.starts_with(&format!("{name} github.com/lamina-build/lamina v")),
            "{text}"
        );
    }
}

#[test]
fn the_machine_is_tried() {
    skip_unless_root!();
    let home = tempfile::tempdir().expect("a folder");
    let output = harness::lamina()
        .arg("doctor")
        .env("HOME", home.path())
        .output();
    let output = output.expect("started");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    for row in [
        "namespaces",
        "state folder",
        "overlayfs",
        "steps",
        "builds can run here",
    ] {
        assert!(stdout.contains(row), "{row}: {stdout}");
    }
}

#[test]
fn damaged_layers_are_found_and_built_again() {
    skip_unless_root!();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("context")).expect("made");
    fs::write(at("context/Dockerfile"), "FROM scratch\nCOPY f /\n").expect("written");
    fs::write(at("context/f"), "data").expect("written");
    let run = |args: &[&str]| {
        let mut command = harness::lamina();
        command.current_dir(folder.path()).args(args);
        let output = command.args(["--root", "state"]).output();
        let output = output.expect("started");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run(&["build", "-o", "out", "context"]);
    let checked = run(&["doctor", "--check-store"]);
    assert!(checked.contains(" as they were made\n"), "{checked}");
    for layer in fs::read_dir(at("state/layers")).expect("layers") {
        let file = layer.expect("a name").path().join("fs/f");
        if file.exists() {
            fs::remove_file(file).expect("removed");
        }
    }
    let checked = run(&["doctor", "--check-store"]);
    assert!(checked.contains(" damaged and dropped: "), "{checked}");
    let checked = run(&["doctor", "--check-store"]);
    assert!(!checked.contains("damaged"), "{checked}");
    fs::remove_dir_all(at("out")).expect("removed");
    run(&["build", "-o", "out", "context"]);
    assert_eq!(fs::read(at("out/f")).expect("built again"), b"data");
}

#[test]
fn definitions_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("definition");
    // One op without content: field 1 of the definition, empty.
    fs::write(&file, [0x0a, 0x00]).expect("written");
    let shown = |args: &[&str]| {
        let mut command = harness::lamina();
        let output = command
            .args(["debug", "dump-llb"])
            .args(args)
            .arg(&file)
            .output();
        String::from_utf8(output.expect("started").stdout).expect("text")
    };
    let line: Value = serde_json::from_str(&shown(&[])).expect("JSON");
    assert_eq!(line["op"], "result");
    assert!(shown(&["--dot"]).starts_with("digraph {"));
}
