//! Telling a manifest from an index, and reading both.

use lamina_content::Descriptor;
use lamina_content::Index;
use lamina_content::Manifest;
use lamina_content::media_type;
use lamina_registry::ManifestKind;
use lamina_types::Digest;
use serde::Deserialize;

use crate::SourceError;

/// An index or a manifest.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Index),
    Manifest(Box<Manifest>),
}

/// The parts that tell what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    media_type: String,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a document, which must be what it says itself, else what it looks like.
    pub(crate) fn parse(
        reference: &str,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<Self, SourceError> {
        let malformed = |error: serde_json::Error| SourceError::MalformedImage {
            reference: reference.to_owned(),
            what: "manifest",
            digest,
            reason: error.to_string(),
        };
        let shape: Shape = serde_json::from_slice(bytes).map_err(malformed)?;
        let kind = ManifestKind::of(&shape.media_type).unwrap_or(match shape.manifests {
            Some(_) => ManifestKind::Index,
            None => ManifestKind::Image,
        });
        Ok(match kind {
            ManifestKind::Index => Self::Index(serde_json::from_slice(bytes).map_err(malformed)?),
            ManifestKind::Image => {
                Self::Manifest(Box::new(serde_json::from_slice(bytes).map_err(malformed)?))
            }
        })
    }

    /// Returns the descriptor of a document that nothing describes.
    pub(crate) fn describe(&self, bytes: &[u8]) -> Descriptor {
        let (own, default) = match self {
            Self::Index(index) => (&index.media_type, media_type::OCI_INDEX),
            Self::Manifest(manifest) => (&manifest.media_type, media_type::OCI_MANIFEST),
        };
        Descriptor::of(own.as_deref().unwrap_or(default), bytes)
    }
}
