//! All sources, by scheme.

use std::path::PathBuf;
use std::sync::Arc;

use lamina_content::ContentStore;
use lamina_registry::RegistryClient;
use lamina_session::SessionManager;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::LayerId;

use crate::DockerImageSource;
use crate::GitObjects;
use crate::GitRepositories;
use crate::GitSource;
use crate::HttpSource;
use crate::LocalSource;
use crate::OciLayoutSource;
use crate::Pinned;
use crate::PinnedGit;
use crate::PinnedHttp;
use crate::PinnedKind;
use crate::ResolvedConfig;
use crate::Source;
use crate::SourceContext;
use crate::SourceError;
use crate::SourceRequest;
use crate::image::ImageStore;

/// Schemes of the wire that this version does not read.
const UNSUPPORTED: [&str; 2] = ["docker-image+blob", "oci-layout+blob"];

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
    /// The clients that are connected, for sources that name one (row SES-09).
    pub sessions: SessionManager,
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
    http: HttpSource,
    https: HttpSource,
    git: GitSource,
}

impl Sources {
    /// Makes the sources; touches nothing before they are used.
    #[must_use]
    pub fn new(config: SourceConfig) -> Self {
        let images = ImageStore::new(&config);
        Self(Arc::new(Inner {
            images: DockerImageSource::new(images.clone()),
            layouts: OciLayoutSource::new(images, config.sessions.clone()),
            local: LocalSource::new(&config),
            http: HttpSource::new("http", &config),
            https: HttpSource::new("https", &config),
            git: GitSource::new(&config),
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
        let inner = &*self.0;
        let all: [&dyn Source; 6] = [
            &inner.images,
            &inner.layouts,
            &inner.local,
            &inner.http,
            &inner.https,
            &inner.git,
        ];
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
            _ => Err(SourceError::WrongKind {
                identifier: request.identifier.clone(),
                scheme: "docker-image",
            }),
        }
    }

    /// Returns digest, name and time of the file that a request names, for frontends (row GW-12).
    /// The file is downloaded, unless it is known or the request states its digest.
    ///
    /// # Errors
    /// As [`Sources::resolve`]; [`SourceError::WrongKind`] if it is no such file.
    pub async fn resolve_http(
        &self,
        request: &SourceRequest,
        context: &SourceContext,
    ) -> Result<PinnedHttp, SourceError> {
        match self.resolve(request, context).await?.kind {
            PinnedKind::Http(file) => Ok(*file),
            _ => Err(SourceError::WrongKind {
                identifier: request.identifier.clone(),
                scheme: "http",
            }),
        }
    }

    /// Returns the commit that a request names, for frontends (row GW-11), and its objects if they
    /// are wanted: for those it is fetched.
    ///
    /// # Errors
    /// As [`Sources::resolve`]; [`SourceError::WrongKind`] if it is no repository.
    pub async fn resolve_git(
        &self,
        request: &SourceRequest,
        with_objects: bool,
        context: &SourceContext,
    ) -> Result<(PinnedGit, Option<GitObjects>), SourceError> {
        let PinnedKind::Git(pinned) = self.resolve(request, context).await?.kind else {
            return Err(SourceError::WrongKind {
                identifier: request.identifier.clone(),
                scheme: "git",
            });
        };
        let objects = match with_objects {
            true => Some(self.0.git.objects(&pinned, context).await?),
            false => None,
        };
        Ok((*pinned, objects))
    }

    /// Returns the repositories that git sources keep.
    #[must_use]
    pub fn repositories(&self) -> GitRepositories {
        self.0.git.repositories().clone()
    }

    /// Returns the layers that local and http sources build on the next time: worth keeping, but
    /// losing them costs no more than copying or downloading the files again.
    #[must_use]
    pub fn retained_layers(&self) -> Vec<LayerId> {
        let mut layers = self.0.local.retained_layers();
        // Both kinds share what they remember.
        layers.extend(self.0.http.retained_layers());
        layers
    }
}
