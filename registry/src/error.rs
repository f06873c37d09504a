//! Why a registry did not do what it was asked.

use lamina_content::ContentError;
use lamina_session::SessionError;
use lamina_types::Cancelled;
use lamina_types::Digest;
use lamina_types::Platform;

use crate::ReferenceError;

/// A registry, or the way to it, failed.
///
/// Messages name the image as the user would look for it, the host that was really asked, and what
/// that host said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The build was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The local content store failed.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The client could not be asked for credentials.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The text does not name an image.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The settings of a host cannot be used.
    #[error("configuration of registry {host}: {reason}")]
    Config {
        /// The host in the configuration.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// No connection: unknown name, refused, timed out, or an unacceptable certificate.
    #[error("failed to do request: {method} {url:?}: {reason}")]
    Unreachable {
        /// Who was to be reached.
        host: String,
        /// What was to be done.
        method: String,
        /// With what, without credentials and query.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The connection was lost and retries did not help.
    #[error("{reference}: connection to registry {host} failed: {reason}")]
    Interrupted {
        /// The image.
        reference: String,
        /// The other end.
        host: String,
        /// How it ended.
        reason: String,
    },
    /// The registry does not have it.
    #[error("{reference}: not found")]
    NotFound {
        /// The image.
        reference: String,
        /// Who was asked.
        host: String,
        /// What it said.
        message: String,
    },
    /// The registry does not let this client do it.
    #[error("{reference}: access to registry {host} denied ({hint}): {message}")]
    Denied {
        /// The image.
        reference: String,
        /// Who was asked.
        host: String,
        /// What it said.
        message: String,
        /// Whether credentials were used.
        hint: &'static str,
    },
    /// The registry answered with another error.
    #[error("{reference}: registry {host} answered {status}: {message}")]
    Status {
        /// The image.
        reference: String,
        /// Who was asked.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The token server of the registry did not give a token.
    #[error("{reference}: no token for registry {host} from {realm}: {reason}")]
    Token {
        /// The image.
        reference: String,
        /// The registry.
        host: String,
        /// The token server.
        realm: String,
        /// What it said.
        reason: String,
    },
    /// Redirected too often, to nowhere, or from https to http.
    #[error("{reference}: registry {host} redirects badly: {reason}")]
    BadRedirect {
        /// The image.
        reference: String,
        /// Who redirected first.
        host: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Larger than is accepted.
    #[error("{reference}: {what} from registry {host} is larger than {limit} bytes")]
    TooLarge {
        /// The image.
        reference: String,
        /// Who sent it.
        host: String,
        /// What it is.
        what: &'static str,
        /// What is accepted.
        limit: u64,
    },
    /// An image of the first manifest format, which carries no digests (row SRC-02).
    #[error(
        "{reference}: Docker image manifests of schema 1 are not supported; push the image again \
         with a current tool"
    )]
    SchemaOne {
        /// The image.
        reference: String,
    },
    /// Neither a manifest nor an index.
    #[error("{reference}: unsupported media type {media_type:?}")]
    UnsupportedMediaType {
        /// The image.
        reference: String,
        /// What the registry calls it.
        media_type: String,
    },
    /// The registry sent something that makes no sense.
    #[error("{reference}: malformed {what} from registry {host}: {reason}")]
    Malformed {
        /// The image.
        reference: String,
        /// Who sent it.
        host: String,
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The content is not what its digest says.
    #[error("{reference}: registry {host} sent content with digest {found} instead of {wanted}")]
    WrongDigest {
        /// The image.
        reference: String,
        /// Who sent it.
        host: String,
        /// What was asked for.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// The blob is longer than its descriptor says.
    #[error("{reference}: registry {host} sent more than the {wanted} bytes of {digest}")]
    WrongSize {
        /// The image.
        reference: String,
        /// Who sent it.
        host: String,
        /// The blob.
        digest: Digest,
        /// Its size by its descriptor.
        wanted: u64,
    },
    /// An index without an image for the platform.
    #[error("{reference}: no match for platform in manifest: {platform} (available: {available})")]
    NoPlatform {
        /// The image.
        reference: String,
        /// What was asked for.
        platform: Box<Platform>,
        /// What the index has.
        available: String,
    },
}

impl RegistryError {
    /// Says whether the registry answered that it does not have the image.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Says whether this is an answer and `other` only says that there was none. Of a mirror that
    /// does not have an image and a registry that cannot be reached, the former is what users know.
    pub(crate) const fn tells_more_than(&self, other: &Self) -> bool {
        !self.is_silence() && other.is_silence()
    }

    /// Says whether there was no answer, or not all of one.
    pub(crate) const fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Interrupted { .. })
    }

    /// Says whether the build was cancelled.
    #[must_use]
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }
}
