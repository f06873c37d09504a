//! What of the daemon a step could get hold of: descriptors, environment, keys, other processes.

use std::process::Command;

use lamina_executor::ExitStatus;

use super::SECRET;
use crate::PROGRAM;
use crate::fixture;
use crate::obstacle;
use crate::skip;
use crate::state_dir;
use crate::status;

/// Neither the step nor the processes that it could see have anything of the daemon's environment
/// (CVE-2021-3602).
#[test]
fn nothing_of_the_environment_leaks_in() {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root").unwrap_or_default();
    }
    if let Some(reason) = obstacle() {
        return skip(reason).unwrap_or_default();
    }
    let state = state_dir();
    let script = "env; cat /proc/*/environ | tr '\\0' '\\n'; cat /proc/*/cmdline; tr '\\0' '\\n' < \
                  /proc/1/environ; ls -l /proc/*/fd /proc/*/cwd /proc/*/root 2>&1";
    let output = Command::new(PROGRAM)
        .arg("shell")
        .arg(state.path())
        .arg(script)
        .env("REGISTRY_PASSWORD", SECRET)
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("HOME=/root"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
    assert!(!text.contains("REGISTRY_PASSWORD"), "{text}");
    let state = state.path().display().to_string();
    assert!(!text.contains(&state), "{text}");
}

/// A step's first process can be looked at by all of its others: it has three descriptors, which are
/// pipes, and its own program, not ours (CVE-2024-21626).
#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_holds_nothing_of_ours() {
    let Some(world) = fixture() else { return };
    // In a process of its own: a pipe or a file would be one more that the shell has for a moment.
    let script = "(ls -l /proc/1/fd > /fds); sed -n 's/.*-> \\([^:]*\\).*/\\1/p' /fds; for link in exe \
                  cwd root; do readlink /proc/1/$link; done; grep -c lamina /proc/1/maps /proc/1/mounts";
    let (finished, stdout, stderr) = world.run(world.shell(script)).await;
    let expected = "pipe\npipe\npipe\n/bin/busybox\n/\n/\n/proc/1/maps:0\n/proc/1/mounts:0\n";
    // The view of the layers names them.
    let shown = stdout.replace("/proc/1/mounts:1", "/proc/1/mounts:0");
    assert_eq!(shown, expected, "{stderr}");
    drop(finished);
}

/// Keys of the daemon's sessions are not the step's.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_daemon_are_not_the_steps() {
    let Some(world) = fixture() else { return };
    let script = "wc -c < /proc/keys; cat /proc/key-users 2>/dev/null | wc -l";
    let (finished, stdout, stderr) = world.run(world.shell(script)).await;
    assert_eq!(status(finished), ExitStatus::Code(0), "{stderr}");
    assert!(stdout.starts_with("0\n"), "{stdout}");
}
