use lamina_proto::pb;

use super::*;

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(pair).collect()
}

/// Row CSOL-05.
#[test]
fn the_built_in_frontend_is_taken_for_its_name() {
    for (name, options, expected) in [
        (
            "gateway.v0",
            vec![("source", "dockerfile.v0")],
            "dockerfile.v0",
        ),
        (
            "gateway.v0",
            vec![("source", "docker/dockerfile")],
            "gateway.v0",
        ),
        ("gateway.v0", vec![], "gateway.v0"),
        (
            "dockerfile.v0",
            vec![("source", "dockerfile.v0")],
            "dockerfile.v0",
        ),
        (
            "gateway.v0",
            vec![
                ("source", "dockerfile.v0"),
                ("context:dockerfile.v0", "docker-image://x"),
            ],
            "gateway.v0",
        ),
        (
            "gateway.v0",
            vec![
                ("source", "dockerfile.v0"),
                ("context:dockerfile.v0::linux/amd64", "x"),
            ],
            "gateway.v0",
        ),
        (
            "gateway.v0",
            vec![("source", "dockerfile.v0"), ("context:dockerfile.v0x", "x")],
            "dockerfile.v0",
        ),
    ] {
        let (chosen, _) = short_cut(name.to_owned(), pairs(&options));
        assert_eq!(chosen, expected, "{options:?}");
    }
}

/// Rows CSOL-02 to CSOL-04.
#[test]
fn what_makes_the_result_is_chosen() {
    let chosen =
        |request: control::SolveRequest| source(driver(&Builds::default(), &request), request);
    let kind = |request: control::SolveRequest| match chosen(request) {
        Ok(BuildSource::Definition(_)) => "definition".to_owned(),
        Ok(BuildSource::Frontend { name, .. }) => name,
        Ok(BuildSource::Client { .. }) => "client".to_owned(),
        Err(error) => error.message,
    };
    let empty = || Some(pb::Definition::default());
    let full = || {
        Some(pb::Definition {
            def: vec![vec![1]],
            ..pb::Definition::default()
        })
    };
    for (definition, frontend, id, expected) in [
        (empty(), "", "r", "definition"),
        (full(), "", "", "definition"),
        (None, "", "r", "client"),
        (
            None,
            "",
            "",
            "a build without definition and frontend needs a ref",
        ),
        (None, "dockerfile.v0", "", "dockerfile.v0"),
        (empty(), "dockerfile.v0", "", "dockerfile.v0"),
        (
            full(),
            "x",
            "",
            "cannot solve with both Definition and Frontend specified",
        ),
    ] {
        let request = control::SolveRequest {
            definition,
            frontend: frontend.to_owned(),
            r#ref: id.to_owned(),
            ..control::SolveRequest::default()
        };
        assert_eq!(kind(request), expected);
    }
}

/// Row CSOL-10.
#[test]
fn the_deprecated_exporter_counts_alone_only() {
    let mut request = control::SolveRequest {
        exporter_deprecated: "tar".to_owned(),
        exporter_attrs_deprecated: pairs(&[("a", "b")]),
        ..control::SolveRequest::default()
    };
    let kinds = |request: &control::SolveRequest| -> Vec<String> {
        exports(request)
            .into_iter()
            .map(|export| export.kind)
            .collect()
    };
    assert_eq!(kinds(&request), ["tar"]);
    request.exporters.push(control::Exporter {
        r#type: "oci".to_owned(),
        ..control::Exporter::default()
    });
    assert_eq!(kinds(&request), ["oci"]);
}

#[test]
fn what_is_missing_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut control::SolveRequest)| {
        let mut request = control::SolveRequest::default();
        change(&mut request);
        let refused = refuse_missing_features(&request);
        refused.err().map(|error| error.message)
    };
    let attest = |key: &'static str, value: &'static str| {
        move |request: &mut control::SolveRequest| {
            request.frontend_attrs = pairs(&[(key, value)]);
        }
    };
    assert_eq!(refused(&|_| {}), None);
    assert_eq!(refused(&|request| request.compatibility_version = 30), None);
    assert_eq!(
        refused(&|request| request.compatibility_version = 20).as_deref(),
        Some(
            "unsupported compatibility version 20: this engine makes images of the newest version \
             only"
        )
    );
    assert_eq!(
        refused(&|request| request.compatibility_version = 15).as_deref(),
        Some("unsupported compatibility version 15")
    );
    assert_eq!(
        refused(&|request| request.compatibility_version = i64::MAX).as_deref(),
        Some("unsupported compatibility version 9223372036854775807, a newer engine may know it")
    );
    assert_eq!(
        refused(&|request| request.proxy_network = true).as_deref(),
        Some("proxy networks are not supported by this engine")
    );
    // Rows FDF-32, FDF-33.
    for key in ["attest:provenance", "build-arg:BUILDKIT_ATTEST_PROVENANCE"] {
        assert_eq!(
            refused(&attest(key, "mode=max")).as_deref(),
            Some("attestations are not supported by this engine"),
            "{key}"
        );
        assert_eq!(refused(&attest(key, "mode=min,inline-only=true")), None);
        assert_eq!(refused(&attest(key, "disabled=true")), None);
    }
}

/// Row CSOL-14.
#[test]
fn unknown_entitlements_are_refused_in_known_words() {
    let error = entitlements(&["nope".to_owned()]).expect_err("unknown");
    assert_eq!(error.message, "unknown entitlement nope");
    assert!(entitlements(&["network.host".to_owned()]).is_ok());
}
