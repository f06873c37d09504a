//! Keys of `buildkitd.toml` and what is said of them (rows CFG-09, CFG-13, CFG-14).

use super::rig::Daemon;
use crate::harness::User;
use crate::harness::skip;

/// What a daemon with a file is seen to do.
enum Seen {
    /// It says this in the log.
    Told(&'static str),
    /// It does not start, and says this.
    Refused(&'static str),
    /// It says nothing of its configuration.
    Silent,
}

use Seen::Refused;
use Seen::Silent;
use Seen::Told;

/// Name, file, and what a daemon does with it.
const KEYS: &[(&str, &str, Seen)] = &[
    (
        "network host",
        "[worker.oci]\nnetworkMode = \"host\"",
        Silent,
    ),
    (
        "network auto",
        "[worker.oci]\nnetworkMode = \"auto\"",
        Silent,
    ),
    (
        "network cni",
        "[worker.oci]\nnetworkMode = \"cni\"\ncniConfigPath = \"/nowhere.json\"",
        Refused("cniConfigPath /nowhere.json: No such file or directory"),
    ),
    (
        "network none",
        "[worker.oci]\nnetworkMode = \"none\"",
        Refused("invalid network mode: \\\"none\\\""),
    ),
    (
        "a name as a name server",
        "[dns]\nnameservers = [\"dns.example\"]",
        Refused("bad nameserver address \\\"dns.example\\\""),
    ),
    (
        "provenance",
        "provenanceEnvDir = \"/nowhere\"",
        Told("without effect here: provenanceEnvDir"),
    ),
    (
        "traces",
        "[otel]\nsocketPath = \"/nowhere\"",
        Told("without effect here: otel.socketPath"),
    ),
    (
        "devices",
        "[cdi]\nspecDirs = [\"/nowhere\"]\nautoAllowed = [\"vendor.com/gpu\"]",
        Silent,
    ),
    (
        "a bridge with a name that is none",
        "[worker.oci]\nnetworkMode = \"bridge\"\nbridgeName = \"br/0\"",
        Refused("bridgeName \\\"br/0\\\": expected 1 to 15 letters"),
    ),
    (
        "addresses that are none",
        "[worker.oci]\nnetworkMode = \"bridge\"\nbridgeSubnet = \"10.10.0.0\"",
        Refused("\\\"10.10.0.0\\\" is no IPv4 network"),
    ),
    (
        "debug",
        "[grpc]\ndebugAddress = \"127.0.0.1:0\"",
        Told("without effect here: grpc.debugAddress"),
    ),
    (
        "what is so anyway",
        "[cdi]\ndisabled = true\n[worker.containerd]\nenabled = false",
        Silent,
    ),
    (
        "a typing mistake",
        "[worker.oci]\nmaxparallelism = 1",
        Told("unknown configuration keys: worker.oci.maxparallelism"),
    ),
    (
        "a number as a word",
        "[worker.oci]\nmax-parallelism = \"many\"",
        Refused("worker.oci.max-parallelism"),
    ),
    ("no TOML", "root = ", Refused("failed to parse config")),
];

#[test]
fn keys_have_their_effect_or_are_told() {
    for (name, config, seen) in KEYS {
        let mut daemon = match Daemon::prepare(User::Root) {
            Ok(daemon) => daemon,
            Err(reason) => skip!("{reason}"),
        };
        let file = daemon.lamina.write("buildkitd.toml", config);
        let file = file.display().to_string();
        if let Refused(text) = seen {
            let address = daemon.address();
            let flags = ["--config", &file, "--addr", &address];
            let output = daemon.command(&flags).output().expect("starts");
            assert!(!output.status.success(), "{name}");
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(log.contains(text), "{name}: {log}");
            continue;
        }
        daemon.launch(&["--config", &file]);
        daemon.run(&["debug", "workers"]).ok();
        let log = daemon.log();
        match seen {
            Told(text) => assert!(log.contains(text), "{name}: {log}"),
            _ => assert!(!log.contains("level=warn"), "{name}: {log}"),
        }
        daemon.stop();
    }
}
