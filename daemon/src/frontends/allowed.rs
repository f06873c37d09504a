//! `allowedRepositories`: which images may be frontends (row CFG-12).
//!
//! What counts is the program that would run. A client may put a named context in the place of the
//! image (row FGW-05), so that is judged too: another image by its name, and a directory, a layout
//! or an input, which have no repository, are refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_frontend::GatewayFrontend;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Frontend;
use lamina_registry::ImageReference;

/// The frontend's option that names its image.
const SOURCE: &str = "source";

/// How the value of a named context begins that is an image; slashes and its name follow.
const IMAGE: &str = "docker-image:";

/// The gateway, which refuses images of other repositories.
pub(crate) struct AllowedRepositories {
    inner: Arc<dyn Frontend>,
    allowed: BTreeSet<String>,
}

impl AllowedRepositories {
    /// Allows the images of `repositories` and no others; names that are none are told.
    pub(crate) fn new(
        inner: Arc<dyn Frontend>,
        repositories: &[String],
        notes: &mut Vec<String>,
    ) -> Self {
        let mut allowed = BTreeSet::new();
        for name in repositories {
            match repository(name) {
                Some(repository) => drop(allowed.insert(repository)),
                None => notes.push(format!("allowedRepositories: {name:?} is no repository")),
            }
        }
        Self { inner, allowed }
    }

    fn allows(&self, source: &str) -> bool {
        repository(source).is_some_and(|name| self.allowed.contains(&name))
    }

    /// Says whether a named context may stand for an image.
    fn allows_context(&self, context: &str) -> bool {
        let image = context.strip_prefix(IMAGE);
        image.is_some_and(|image| self.allows(image.trim_start_matches("//")))
    }

    /// Returns what of the request is not allowed.
    fn refused(&self, bridge: &dyn Bridge) -> Option<String> {
        let source = bridge.options().get(SOURCE)?;
        if !self.allows(source) {
            return Some(source.clone());
        }
        GatewayFrontend::replacement(bridge, source).filter(|context| !self.allows_context(context))
    }
}

/// Returns the full name of the repository that a reference is about.
fn repository(reference: &str) -> Option<String> {
    reference
        .parse::<ImageReference>()
        .ok()
        .map(|reference| reference.name())
}

#[async_trait]
impl Frontend for AllowedRepositories {
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError> {
        if let Some(source) = self.refused(bridge.as_ref()) {
            let refused = format!("'{source}' is not an allowed gateway source");
            return Err(BuildError::new(refused));
        }
        self.inner.build(bridge).await
    }
}

#[cfg(test)]
mod tests {
    use lamina_frontend::DockerfileFrontend;

    use super::*;

    #[test]
    fn other_repositories_are_refused() {
        let names = ["docker/dockerfile".to_owned(), "Not A Name".to_owned()];
        let mut notes = Vec::new();
        let inner = Arc::new(DockerfileFrontend);
        let frontend = AllowedRepositories::new(inner, &names, &mut notes);
        assert_eq!(
            notes,
            ["allowedRepositories: \"Not A Name\" is no repository"]
        );
        for allowed in [
            "docker/dockerfile",
            "docker.io/docker/dockerfile:1",
            "docker/dockerfile:x",
        ] {
            assert!(frontend.allows(allowed), "{allowed}");
        }
        for refused in [
            "docker/other",
            "localhost:5000/docker/dockerfile",
            "",
            "a b",
        ] {
            assert!(!frontend.allows(refused), "{refused}");
        }
        for (context, allowed) in [
            ("docker-image://docker/dockerfile:2", true),
            ("docker-image:docker/dockerfile", true),
            ("docker-image://docker/other", false),
            ("docker-image://", false),
            ("local:docker/dockerfile", false),
            ("input:docker/dockerfile", false),
            ("oci-layout://docker/dockerfile", false),
            ("docker/dockerfile", false),
            ("", false),
        ] {
            assert_eq!(frontend.allows_context(context), allowed, "{context}");
        }
    }
}
