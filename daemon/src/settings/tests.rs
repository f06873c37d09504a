use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    args: DaemonArgs,
}

fn merged(line: &str, file: &str) -> Result<Settings, SettingsError> {
    let words = std::iter::once("buildkitd").chain(line.split_whitespace());
    let args = Program::try_parse_from(words).expect(line).args;
    let config = config::parse(file).expect(file);
    Settings::merge(args, config, &IdMapping::Root)
}

#[test]
fn flags_count_before_the_file() {
    let file = r#"
        root = "/file"
        insecure-entitlements = ["network.host"]
        [log]
        level = "error"
        format = "json"
        [grpc]
        address = ["unix:///file.sock"]
        gid = 5
        [worker.oci]
        max-parallelism = 3
        platforms = ["linux/arm64"]
        [worker.oci.labels]
        a = "file"
        b = "file"
    "#;
    let settings = merged("", file).expect("valid");
    assert_eq!(settings.root, Path::new("/file"));
    assert_eq!(settings.addresses, [Address::Unix("/file.sock".into())]);
    assert_eq!(settings.socket_owner.gid, Some(5));
    assert_eq!(settings.log_level, LogLevel::Error);
    assert_eq!(settings.log_format, LogFormat::Json);
    assert!(settings.entitlements.network_host);
    assert_eq!(settings.worker.max_parallelism, 3);
    assert_eq!(settings.notes, [""; 0]);

    let line = "--root /flag --addr tcp://:1 --addr unix:///flag.sock --group 6 --log-level warn \
                --log-format text --allow-insecure-entitlement security.insecure \
                --oci-max-parallelism 9 --oci-worker-platform linux/amd64 \
                --oci-worker-labels a=flag --oci-worker-labels c=x=y";
    let settings = merged(line, file).expect("valid");
    assert_eq!(settings.root, Path::new("/flag"));
    let addresses = [
        Address::Tcp(":1".to_owned()),
        Address::Unix("/flag.sock".into()),
    ];
    assert_eq!(settings.addresses, addresses);
    assert_eq!(settings.socket_owner.gid, Some(6));
    assert_eq!(settings.log_level, LogLevel::Warn);
    assert_eq!(settings.log_format, LogFormat::Text);
    assert!(settings.entitlements.security_insecure && !settings.entitlements.network_host);
    assert_eq!(settings.worker.max_parallelism, 9);
    assert_eq!(
        settings.worker.platforms,
        [Platform::new("linux", "amd64", "")]
    );
    let labels = [("a", "flag"), ("b", "file"), ("c", "x=y")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(
        settings.worker.labels.into_iter().collect::<Vec<_>>(),
        labels
    );
}

#[test]
fn vain_wishes_are_noted() {
    let settings = merged(
        "--containerd-worker=true --oci-worker-snapshotter stargz --allow-insecure-entitlement device",
        "colour = 1\n[otel]\nsocketPath = \"/x\"",
    );
    assert_eq!(
        settings.expect("valid").notes,
        [
            "flags without effect here: --containerd-worker=true",
            "configuration keys without effect here: otel.socketPath",
            "unknown configuration keys: colour",
            "there is no snapshotter \"stargz\" here; using what works",
        ]
    );
}

#[test]
fn snapshotters_have_the_names_that_users_know() {
    for (name, kind) in [
        ("auto", SnapshotterKind::Auto),
        ("overlayfs", SnapshotterKind::Overlay),
        ("overlay", SnapshotterKind::Overlay),
        ("fuse-overlayfs", SnapshotterKind::Fuse),
        ("fuse", SnapshotterKind::Fuse),
        ("native", SnapshotterKind::Copy),
        ("copy", SnapshotterKind::Copy),
    ] {
        let settings = merged(&format!("--oci-worker-snapshotter {name}"), "").expect(name);
        assert_eq!(settings.worker.snapshotter, kind, "{name}");
        assert!(settings.notes.is_empty(), "{name}: {:?}", settings.notes);
    }
}

#[test]
fn mistakes_are_named() {
    for (line, file, part) in [
        (
            "--allow-insecure-entitlement nope",
            "",
            "invalid entitlement : nope",
        ),
        (
            "",
            "insecure-entitlements = [\"nope\"]",
            "invalid entitlement : nope",
        ),
        (
            "--oci-worker-snapshotter S",
            "",
            "unknown snapshotter name: \"S\"",
        ),
        ("--oci-worker-labels x", "", "invalid worker label \"x\""),
        ("--oci-worker-platform a/b/c/d", "", "invalid platforms"),
        ("--log-format xml", "", "unsupported log type \"xml\""),
        ("--log-level loud", "", "unsupported log level \"loud\""),
        ("--tlscert c", "", "the key is missing"),
        ("--tlscacert c", "", "the certificate is missing"),
        ("--addr ssh://x", "", "expected unix://PATH"),
    ] {
        let message = merged(line, file).expect_err(line).to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn old_ways_of_choosing_a_level_work() {
    for (line, file, level) in [
        ("", "", LogLevel::Info),
        ("--debug", "", LogLevel::Debug),
        ("", "debug = true", LogLevel::Debug),
        ("--debug=false", "debug = true", LogLevel::Info),
        ("--trace", "", LogLevel::Trace),
        ("--debug --log-level warning", "", LogLevel::Warn),
    ] {
        assert_eq!(
            merged(line, file).expect(line).log_level,
            level,
            "{line} {file}"
        );
    }
}

#[test]
fn a_missing_file_is_told_if_it_was_named() {
    let words = ["buildkitd", "--config", "/no/such/file.toml"];
    let args = Program::try_parse_from(words).expect("valid").args;
    let settings = Settings::load(args, &IdMapping::Root).expect("starts all the same");
    assert_eq!(
        settings.notes,
        ["/no/such/file.toml: there is no such configuration file"]
    );
}
