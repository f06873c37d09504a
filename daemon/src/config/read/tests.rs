use std::time::Duration;

use super::*;
use crate::config::Size;

/// The keys that test harnesses of clients write.
#[test]
fn a_harness_config() {
    let config = parse(
        r#"
        root = "/state"
        insecure-entitlements = ["security.insecure", "network.host"]
        provenanceEnvDir = "/p"
        [registry."docker.io"]
          mirrors = ["localhost:5000/hub", "hub.example"]
        [registry."H"]
          http = true
          insecure = true
          ca = ["a.pem"]
          [[registry."H".keypair]]
            key = "k.pem"
            cert = "c.pem"
        [otel]
          socketPath = "/tmp/otel.sock"
        [cdi]
          specDirs = ["/etc/cdi"]
        [dns]
          nameservers = ["192.0.2.1"]
        [worker.oci]
          networkMode = "host"
          cniConfigPath = "/x"
          cniPoolSize = 16
          bridgeName = ""
          max-parallelism = 4
        [worker.containerd]
          enabled = false
        "#,
    )
    .expect("valid");
    assert_eq!(config.root, Some("/state".into()));
    let entitlements = ["security.insecure", "network.host"].map(str::to_owned);
    assert_eq!(
        config.entitlements.as_deref(),
        Some(entitlements.as_slice())
    );
    assert_eq!(
        config.registries["docker.io"].mirrors,
        ["localhost:5000/hub", "hub.example"]
    );
    let registry = Registry {
        http: true,
        insecure: true,
        ca: vec!["a.pem".into()],
        key_pairs: vec![("c.pem".into(), "k.pem".into())],
        ..Registry::default()
    };
    assert_eq!(config.registries["H"], registry);
    assert_eq!(config.worker.max_parallelism, Some(4));
    let network = Network {
        mode: Some("host".to_owned()),
        cni_config: Some("/x".into()),
        pool_size: Some(16),
        ..Network::default()
    };
    assert_eq!(config.worker.network, network);
    assert_eq!(config.dns.nameservers, ["192.0.2.1"]);
    let cdi = Cdi {
        spec_dirs: vec!["/etc/cdi".into()],
        ..Cdi::default()
    };
    assert_eq!(config.cdi, cdi);
    assert_eq!(config.unknown, [""; 0]);
    assert_eq!(
        config.without_effect,
        ["provenanceEnvDir", "otel.socketPath"]
    );
}

#[test]
fn what_has_no_effect_is_told_unless_it_is_so_anyway() {
    let in_vain = |text: &str| parse(text).expect("valid").without_effect;
    for (text, told) in [
        ("proxyNetwork = true", "proxyNetwork"),
        (
            "[system]\nmaxRegistryConcurrency = 1",
            "system.maxRegistryConcurrency",
        ),
        (
            "[worker.containerd]\nenabled = true",
            "worker.containerd.enabled",
        ),
        ("[worker.oci]\nselinux = true", "worker.oci.selinux"),
        ("[cache.gha]\nx = 1", "cache.gha"),
    ] {
        assert_eq!(in_vain(text), [told], "{text}");
    }
    for text in [
        "proxyNetwork = false",
        "[cdi]\ndisabled = true",
        "[worker.containerd]\nenabled = false",
        "[worker.oci]\nenabled = true\nrootless = true\nselinux = false",
        "[otel]",
    ] {
        assert_eq!(in_vain(text), [""; 0], "{text}");
    }
}

#[test]
fn platforms_are_believed_for_so_long() {
    let config = parse("[system]\nplatformsCacheMaxAge = \"1h\"").expect("valid");
    assert_eq!(config.platforms_max_age, Some(Duration::from_secs(3600)));
    assert_eq!(config.without_effect, [""; 0]);
}

#[test]
fn collection_has_sizes_and_durations() {
    let config = parse(
        r#"
        [worker.oci]
        gc = false
        gckeepstorage = 123456789
        [[worker.oci.gcpolicy]]
        all = true
        filters = ["type==regular"]
        keepBytes = 20
        keepDuration = 3600
        [[worker.oci.gcpolicy]]
        reservedSpace = "10GB"
        maxUsedSpace = "80%"
        keepBytes = 1
        keepDuration = "24h"
        [history]
        maxAge = "1h"
        maxEntries = 7
        "#,
    )
    .expect("valid");
    assert_eq!(config.worker.gc, Some(false));
    assert_eq!(config.worker.caps.reserved_space, Size::Bytes(123_456_789));
    let first = Policy {
        all: true,
        filters: vec!["type==regular".to_owned()],
        keep_duration: Duration::from_secs(3600),
        caps: Caps {
            reserved_space: Size::Bytes(20),
            ..Caps::default()
        },
    };
    let second = Policy {
        keep_duration: Duration::from_secs(86400),
        caps: Caps {
            reserved_space: Size::Bytes(10 << 30),
            max_used_space: Size::Percent(80),
            ..Caps::default()
        },
        ..Policy::default()
    };
    assert_eq!(config.worker.policies, [first, second]);
    assert_eq!(config.history.max_age, Some(Duration::from_secs(3600)));
    assert_eq!(config.history.max_entries, Some(7));
}

#[test]
fn keys_are_found_in_any_case() {
    let text = "Root = \"/a\"\n[Worker.OCI]\nMax-Parallelism = 2\n[Worker.OCI.Labels]\nAb = \"c\"";
    let config = parse(text).expect("valid");
    assert_eq!(config.root, Some("/a".into()));
    assert_eq!(config.worker.max_parallelism, Some(2));
    assert_eq!(config.worker.labels["Ab"], "c");
}

#[test]
fn unknown_keys_are_told_with_their_path() {
    let config = parse(
        r#"
        surprise = 1
        [gc]
        enabled = true
        [log]
        colour = true
        [worker.oci]
        max-paralelism = 4
        [[worker.oci.gcpolicy]]
        [[worker.oci.gcpolicy]]
        sometimes = true
        [worker.firecracker]
        [registry."docker.io"]
        mirror = "typo"
        [frontend."dockerfile.v1"]
        "#,
    )
    .expect("valid");
    assert_eq!(
        config.unknown,
        [
            "worker.oci.gcpolicy[1].sometimes",
            "worker.oci.max-paralelism",
            "worker.firecracker",
            "registry.\"docker.io\".mirror",
            "frontend.\"dockerfile.v1\"",
            "log.colour",
            "gc",
            "surprise",
        ]
    );
}

#[test]
fn mistakes_name_the_key() {
    for (text, part) in [
        ("root = 1", "root: invalid type: integer"),
        (
            "[worker.oci]\ngc = \"yes\"",
            "worker.oci.gc: invalid type: string",
        ),
        ("worker = 1", "worker: "),
        (
            "[worker.oci]\nreservedSpace = \"much\"",
            "worker.oci.reservedSpace: invalid disk space much",
        ),
        (
            "[history]\nmaxAge = \"long\"",
            "history.maxAge: invalid duration long",
        ),
        ("[grpc]\nuid = -1", "grpc.uid: "),
        (
            "[[registry.a.keypair]]\nkey = \"k\"",
            "registry.a.keypair[0].cert: a file is required",
        ),
        ("= 1", "1 | = 1"),
    ] {
        let message = parse(text).expect_err(text).to_string();
        assert!(message.contains(part), "{message}");
    }
}
