//! Looking sources up for frontends, without fetching them (rows GW-02 to GW-13).

use std::sync::Arc;

use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use lamina_session::Session;
use lamina_solver::StepHandle;
use lamina_sources::PinnedHttp;
use lamina_sources::ResolvedConfig;
use lamina_sources::SourceContext;
use lamina_sources::SourceError;
use lamina_sources::SourceRequest;
use lamina_types::Digest;
use lamina_types::Platform;
use lamina_types::without_credentials;

use super::Build;
use crate::BuildError;
use crate::ResolveImageOptions;
use crate::ResolveSourceRequest;
use crate::ResolvedGit;
use crate::ResolvedImage;
use crate::ResolvedSource;
use crate::policy;

const IMAGE: &str = "docker-image";
const LAYOUT: &str = "oci-layout";
const GIT: &str = "git";
/// Attributes of image sources.
const RESOLVE_MODE: &str = "image.resolvemode";
const LAYOUT_SESSION: &str = "oci.session";
const LAYOUT_STORE: &str = "oci.store";

/// Returns what an image look-up asks for, as a look-up of a source.
fn source_request(
    scheme: &str,
    reference: &str,
    options: ResolveImageOptions,
) -> ResolveSourceRequest {
    let mut source = pb::SourceOp {
        identifier: format!("{scheme}://{reference}"),
        ..pb::SourceOp::default()
    };
    for (name, value) in [
        (LAYOUT_SESSION, options.session),
        (LAYOUT_STORE, options.store),
    ] {
        if options.oci_layout && !value.is_empty() {
            source.attrs.insert(name.to_owned(), value);
        }
    }
    ResolveSourceRequest {
        source,
        platform: options.platform,
        log_name: options.log_name,
        mode: options.mode,
        ..ResolveSourceRequest::default()
    }
}

impl Build {
    /// Looks an image up, as a step that watchers see.
    pub(super) async fn resolve_image_config(
        &self,
        reference: &str,
        options: ResolveImageOptions,
        policies: &[Policy],
    ) -> Result<ResolvedImage, BuildError> {
        let scheme = if options.oci_layout { LAYOUT } else { IMAGE };
        let request = self.permit(source_request(scheme, reference, options), policies)?;
        if scheme_of(&request.source) != scheme {
            return Err(other_kind(reference, &request.source));
        }
        let resolved = self.image_config(&request).await;
        // Clients that look images up themselves add these words themselves (row GW-08).
        let wrap = |error: BuildError| BuildError {
            message: format!(
                "failed to resolve source metadata for {}: {error}",
                short_name(&request.source)
            ),
            ..error
        };
        let resolved =
            resolved.map_err(|error| if error.cancelled { error } else { wrap(error) })?;
        Ok(ResolvedImage {
            reference: resolved.reference,
            digest: resolved.digest,
            config: resolved.config,
        })
    }

    /// Looks a source of any kind up (rows GW-09 to GW-13).
    pub(super) async fn resolve_source(
        &self,
        request: ResolveSourceRequest,
        policies: &[Policy],
    ) -> Result<ResolvedSource, BuildError> {
        let request = self.permit(request, policies)?;
        let mut resolved = ResolvedSource::default();
        match scheme_of(&request.source) {
            IMAGE | LAYOUT => {
                let image = self.image_config(&request).await?;
                let config = if request.no_config {
                    Vec::new()
                } else {
                    image.config
                };
                resolved.image = Some((image.digest, config));
            }
            "http" | "https" => {
                let file = self.http_file(&request).await?;
                resolved.http = Some((file.digest, file.filename, file.last_modified));
            }
            GIT => resolved.git = Some(self.commit(&request).await?),
            _ => self.check_scheme(&request.source)?,
        }
        resolved.source = request.source;
        Ok(resolved)
    }

    /// Refuses sources that no build could use. Of the others there is nothing to look up (row
    /// GW-13).
    fn check_scheme(&self, source: &pb::SourceOp) -> Result<(), BuildError> {
        let found = self.0.services.sources.get(&source.identifier);
        found
            .map(drop)
            .map_err(|error| BuildError::new(error.to_string()))
    }

