//! Looking images up for frontends (rows GW-02 to GW-08).

use std::sync::Arc;

use lamina_sources::SourceContext;
use lamina_sources::SourceError;
use lamina_sources::SourceRequest;
use lamina_types::Digest;

use super::Build;
use crate::BuildError;
use crate::ResolveImageOptions;
use crate::ResolvedImage;

impl Build {
    /// Looks an image up, as a step that watchers see.
    pub(super) async fn resolve_image_config(
        &self,
        reference: &str,
        options: ResolveImageOptions,
    ) -> Result<ResolvedImage, BuildError> {
        let scheme = if options.oci_layout {
            "oci-layout"
        } else {
            "docker-image"
        };
        let identifier = format!("{scheme}://{reference}");
        let name = match options.log_name.as_str() {
            "" => format!("resolve image config for {identifier}"),
            name => name.to_owned(),
        };
        let step = self.step(Digest::of(name.as_bytes()), &name);
        let context = SourceContext {
            session: Arc::clone(&self.0.context.session),
            progress: step.progress().clone(),
            cancel: self.0.cancel.clone(),
        };
        let mut request = SourceRequest::new(identifier);
        request.platform = options
            .platform
            .or_else(|| Some(self.0.services.default_platform()));
        if !options.mode.is_empty() {
            request = request.attr("image.resolvemode", &options.mode);
        }
        let resolved = self
            .0
            .services
            .sources
            .resolve_config(&request, &context)
            .await;
        step.finish(resolved.as_ref().err().map(ToString::to_string));
        let resolved = resolved.map_err(build_error)?;
        Ok(ResolvedImage {
            reference: resolved.reference,
            digest: resolved.digest,
            config: resolved.config,
        })
    }
}

fn build_error(error: SourceError) -> BuildError {
    if error.is_cancelled() {
        return BuildError::cancelled();
    }
    BuildError::new(error.to_string())
}
