//! Looking sources up (rows GW-02 to GW-13).

use lamina_llb::BuildError;
use lamina_llb::ResolveImageOptions;
use lamina_llb::ResolveSourceRequest;
use lamina_llb::ResolvedGit;
use lamina_llb::ResolvedSource;
use lamina_proto::gateway;
use lamina_proto::pb;
use lamina_types::Platform;
use tonic::Code;

use super::DrivenBuild;

/// The values of `ResolverType` (row GW-06).
const REGISTRY: i32 = 0;
const OCI_LAYOUT: i32 = 1;

impl DrivenBuild {
    /// Rows GW-02 to GW-08.
    pub(super) async fn resolve_image_config(
        &self,
        request: gateway::ResolveImageConfigRequest,
    ) -> Result<gateway::ResolveImageConfigResponse, BuildError> {
        let oci_layout = match request.resolver_type {
            REGISTRY => false,
            OCI_LAYOUT => true,
            other => return Err(invalid(format!("invalid resolver type {other}"))),
        };
        let options = ResolveImageOptions {
            platform: request.platform.map(platform),
            mode: request.resolve_mode,
            log_name: request.log_name,
            oci_layout,
            session: request.session_id,
            store: request.store_id,
            policies: request.source_policies,
        };
        let resolved = self.bridge.resolve_image_config(&request.r#ref, options);
        let resolved = resolved.await?;
        Ok(gateway::ResolveImageConfigResponse {
            digest: resolved.digest.to_string(),
            config: resolved.config,
            r#ref: resolved.reference,
        })
    }

    /// Rows GW-09 to GW-13.
    pub(super) async fn resolve_source(
        &self,
        request: gateway::ResolveSourceMetaRequest,
    ) -> Result<gateway::ResolveSourceMetaResponse, BuildError> {
        let missing = || invalid("source is required".to_owned());
        refuse_missing_features(&request)?;
        let source = request.source.ok_or_else(missing)?;
        let resolved = self.bridge.resolve_source(ResolveSourceRequest {
            source,
            platform: request.platform.map(platform),
            log_name: request.log_name,
            mode: request.resolve_mode,
            no_config: request.image.is_some_and(|image| image.no_config),
            git_objects: request.git.is_some_and(|git| git.return_object),
            policies: request.source_policies,
        });
        let resolved = resolved.await?;
        Ok(response(resolved))
    }
}

fn response(resolved: ResolvedSource) -> gateway::ResolveSourceMetaResponse {
    let image = resolved.image.map(|(digest, config)| {
        let digest = digest.to_string();
        gateway::ResolveSourceImageResponse {
            digest,
            config,
            attestation_chain: None,
        }
    });
    let http = resolved.http.map(|(digest, filename, modified)| {
        let timestamp = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        gateway::ResolveSourceHttpResponse {
            checksum: digest.to_string(),
            filename,
            last_modified: modified.map(timestamp),
            checksum_response: None,
        }
    });
    gateway::ResolveSourceMetaResponse {
        source: Some(resolved.source),
        image,
        git: resolved.git.map(git),
        http,
    }
}

/// Row GW-11.
fn git(resolved: ResolvedGit) -> gateway::ResolveSourceGitResponse {
    let objects = resolved.objects.unwrap_or_default();
    gateway::ResolveSourceGitResponse {
        checksum: resolved.object,
        r#ref: resolved.reference,
        commit_checksum: resolved.commit.unwrap_or_default(),
        commit_object: objects.commit,
        tag_object: objects.tag,
    }
}

/// Refuses what the answer would not have. None of it has a capability on offer.
fn refuse_missing_features(request: &gateway::ResolveSourceMetaRequest) -> Result<(), BuildError> {
    let image = request.image.as_ref();
    let http = request.http.as_ref();
    let attests = image
        .is_some_and(|image| image.attestation_chain || !image.resolve_attestations.is_empty());
    let missing = if attests {
        "attestations of images are"
    } else if http.is_some_and(|http| http.checksum_request.is_some()) {
        "other checksums of files are"
    } else {
        return Ok(());
    };
    Err(BuildError {
        code: Some(Code::Unimplemented as i32),
        ..BuildError::new(format!("{missing} not supported by this engine"))
    })
}

fn invalid(message: String) -> BuildError {
    BuildError {
        code: Some(Code::InvalidArgument as i32),
        ..BuildError::new(message)
    }
}

fn platform(wire: pb::Platform) -> Platform {
    Platform {
        os_version: wire.os_version,
        os_features: wire.os_features,
        ..Platform::new(&wire.os, &wire.architecture, &wire.variant)
    }
}
