//! Builds that another frontend does: the one that the client or the file asks for.

use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::FrontendRequest;

use super::Build;
use super::OWN_NAME;
use crate::error::FrontendError;
use crate::error::Result;
use crate::gateway;
use crate::located::Located;
use crate::reference::ImageName;
use crate::syntax::syntax_directive;

impl Build {
    /// Lets the frontend that the client or the file asks for do the build (rows FDF-34, FDF-46).
    ///
    /// `None`: it is this one. The option `cmdline` says that the line was followed already.
    pub(super) async fn hand_over(&self) -> Result<Option<BuildResult>> {
        if self.client.option("cmdline").is_some() {
            return Ok(None);
        }
        if let Some(line) = self.client.option("build-arg:BUILDKIT_SYNTAX") {
            let result = self.forward(line).await;
            return result.map_err(|error| match error.sources.is_empty() {
                true => {
                    let what = format!("failed with build-arg:BUILDKIT_SYNTAX = {line}");
                    Located::from(error).while_doing(&what)
                }
                false => error.into(),
            });
        }
        let Some(directive) = syntax_directive(&self.source.text) else {
            return Ok(None);
        };
        let result = self.forward(&directive.value).await;
        result.map_err(|error| match error.sources.is_empty() {
            true => Located::at(error.into(), directive.lines),
            false => error.into(),
        })
    }

    /// Runs the frontend in the image that a syntax line begins with, with everything that this
    /// one was given.
    async fn forward(&self, line: &str) -> std::result::Result<Option<BuildResult>, BuildError> {
        let line = line.trim();
        let image = line.split(' ').next().unwrap_or_default();
        if image == OWN_NAME {
            return Ok(None);
        }
        ImageName::parse(image).map_err(|source| FrontendError::ContextName {
            name: image.to_owned(),
            source,
        })?;
        let bridge = self.client.bridge();
        let mut options = bridge.options().clone();
        options.insert("cmdline".to_owned(), line.to_owned());
        options.insert(gateway::SOURCE.to_owned(), image.to_owned());
        let request = FrontendRequest {
            name: gateway::NAME.to_owned(),
            options,
            inputs: bridge.inputs().clone(),
            ..FrontendRequest::default()
        };
        bridge.run_frontend(request).await.map(Some)
    }
}