    /// Puts a look-up under the rules on sources (rows GW-07, GW-09).
    fn permit(
        &self,
        mut request: ResolveSourceRequest,
        policies: &[Policy],
    ) -> Result<ResolveSourceRequest, BuildError> {
        let refused =
            |error| BuildError::new(format!("could not resolve image due to policy: {error}"));
        let policies = self.0.policies(policies);
        policy::apply(&policies, &mut request.source).map_err(refused)?;
        Ok(request)
    }

    async fn image_config(
        &self,
        request: &ResolveSourceRequest,
    ) -> Result<ResolvedConfig, BuildError> {
        let (step, wanted) = self.look_up(request);
        let context = self.source_context(&step);
        let resolved = self.0.services.sources.resolve_config(&wanted, &context);
        finish(step, resolved.await)
    }

    async fn http_file(&self, request: &ResolveSourceRequest) -> Result<PinnedHttp, BuildError> {
        let (step, wanted) = self.look_up(request);
        let context = self.source_context(&step);
        let resolved = self.0.services.sources.resolve_http(&wanted, &context);
        finish(step, resolved.await)
    }

    async fn commit(&self, request: &ResolveSourceRequest) -> Result<ResolvedGit, BuildError> {
        let (step, wanted) = self.look_up(request);
        let context = self.source_context(&step);
        let sources = &self.0.services.sources;
        let resolved = sources.resolve_git(&wanted, request.git_objects, &context);
        let (pinned, objects) = finish(step, resolved.await)?;
        Ok(ResolvedGit {
            reference: pinned.reference,
            object: pinned.object,
            commit: pinned.commit,
            objects,
        })
    }

    /// Begins a look-up: what watchers see of it, and what is asked.
    fn look_up(&self, request: &ResolveSourceRequest) -> (StepHandle, SourceRequest) {
        let platform = self.platform_of(request);
        let step = self.lookup_step(request, &platform);
        let mut wanted = SourceRequest {
            identifier: request.source.identifier.clone(),
            attrs: request.source.attrs.clone(),
            platform: Some(platform),
        };
        if !request.mode.is_empty() {
            wanted = wanted.attr(RESOLVE_MODE, &request.mode);
        }
        (step, wanted)
    }

    fn platform_of(&self, request: &ResolveSourceRequest) -> Platform {
        let default = || self.0.services.default_platform();
        request.platform.clone().unwrap_or_else(default)
    }

    /// The step that watchers see; one for each source and platform.
    fn lookup_step(&self, request: &ResolveSourceRequest, platform: &Platform) -> StepHandle {
        let identifier = &request.source.identifier;
        let name = match request.log_name.as_str() {
            "" => format!("resolve image config for {identifier}"),
            name => name.to_owned(),
        };
        let digest = Digest::of(format!("{identifier}{platform:?}{name}").as_bytes());
        self.step(digest, &without_credentials(&name))
    }

    fn source_context(&self, step: &StepHandle) -> SourceContext {
        SourceContext {
            session: Arc::clone(&self.0.context.session) as Arc<dyn Session>,
            progress: step.progress().clone(),
            cancel: self.0.cancel.clone(),
        }
    }
}

/// Ends the step of a look-up.
fn finish<T>(step: StepHandle, resolved: Result<T, SourceError>) -> Result<T, BuildError> {
    step.finish(resolved.as_ref().err().map(ToString::to_string));
    resolved.map_err(build_error)
}

fn scheme_of(source: &pb::SourceOp) -> &str {
    let parts = source.identifier.split_once("://");
    parts.map_or("", |(scheme, _)| scheme)
}

/// The reference without its scheme, in full form where it is one.
fn short_name(source: &pb::SourceOp) -> String {
    let shown = without_credentials(&source.identifier);
    let rest = shown.split_once("://").map_or(&*shown, |(_, rest)| rest);
    let full = rest.parse::<lamina_registry::ImageReference>();
    full.map_or_else(|_| rest.to_owned(), |full| full.to_string())
}

/// Named contexts look for these words (row GW-08).
fn other_kind(reference: &str, source: &pb::SourceOp) -> BuildError {
    BuildError::new(format!(
        "ref mutated by policy to non-image: {IMAGE}://{reference} -> {}",
        without_credentials(&source.identifier)
    ))
}

fn build_error(error: SourceError) -> BuildError {
    if error.is_cancelled() {
        return BuildError::cancelled();
    }
    BuildError {
        unavailable: true,
        ..BuildError::new(error.to_string())
    }
}
