//! All sources, by scheme.

use std::path::PathBuf;
use std::sync::Arc;

use lamina_content::ContentStore;
use lamina_registry::RegistryClient;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::LayerId;

use crate::DockerImageSource;
use crate::LocalSource;
use crate::OciLayoutSource;
use crate::Pinned;
use crate::PinnedKind;
use crate::ResolvedConfig;
use crate::Source;
use crate::SourceContext;
use crate::SourceError;
use crate::SourceRequest;
use crate::image::ImageStore;

/// Schemes of the wire that this version does not read.
const UNSUPPORTED: [&str; 5] = [
    "git",
    "http",
    "https",
    "docker-image+blob",
    "oci-layout+blob",
];

/// What sources work with.
#[derive(Clone)]
pub struct SourceConfig {
    /// Where layers go.
    pub layers: SnapshotStore,
    /// Where blobs go.
    pub content: ContentStore,
    /// Asked for images.
    pub registry: RegistryClient,
    /// Where work that blocks is done.
    pub blocking: Blocking,
    /// Folder for what sources remember from build to build; made when needed.
    pub state: PathBuf,
}

/// The sources of one engine. Clones share them.
#[derive(Clone)]
pub struct Sources(Arc<Inner>);

struct Inner {
    images: DockerImageSource,
    layouts: OciLayoutSource,
    local: LocalSource,
}

impl Sources {
    /// Makes the sources; touches nothing before they are used.
    #[must_use]
    pub fn new(config: SourceConfig) -> Self {
        let images = ImageStore::new(&config);
        Self(Arc::new(Inner {
            images: DockerImageSource::new(images.clone()),
            layouts: OciLayoutSource::new(images),
            local: LocalSource::new(config.layers, config.blocking, config.state.join("local")),
        }))
    }

    /// Returns the source for an identifier (row SRC-01).
    ///
    /// # Errors
    /// [`SourceError::UnknownScheme`], or [`SourceError::UnsupportedScheme`] for what only later
    /// versions read.
    pub fn get(&self, identifier: &str) -> Result<&dyn Source, SourceError> {
        let Some((scheme, _)) = identifier.split_once("://") else {
            return Err(SourceError::BadIdentifier {
                identifier: identifier.to_owned(),
            });
        };
        let all: [&dyn Source; 3] = [&self.0.images, &self.0.layouts, &self.0.local];
        if let Some(source) = all.into_iter().find(|source| source.scheme() == scheme) {
            return Ok(source);
        }
        let scheme = scheme.to_owned();
        if UNSUPPORTED.contains(&scheme.as_str()) {
            let identifier = identifier.to_owned();
            return Err(SourceError::UnsupportedScheme { scheme, identifier });
        }
        Err(SourceError::UnknownScheme { scheme })
    }

    /// Finds out what a request names now; see [`Source::resolve`].
    ///
    /// # Errors
    /// As [`Sources::get`] and [`Source::resolve`].
    pub async fn resolve(
        &self,
        request: &SourceRequest,
        context: &SourceContext,
    ) -> Result<Pinned, SourceError> {
        let source = self.get(&request.identifier)?;
        source.resolve(request, context).await
    }

    /// Makes the layers; see [`Source::snapshot`].
    ///
    /// # Errors
    /// As [`Sources::get`] and [`Source::snapshot`].
    pub async fn snapshot(
        &self,
        pinned: &Pinned,
        context: &SourceContext,
    ) -> Result<LayerStack, SourceError> {
        let source = self.get(&pinned.identifier)?;
        source.snapshot(pinned, context).await
    }

    /// Returns digest and config of the image that a request names, for frontends (row GW-02).
    ///
    /// # Errors
    /// As [`Sources::resolve`]; [`SourceError::WrongKind`] if it is no image.
    pub async fn resolve_config(
        &self,
        request: &SourceRequest,
        context: &SourceContext,
    ) -> Result<ResolvedConfig, SourceError> {
        match self.resolve(request, context).await?.kind {
            PinnedKind::Image(image) => self.0.images.config_of(&image),
            PinnedKind::Local(_) => Err(SourceError::WrongKind {
                identifier: request.identifier.clone(),
                scheme: "docker-image",
            }),
        }
    }

    /// Returns the layers that local sources build on at their next transfer: worth keeping, but
    /// losing them costs no more than copying the files again.
    #[must_use]
    pub fn retained_layers(&self) -> Vec<LayerId> {
        self.0.local.retained_layers()
    }
}
