//! Fields of Solve that stock clients fill rarely or no more (rows CSOL-10 to CSOL-14).

use std::collections::BTreeMap;

use lamina_client::llb::State;
use lamina_proto::control;
use lamina_proto::control::CacheOptionsEntry;
use lamina_proto::control::SolveRequest;
use lamina_proto::pb;

use super::Wire;
use super::base_tree;
use super::requests::export;
use super::requests::file;
use super::with_daemon;
use super::with_flags;

fn request(wire: &Wire, id: &str, state: &State) -> SolveRequest {
    SolveRequest {
        r#ref: id.to_owned(),
        session: wire.session.clone(),
        definition: Some(state.definition()),
        ..SolveRequest::default()
    }
}

/// A step whose result caches keep: it has an input.
fn step() -> State {
    base_tree().mkfile("/f", 0o644, "content")
}

fn attrs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(pair).collect()
}

fn cache(kind: &str, pairs: &[(&str, &str)]) -> CacheOptionsEntry {
    CacheOptionsEntry {
        r#type: kind.to_owned(),
        attrs: attrs(pairs),
    }
}

/// Row CSOL-10: the old field counts where the new one is empty, and only there.
#[test]
fn the_deprecated_exporter_counts_alone() {
    with_daemon(async |wire: &Wire| {
        let mut alone = request(wire, "alone", &file());
        alone.exporter_deprecated = "image".to_owned();
        alone.exporter_attrs_deprecated = attrs(&[("name", "docker.io/library/old:1")]);
        let mut both = request(wire, "both", &file());
        both.exporter_deprecated = "nope".to_owned();
        export(&mut both, "image", &[("name", "docker.io/library/new:1")]);

        let response = wire.solve(alone).await.expect("built");
        assert_eq!(response["image.name"], "docker.io/library/old:1");
        assert!(response["containerimage.digest"].starts_with("sha256:"));
        let response = wire.solve(both).await.expect("built");
        assert_eq!(response["image.name"], "docker.io/library/new:1");
    });
}

/// Row CSOL-11: duplicates, the kinds that count once, and exports that may fail.
#[test]
fn cache_exports_are_told_apart() {
    let nobody = ("ref", "127.0.0.1:1/cache");
    let rows: [(&str, Vec<CacheOptionsEntry>, Result<(), &str>); 5] = [
        (
            "inline twice",
            vec![cache("inline", &[]), cache("inline", &[])],
            Ok(()),
        ),
        (
            "one registry twice",
            vec![
                cache("registry", &[nobody]),
                cache("registry", &[nobody, ("mode", "max")]),
            ],
            Err("duplicate cache exports [registry]"),
        ),
        (
            "unknown",
            vec![cache("nope", &[])],
            Err("unknown cache exporter: \"nope\""),
        ),
        (
            "fails",
            vec![cache("registry", &[nobody])],
            Err("connection refused"),
        ),
        (
            "may fail",
            vec![cache("registry", &[nobody, ("ignore-error", "true")])],
            Ok(()),
        ),
    ];
    with_daemon(async |wire: &Wire| {
        for (name, exports, expected) in rows {
            let mut request = request(wire, &name.replace(' ', "-"), &step());
            export(&mut request, "image", &[("name", "docker.io/library/a:1")]);
            request.cache.get_or_insert_default().exports = exports;
            match (wire.solve(request).await, expected) {
                (Ok(_), Ok(())) => {}
                (Err(status), Err(text)) if status.message().contains(text) => {}
                (answer, _) => panic!("{name}: {answer:?}, not {expected:?}"),
            }
        }
    });
}

/// Row CSOL-13: both old fields mean registries. Nobody listens there, so the export fails and says
/// where, and the import is a step that failed and harmed nothing (row CSOL-12).
#[test]
fn deprecated_cache_options_mean_registries() {
    with_daemon(async |wire: &Wire| {
        let mut exporting = request(wire, "exporting", &step());
        let options = exporting.cache.get_or_insert_default();
        options.export_ref_deprecated = "127.0.0.1:1/old-export".to_owned();
        options.export_attrs_deprecated = attrs(&[("mode", "max")]);
        let status = wire.solve(exporting).await.expect_err("nobody listens");
        assert!(
            status.message().contains("127.0.0.1:1"),
            "{}",
            status.message()
        );

        let mut importing = request(wire, "importing", &step());
        let options = importing.cache.get_or_insert_default();
        options.import_refs_deprecated = vec!["127.0.0.1:1/old-import".to_owned()];
        wire.solve(importing).await.expect("built without");
        let steps = steps(wire, "importing").await;
        let import = steps
            .iter()
            .find(|step| step.name.contains("127.0.0.1:1/old-import"));
        let import = import.unwrap_or_else(|| panic!("no step of the import: {steps:?}"));
        assert!(
            import.name.starts_with("importing cache manifest from "),
            "{}",
            import.name
        );
        assert!(
            import.error.contains("connection refused"),
            "{}",
            import.error
        );
    });
}

/// The last that was said of each step of a build that has ended.
async fn steps(wire: &Wire, id: &str) -> Vec<control::Vertex> {
    let request = control::StatusRequest {
        r#ref: id.to_owned(),
    };
    let answer = wire.control().status(request).await.expect("a build");
    let mut messages = answer.into_inner();
    let mut steps = BTreeMap::new();
    while let Some(message) = messages.message().await.expect("a message") {
        let vertices = message.vertexes.into_iter();
        steps.extend(vertices.map(|vertex| (vertex.digest.clone(), vertex)));
    }
    steps.into_values().collect()
}

/// Row CSOL-14: asked for and granted; anything else fails before a step runs.
#[test]
fn entitlements_are_asked_for_and_granted() {
    let grant = "--allow-insecure-entitlement=network.host".to_owned();
    with_flags(
        |_| vec![grant],
        async |wire: &Wire| {
            let shell = ["/bin/sh", "-c", "true"];
            let host = base_tree().run(shell).network(pb::NetMode::Host).root();
            let insecure = base_tree().run(shell);
            let insecure = insecure.security(pb::SecurityMode::Insecure).root();
            let refused = |name| {
                format!("granting entitlement {name} is not allowed by build daemon configuration")
            };
            let not_granted = || "failed to load LLB: network.host is not allowed".to_owned();
            for (name, state, wanted, expected) in [
                ("granted", &host, "network.host", Ok(())),
                ("not asked for", &host, "", Err(not_granted())),
                (
                    "not granted",
                    &insecure,
                    "security.insecure",
                    Err(refused("security.insecure")),
                ),
                // Devices are granted as long as nobody forbids them, and are no more than that.
                ("devices", &host, "device", Err(not_granted())),
                (
                    "a device",
                    &host,
                    "device=vendor.com/gpu=0,alias=a",
                    Err(not_granted()),
                ),
                (
                    "unknown",
                    &host,
                    "nope",
                    Err("unknown entitlement nope".to_owned()),
                ),
                (
                    "not its name",
                    &host,
                    "network.host=x",
                    Err("unknown entitlement network.host=x".to_owned()),
                ),
            ] {
                let mut request = request(wire, &name.replace(' ', "-"), state);
                let wanted = Some(wanted).filter(|name| !name.is_empty());
                request.entitlements = wanted.map(str::to_owned).into_iter().collect();
                let answer = wire.solve(request).await;
                let answer = answer
                    .map(drop)
                    .map_err(|status| status.message().to_owned());
                assert_eq!(answer, expected, "{name}");
            }
        },
    );
}
