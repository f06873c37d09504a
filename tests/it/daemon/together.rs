//! Several clients at once, and clients that misbehave (rows ACC-07, ACC-08, SES-08).

use std::time::Duration;

use super::rig::daemon_of_root;
use crate::harness::Lamina;
use crate::leftovers::processes_with;
use crate::waiting::wait_for_line;
use crate::waiting::wait_until;

/// A step that two clients share: it notes that it runs, says so, and ends when a file appears in a
/// cache mount.
const SHARED: &str = "FROM base\nRUN --mount=type=cache,target=/c echo run >> /c/runs; echo ready; \
                      until test -e /c/go; do sleep 0.1; done; echo through\n";
const GO: &str = "FROM base\nRUN --mount=type=cache,target=/c touch /c/go\n";
/// Shows how often the step ran, whatever clients were told.
const RUNS: &str = "FROM base AS all\nRUN --mount=type=cache,target=/c cp /c/runs /runs\n\
                    FROM scratch\nCOPY --from=all /runs /\n";

/// Says whether a line of progress is what the step printed.
fn is_ready(line: &str) -> bool {
    line.ends_with(" ready")
}

#[test]
fn a_shared_step_survives_the_client_that_started_it() {
    let mut daemon = daemon_of_root!(buildx);
    daemon.lamina.write("ctx/Dockerfile", SHARED);
    let mut first = Lamina::start(daemon.build_command(&[]));
    wait_for_line(&mut first, is_ready);
    let mut second = Lamina::start(daemon.build_command(&[]));
    wait_for_line(&mut second, is_ready);
    first.kill().expect("killed");
    first.wait().expect("a status");
    daemon.lamina.write("go/Dockerfile", GO);
    let base = format!("base={}", crate::harness::base().expect("there").display());
    daemon
        .buildx(&["build", "--build-context", &base, "go"])
        .ok();
    let status = second.wait().expect("a status");
    assert!(status.success(), "{}", daemon.log());
    daemon.build(RUNS, &["-o", "out"]).ok();
    assert_eq!(daemon.lamina.read("out/runs"), "run\n");
    daemon.stop();
}

#[test]
fn a_killed_client_takes_its_step_with_it() {
    let mut daemon = daemon_of_root!(buildx);
    let marker = format!("{}", 100_000 + std::process::id());
    let dockerfile = format!("FROM base\nRUN echo ready; sleep {marker}\n");
    daemon.lamina.write("ctx/Dockerfile", dockerfile);
    let mut client = Lamina::start(daemon.build_command(&[]));
    wait_for_line(&mut client, is_ready);
    client.kill().expect("killed");
    client.wait().expect("a status");
    wait_until("the step ends", || processes_with(&marker).is_empty());
    daemon.build("FROM base\nRUN true\n", &[]).ok();
    daemon.stop();
}

#[test]
fn a_client_that_dies_while_it_uploads_harms_nobody() {
    let mut daemon = daemon_of_root!(buildx);
    let file = daemon.lamina.write("ctx/big", "");
    let file = std::fs::File::options()
        .write(true)
        .open(file)
        .expect("there");
    file.set_len(3 << 30).expect("grown");
    daemon
        .lamina
        .write("ctx/Dockerfile", "FROM scratch\nCOPY big /big\n");
    let mut client = Lamina::start(daemon.build_command(&[]));
    wait_for_line(&mut client, |line| line.ends_with("load build context"));
    std::thread::sleep(Duration::from_millis(300));
    client.kill().expect("killed");
    client.wait().expect("a status");
    std::fs::remove_file(daemon.lamina.dir().join("ctx/big")).expect("removed");
    daemon.build("FROM base\nRUN true\n", &[]).ok();
    daemon.stop();
}

#[test]
fn a_daemon_that_was_killed_comes_back_with_its_cache() {
    let mut daemon = daemon_of_root!(buildx);
    let dockerfile = "FROM base\nRUN echo once\n";
    daemon.build(dockerfile, &[]).ok();
    // The cache is written within moments of the build's end.
    std::thread::sleep(Duration::from_millis(500));
    daemon.kill();
    daemon.launch(&[]);
    let again = daemon.build(dockerfile, &[]).ok();
    assert!(!again.printed("once"), "{}", again.stderr);
    daemon.stop();
}

#[test]
fn stopping_in_the_middle_of_a_build_leaves_nothing() {
    let mut daemon = daemon_of_root!(buildx);
    daemon
        .lamina
        .write("ctx/Dockerfile", "FROM base\nRUN echo ready; sleep 1000\n");
    let mut client = Lamina::start(daemon.build_command(&[]));
    wait_for_line(&mut client, is_ready);
    daemon.stop();
    assert!(!client.wait().expect("a status").success());
}
