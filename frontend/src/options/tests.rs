//! Tables of options.

use super::*;

fn parsed(pairs: &[(&str, &str)]) -> Result<Options, String> {
    let given = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Options::parse(&given).map_err(|error| error.to_string())
}

#[test]
fn bad_values_are_named() {
    for (key, value, message) in [
        (
            "add-hosts",
            "foo",
            "failed to parse additional hosts: invalid key-value pair foo",
        ),
        (
            "add-hosts",
            "foo=999.1.1.1",
            "failed to parse additional hosts: failed to parse IP 999.1.1.1",
        ),
        (
            "shm-size",
            "zz",
            "failed to parse shm size: strconv.ParseInt: parsing \"zz\": invalid syntax",
        ),
        (
            "ulimit",
            "nofile",
            "failed to parse ulimit: invalid ulimit argument: nofile",
        ),
        ("force-network-mode", "zz", "invalid netmode zz"),
        ("image-resolve-mode", "zz", "invalid image-resolve-mode: zz"),
        (
            "multi-platform",
            "zz",
            "invalid boolean value for multi-platform: zz",
        ),
        (
            "memory",
            "0",
            "failed to parse resource limits: invalid memory value: 0: must be > 0",
        ),
        (
            "cpusetcpus",
            "0-2,x",
            "failed to parse resource limits: invalid cpusetcpus value: 0-2,x: invalid cpuset element \"x\"",
        ),
        (
            "cpusetmems",
            "3-1",
            "failed to parse resource limits: invalid cpusetmems value: 3-1: invalid cpuset range \"3-1\"",
        ),
        (
            "cpusetcpus",
            "0-8193",
            "failed to parse resource limits: invalid cpusetcpus value: 0-8193: cpuset range \"0-8193\" exceeds maximum 8192",
        ),
        (
            "cache-imports",
            "zz",
            "failed to unmarshal cache-imports (\"zz\"): invalid character 'z' looking for beginning of value",
        ),
    ] {
        assert_eq!(
            parsed(&[(key, value)]),
            Err(message.to_owned()),
            "{key}={value}"
        );
    }
}

#[test]
fn values_are_read() {
    let options = parsed(&[
        ("build-arg:A", "1"),
        ("label:l", "m"),
        ("platform", "linux/arm64"),
        ("no-cache", "a,b"),
        ("add-hosts", "Foo=::1"),
        ("ulimit", "nofile=1024:2048"),
        ("unknown", "x"),
    ])
    .expect("reads");
    assert_eq!(options.build_args.get("A").map(String::as_str), Some("1"));
    assert_eq!(options.platforms[0].to_string(), "linux/arm64");
    assert!(options.ignores_cache("B") && !options.ignores_cache("c"));
    assert_eq!(options.extra_hosts[0].host, "foo");
    assert_eq!(options.ulimits[0].hard, 2048);
    assert!(!options.multi_platform);
}
