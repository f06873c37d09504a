//! Emulators that are set up while the daemon runs (rows CTL-05, CFG-13).

use std::process::Command;
use std::process::Output;

use super::rig::Daemon;
use super::rig::wrapped;
use crate::harness::User;
use crate::harness::program;
use crate::harness::skip;

/// Gives a user namespace emulators of its own, so that those of the machine stay as they are.
const WITH_EMULATORS: &str =
    "mount -t binfmt_misc emulators /proc/sys/fs/binfmt_misc && exec \"$@\"";
const IN_NAMESPACE: [&str; 6] = ["-U", "-r", "-m", "sh", "-c", WITH_EMULATORS];

/// Takes programs for riscv64, by the header of the file format, and keeps the emulator open.
const EMULATOR: &str = r":riscv64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00::/bin/true:F";

/// Says why the kernel gives no emulators of one's own; it does since Linux 6.7.
fn missing() -> Option<String> {
    if let Some(name) = ["unshare", "nsenter"]
        .into_iter()
        .find(|name| program(name).is_none())
    {
        return Some(format!("{name} is missing"));
    }
    let mut command = Command::new("unshare");
    let tried = command.args(IN_NAMESPACE).args(["sh", "true"]).output();
    let tried = tried.expect("unshare starts");
    let reason = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
    (!tried.status.success()).then_some(reason)
}

/// Runs a script with the files of the daemon's namespaces.
fn beside(daemon: &Daemon, script: &str, argument: &str) -> Output {
    let mut command = Command::new("nsenter");
    command.args(["-t", &daemon.id().to_string(), "-U", "-m"]);
    command.args(["sh", "-c", script, "sh", argument]);
    command.output().expect("nsenter starts")
}

fn platforms(daemon: &Daemon) -> String {
    let workers = daemon.run(&["debug", "workers"]).ok();
    String::from_utf8(workers.stdout).expect("text")
}

#[test]
fn emulators_that_come_and_go_are_seen() {
    let mut daemon = match Daemon::prepare(User::Root) {
        Ok(daemon) => daemon,
        Err(reason) => skip!("{reason}"),
    };
    if let Some(reason) = missing() {
        skip!("no emulators in a user namespace: {reason}");
    }
    let config = "[system]\nplatformsCacheMaxAge = \"0s\"\n";
    let config = daemon.lamina.write("buildkitd.toml", config);
    let (address, config) = (daemon.address(), config.display().to_string());
    let inner = daemon.command(&["--addr", &address, "--config", &config]);
    let mut before = IN_NAMESPACE.to_vec();
    before.push("sh");
    let command = wrapped(&inner, "unshare", &before);
    daemon.launch_command(command);
    assert!(!platforms(&daemon).contains("riscv64"));
    let register = "printf %s \"$1\" > /proc/sys/fs/binfmt_misc/register";
    let done = beside(&daemon, register, EMULATOR);
    assert!(done.status.success(), "{done:?}");
    let seen = platforms(&daemon);
    assert!(seen.contains("linux/riscv64"), "{seen}");
    let remove = "printf %s \"$1\" > /proc/sys/fs/binfmt_misc/riscv64";
    let done = beside(&daemon, remove, "-1");
    assert!(done.status.success(), "{done:?}");
    assert!(!platforms(&daemon).contains("riscv64"));
    daemon.stop();
}
