//! Starting and stopping as harnesses do it (section 12.1).

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::process::Stdio;

use super::rig::daemon_of_root;
use crate::harness::Finished;
use crate::harness::lamina;
use crate::scratch::scratch;

#[test]
fn the_command_line_of_harnesses_is_taken() {
    let mut daemon = daemon_of_root!();
    daemon.wait_until_open();
    daemon.stop();
    let config = daemon.lamina.write(
        "buildkitd.toml",
        r#"
insecure-entitlements = ["security.insecure"]
provenanceEnvDir = "/nowhere"
unheardOf = 1
[registry."docker.io"]
mirrors = ["localhost:1"]
[registry."localhost:2"]
http = true
insecure = true
[otel]
socketPath = "/nowhere"
[cdi]
specDirs = ["/nowhere"]
[dns]
nameservers = ["127.0.0.1"]
[worker.oci]
networkMode = "host"
cniConfigPath = "/nowhere"
max-parallelism = 3
[worker.containerd]
enabled = false
"#,
    );
    let config = config.display().to_string();
    for style in [Style::Equals, Style::Space] {
        let flags = style.flags(&[
            ("--oci-worker", "true"),
            ("--containerd-worker", "false"),
            ("--oci-worker-gc", "false"),
            ("--oci-worker-labels", "K=V"),
            ("--oci-worker-snapshotter", "overlayfs"),
            ("--config", &config),
        ]);
        let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        flags.push("--debug");
        daemon.launch(&flags);
        let workers = daemon
            .lamina
            .run(&["debug", "workers", "--addr", &daemon.address()]);
        let shown = String::from_utf8(workers.ok().stdout).expect("text");
        assert!(shown.contains("linux/amd64"), "{shown}");
        assert!(daemon.log().contains("unheardOf"), "{}", daemon.log());
        daemon.stop();
    }
}

/// How a flag's value is given.
enum Style {
    Equals,
    Space,
}

impl Style {
    fn flags(&self, flags: &[(&str, &str)]) -> Vec<String> {
        let flags = flags.iter();
        match self {
            Self::Equals => flags
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            // A flag of two values needs its value attached, as Go's parsers have it.
            Self::Space => flags
                .flat_map(|(name, value)| match *value {
                    "true" | "false" => vec![format!("{name}={value}")],
                    _ => vec![(*name).to_owned(), (*value).to_owned()],
                })
                .collect(),
        }
    }
}

#[test]
fn other_names_of_the_program_start_the_daemon() {
    let folder = scratch();
    for name in ["buildkitd", "laminad"] {
        let link = folder.path().join(name);
        symlink(lamina(), &link).expect("linked");
        let output = Command::new(&link)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let shown = Finished::new(output.expect("starts")).ok();
        let shown = String::from_utf8(shown.stdout).expect("text");
        assert!(shown.contains(" v"), "{shown}");
        let output = Command::new(&link)
            .arg("--no-such-flag")
            .stdin(Stdio::null())
            .output();
        Finished::new(output.expect("starts")).fails_with(&["--no-such-flag"]);
    }
}

#[test]
fn a_socket_that_nobody_serves_is_replaced_and_a_file_is_not() {
    let mut daemon = daemon_of_root!();
    daemon.kill();
    assert!(daemon.socket().exists(), "the socket of a killed daemon");
    daemon.launch(&[]);
    daemon.wait_until_open();
    daemon.stop();
    fs::write(daemon.socket(), "precious").expect("written");
    let root = daemon.lamina.root().display().to_string();
    let refused = daemon.lamina.run_within(
        "20",
        &["daemon", "--root", &root, "--addr", &daemon.address()],
    );
    refused.fails_with(&["daemon.sock"]);
    assert_eq!(daemon.lamina.read("daemon.sock"), "precious");
}
