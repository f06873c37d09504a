//! Looking sources up, over a bridge in memory (rows GW-02 to GW-13).

use lamina_proto::gateway;
use lamina_proto::pb;
use tonic::Code;

use crate::gateway::with_client;
use crate::harness::Outcome;

/// Rows GW-06, GW-09, GW-11, GW-13, ERR-17.
pub(crate) fn sources_are_looked_up() -> Outcome {
    with_client(async |client| {
        let status = client
            .resolve_source_meta(gateway::ResolveSourceMetaRequest::default())
            .await
            .expect_err("no source");
        assert_eq!(status.code(), Code::InvalidArgument);
        let source = pb::SourceOp {
            identifier: "docker-image://x".to_owned(),
            ..pb::SourceOp::default()
        };
        let request = gateway::ResolveSourceMetaRequest {
            source: Some(source.clone()),
            platform: Some(pb::Platform::default()),
            ..gateway::ResolveSourceMetaRequest::default()
        };
        let answer = client.resolve_source_meta(request).await.expect("found");
        let answer = answer.into_inner();
        assert_eq!(answer.source, Some(source));
        assert!(
            answer
                .image
                .expect("an image")
                .digest
                .starts_with("sha256:")
        );
        let modified = answer.http.expect("a file").last_modified;
        assert_eq!(modified.map(|time| time.seconds), Some(7));
        let mut wanted = gateway::ResolveSourceGitResponse {
            checksum: "tag".to_owned(),
            r#ref: "refs/tags/v1".to_owned(),
            commit_checksum: "commit".to_owned(),
            ..gateway::ResolveSourceGitResponse::default()
        };
        assert_eq!(answer.git, Some(wanted.clone()));
        let request = gateway::ResolveSourceMetaRequest {
            source: answer.source,
            git: Some(gateway::ResolveSourceGitRequest {
                return_object: true,
            }),
            ..gateway::ResolveSourceMetaRequest::default()
        };
        let answer = client.resolve_source_meta(request).await.expect("found");
        (wanted.commit_object, wanted.tag_object) = (b"c".to_vec(), b"t".to_vec());
        assert_eq!(answer.into_inner().git, Some(wanted));

        for (resolver_type, fine) in [(0, true), (1, true), (2, false), (-1, false)] {
            let request = gateway::ResolveImageConfigRequest {
                r#ref: "x".to_owned(),
                resolver_type,
                ..gateway::ResolveImageConfigRequest::default()
            };
            let answer = client.resolve_image_config(request).await;
            assert_eq!(answer.is_ok(), fine, "{resolver_type}");
        }
    });
    Outcome::Passed
}

/// What the answer would not have is refused, rather than left out of it (rows GW-10, GW-12).
pub(crate) fn what_is_missing_is_refused() -> Outcome {
    with_client(async |client| {
        let image = |attestation_chain, kinds: &[&str]| gateway::ResolveSourceMetaRequest {
            image: Some(gateway::ResolveSourceImageRequest {
                attestation_chain,
                resolve_attestations: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
                ..gateway::ResolveSourceImageRequest::default()
            }),
            ..gateway::ResolveSourceMetaRequest::default()
        };
        let http = |checksum_request| gateway::ResolveSourceMetaRequest {
            http: Some(gateway::ResolveSourceHttpRequest { checksum_request }),
            ..gateway::ResolveSourceMetaRequest::default()
        };
        for (name, request, fine) in [
            ("an image", image(false, &[]), true),
            ("the chain", image(true, &[]), false),
            (
                "one kind",
                image(false, &["https://slsa.dev/provenance/v1"]),
                false,
            ),
            ("a file", http(None), true),
            (
                "another checksum",
                http(Some(gateway::ChecksumRequest::default())),
                false,
            ),
        ] {
            let request = gateway::ResolveSourceMetaRequest {
                source: Some(pb::SourceOp::default()),
                ..request
            };
            let answer = client.resolve_source_meta(request).await;
            let code = answer.err().map(|status| status.code());
            assert_eq!(code, (!fine).then_some(Code::Unimplemented), "{name}");
        }
    });
    Outcome::Passed
}
