//! Ctrl-C in a command whose build is in a daemon (rows CLI-01, SES-08).

use std::fs;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use super::rig::daemon_of_root;
use crate::harness::report;
use crate::harness::signal;
use crate::leftovers::processes_with;
use crate::waiting::wait_until;

/// How soon the command ends after Ctrl-C; it gives up waiting for the daemon before that.
const PROMPT: Duration = Duration::from_secs(5);

/// Presses Ctrl-C once the progress says `text`, and checks that the command ends soon.
fn interrupt_at(text: &str, mut command: Command) {
    let log = tempfile::NamedTempFile::new().expect("a file");
    command.stderr(log.reopen().expect("opened"));
    command.stdout(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let said = || fs::read_to_string(log.path()).unwrap_or_default();
    wait_until(&format!("the progress says {text:?}"), || {
        said().contains(text)
    });
    let asked = Instant::now();
    signal(&child, "INT");
    wait_until("the command ends", || {
        child.try_wait().expect("a status").is_some()
    });
    let took = asked.elapsed();
    report(&format!("Ctrl-C at {text:?} took {took:?}"));
    let status = child.wait().expect("a status");
    assert_eq!(status.code(), Some(130), "{text}: {}", said());
    assert!(took < PROMPT, "{text}: {took:?}");
}

#[test]
fn ctrl_c_ends_the_step_in_the_daemon() {
    let mut daemon = daemon_of_root!();
    let nap = format!("2000{}", std::process::id());
    let dockerfile = format!("FROM base\nRUN echo begun; sleep {nap} & sleep {nap}\n");
    daemon.lamina.write("ctx/Dockerfile", dockerfile);
    interrupt_at(" begun\n", daemon.lamina_build_command(&[]));
    wait_until("the step is gone", || processes_with(&nap).is_empty());
    daemon.lamina_build("FROM base\nRUN true\n", &[]).ok();
    daemon.stop();
}

#[test]
fn ctrl_c_ends_uploads_and_exports() {
    let mut daemon = daemon_of_root!();
    let big = daemon.lamina.write("ctx/big", "");
    let file = fs::File::options().write(true).open(big).expect("there");
    file.set_len(4 << 30).expect("grown");
    let dockerfile = "FROM scratch\nCOPY big /big\n";
    daemon.lamina.write("ctx/Dockerfile", dockerfile);
    interrupt_at("load build context", daemon.lamina_build_command(&[]));
    file.set_len(64 << 20).expect("shrunk");
    // Nobody reads the archive, so it is never through.
    let command = daemon.lamina_build_command(&["-o", "type=tar,dest=-"]);
    interrupt_at("exporting", command);
    daemon.lamina_build("FROM base\nRUN true\n", &[]).ok();
    daemon.stop();
}
