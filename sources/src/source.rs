//! What all sources have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_session::Session;
use lamina_session::SessionError;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;
use lamina_types::Cancelled;
use lamina_types::Digest;
use lamina_types::Platform;
use lamina_types::Progress;
use serde::Deserialize;
use serde::Serialize;

use crate::PinnedGit;
use crate::PinnedHttp;
use crate::PinnedImage;
use crate::PinnedLocal;
use crate::SourceError;

/// What a build names as a source.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SourceRequest {
    /// Scheme and rest, such as `docker-image://docker.io/library/alpine:3`.
    pub identifier: String,
    /// Further wishes; unknown ones are ignored (row SRC-01).
    pub attrs: BTreeMap<String, String>,
    /// What the result is to run on; `None` = what this program runs on.
    pub platform: Option<Platform>,
}

impl SourceRequest {
    /// Names a source without attributes.
    pub fn new(identifier: impl Into<String>) -> Self {
        Self {
            identifier: identifier.into(),
            ..Self::default()
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attr(mut self, name: &str, value: &str) -> Self {
        self.attrs.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Returns what follows `://`.
    ///
    /// # Errors
    /// [`SourceError::BadIdentifier`] if there is no scheme.
    pub(crate) fn rest(&self) -> Result<&str, SourceError> {
        match self.identifier.split_once("://") {
            Some((_, rest)) => Ok(rest),
            None => Err(SourceError::BadIdentifier {
                identifier: self.identifier.clone(),
            }),
        }
    }

    pub(crate) fn platform(&self) -> Platform {
        self.platform.clone().unwrap_or_else(Platform::host)
    }

    /// Returns an attribute that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.attrs.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    pub(crate) fn bad_attr(&self, name: &'static str, reason: impl Into<String>) -> SourceError {
        SourceError::BadAttribute {
            identifier: self.identifier.clone(),
            name,
            value: self.attrs.get(name).cloned().unwrap_or_default(),
            reason: reason.into(),
        }
    }
}

/// For whom a source works.
#[derive(Clone)]
pub struct SourceContext {
    /// The client of the build.
    pub session: Arc<dyn Session>,
    /// Told what happens.
    pub progress: Progress,
    /// Stops the work.
    pub cancel: CancelToken,
}

impl SourceContext {
    /// Returns a secret that nobody has named, but that is there by convention. A client that cannot
    /// give it does not fail the build, but is told, since the server may then refuse for no visible
    /// reason.
    pub(crate) async fn offered_secret(&self, id: &str) -> Result<Option<Vec<u8>>, SourceError> {
        match self.session.secret(id).await {
            Ok(secret) => Ok(secret),
            Err(SessionError::Cancelled(_)) => Err(Cancelled.into()),
            Err(error) => {
                if !error.is_gone() {
                    let text =
                        format!("secret {id} is not sent, since it could not be had: {error}");
                    self.progress.warn(&text);
                }
                Ok(None)
            }
        }
    }
}

/// What a source is at this moment. Can be stored and used by another process later.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pinned {
    /// The identifier, normalised.
    pub identifier: String,
    /// Results made from equal keys are equal.
    pub cache_key: Digest,
    /// Whether the key is made from content, so that equal content always has an equal key.
    /// Otherwise the snapshot is to be digested once it is there (row SRC-15).
    pub key_is_content: bool,
    /// What provenance records: the digest of what an image reference names.
    pub pin: Option<Digest>,
    /// What the kind of source needs to make the snapshot.
    pub kind: PinnedKind,
}

/// The part of a [`Pinned`] that only its source understands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PinnedKind {
    /// An image.
    Image(Box<PinnedImage>),
    /// A directory of the client.
    Local(PinnedLocal),
    /// A file.
    Http(Box<PinnedHttp>),
    /// A commit.
    Git(Box<PinnedGit>),
}

/// One kind of source.
#[async_trait]
pub trait Source: Send + Sync {
    /// Returns the scheme of its identifiers, without `://`.
    fn scheme(&self) -> &'static str;

    /// Finds out what the request names now. Reads no layers and no files.
    ///
    /// # Errors
    /// If the request makes no sense or names nothing.
    async fn resolve(
        &self,
        request: &SourceRequest,
        context: &SourceContext,
    ) -> Result<Pinned, SourceError>;

    /// Makes the layers; those that the store has already are used.
    ///
    /// # Errors
    /// If the content cannot be had or is not what was pinned; finished layers stay for next time.
    async fn snapshot(
        &self,
        pinned: &Pinned,
        context: &SourceContext,
    ) -> Result<LayerStack, SourceError>;
}
