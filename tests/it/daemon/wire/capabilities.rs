//! What the daemon says of itself: capabilities and workers (rows GW-01, GCAP, CAP, CTL-02).

use std::collections::BTreeMap;

use lamina_proto::caps::ApiCap;
use serde_json::Value;
use serde_json::json;

use super::Wire;
use super::compare::recorded;
use super::with_daemon;

/// Capabilities of BuildKit's gateway that are not on offer, and why.
const MISSING_OF_GATEWAY: &[(&str, &str)] = &[
    ("reference.attestations", ATTESTATIONS),
    (
        "source.metaresolver.http.checksumrequest",
        "checksums with a suffix are not computed",
    ),
    ("source.metaresolver.image.attestations", ATTESTATIONS),
];

const ATTESTATIONS: &str = "attestations are not there yet";

/// As [`MISSING_OF_GATEWAY`], of definitions and of Control.
const MISSING_OF_LLB: &[(&str, &str)] = &[
    ("cache.azblob", REMOTE),
    ("cache.gha", REMOTE),
    ("cache.s3", REMOTE),
    ("exec.meta.network.proxy", "there is no recording proxy"),
    ("exporter.image.attestations", ATTESTATIONS),
    ("source.git.bundle", GIT),
    ("source.git.checkoutbundle", GIT),
    ("source.git.signatureverify", SIGNATURES),
    ("source.http.signatureverify", SIGNATURES),
    ("source.imageblob", "single blobs are no sources yet"),
    (
        "source.local.metadatatransfer",
        "clients always send the content of files that changed",
    ),
    (
        "source.policy.session",
        "clients are not asked about sources",
    ),
];

const REMOTE: &str = "caches are kept in registries and folders only";
const GIT: &str = "bundles of git are neither read nor made";
const SIGNATURES: &str = "signatures are not checked";

/// What works here and BuildKit does not list, although it has it.
const ADDED_TO_LLB: &[(&str, &str)] = &[
    ("exec.meta.removemountstubs.recursive", UNLISTED),
    ("file.copy.modestring", UNLISTED),
];

const UNLISTED: &str = "clients ask for it by this name where they use it";

/// Returns capabilities by id, each as the recording shows it.
fn by_id(caps: &[ApiCap]) -> BTreeMap<String, Value> {
    let shown = caps.iter().map(|cap| {
        let value = json!({
            "deprecated": cap.deprecated,
            "disabledReason": cap.disabled_reason,
            "enabled": cap.enabled,
            "id": cap.id,
        });
        (cap.id.clone(), value)
    });
    let by_id: BTreeMap<String, Value> = shown.collect();
    assert_eq!(by_id.len(), caps.len(), "an id is there twice");
    by_id
}

/// Checks that ours are the recorded ones without the missing and with the added.
fn compare(ours: &[ApiCap], key: &str, missing: &[(&str, &str)], added: &[(&str, &str)]) {
    let mut ours = by_id(ours);
    for (id, reason) in added {
        assert!(ours.remove(*id).is_some(), "{id} is gone, but: {reason}");
    }
    let recorded = recorded(&["gateway", key]).as_array().expect("a list");
    let ids = recorded.iter().map(|cap| cap["id"].as_str().expect("text"));
    let mut theirs: BTreeMap<String, Value> = ids
        .map(str::to_owned)
        .zip(recorded.iter().cloned())
        .collect();
    for (id, reason) in missing {
        assert!(
            theirs.remove(*id).is_some(),
            "not recorded: {id} ({reason})"
        );
    }
    assert_eq!(ours, theirs);
}

/// Row GW-01: full lists, as far as it works.
#[test]
fn capabilities_are_those_recorded_as_far_as_they_work() {
    with_daemon(async |wire: &Wire| {
        let pong = wire.gateway.ping().await.expect("a daemon");
        compare(&pong.frontend_api_caps, "caps", MISSING_OF_GATEWAY, &[]);
        compare(&pong.llb_caps, "llbcaps", MISSING_OF_LLB, ADDED_TO_LLB);
        let listed = wire.client.workers(&[]).await.expect("workers");
        assert_eq!(pong.workers.len(), 1);
        assert_eq!(pong.workers[0].id, listed[0].id);
        assert_eq!(pong.workers[0].labels, listed[0].labels);
        assert_eq!(pong.workers[0].platforms, listed[0].platforms);
    });
}

/// Rows CTL-02 to CTL-05: the recorded labels and fields, with the platforms of this machine.
#[test]
fn workers_have_the_recorded_shape() {
    with_daemon(async |wire: &Wire| {
        let listed = wire.client.workers(&[]).await.expect("workers");
        let recorded = &recorded(&["ListWorkers", "record"])[0];
        assert_eq!(listed.len(), 1);
        let worker = &listed[0];
        assert!(!worker.id.is_empty());
        for (label, theirs) in recorded["Labels"].as_object().expect("labels") {
            let ours = worker
                .labels
                .get(label)
                .unwrap_or_else(|| panic!("no {label}"));
            // Names of this machine, and of how it mounts.
            if !label.ends_with(".hostname") && !label.ends_with(".snapshotter") {
                assert_eq!(Some(ours.as_str()), theirs.as_str(), "{label}");
            }
        }
        let version = worker.buildkit_version.as_ref().expect("a version");
        assert!(!version.package.is_empty());
        assert!(version.version.starts_with('v'), "{}", version.version);
        let native = worker.platforms.first().expect("a platform");
        assert_eq!(native.os, "linux");
        assert!(!worker.gc_policy.is_empty(), "no collection by default");
        let none = wire.client.workers(&["id==none".to_owned()]).await;
        assert_eq!(none.expect("a filter"), []);
    });
}

/// Row CTL-01: clients compare the version by the rules of semver. The `product` of the recording is
/// a name that the recording client gave itself.
#[test]
fn info_names_what_it_is() {
    with_daemon(async |wire: &Wire| {
        let info = wire.client.info().await.expect("a daemon");
        assert!(!info.package.is_empty());
        let version = info.version.strip_prefix('v').expect("a v");
        let (numbers, _) = version.split_once('-').unwrap_or((version, ""));
        let numbers: Vec<u32> = numbers
            .split('.')
            .filter_map(|one| one.parse().ok())
            .collect();
        assert_eq!(numbers.len(), 3, "{version}");
        let listed = wire.client.workers(&[]).await.expect("workers");
        assert_eq!(listed[0].buildkit_version.as_ref(), Some(&info));
    });
}
