//! Manifests and indexes: what a reference names.

use std::sync::Arc;

use lamina_content::Descriptor;
use lamina_content::media_type;
use lamina_session::Session;
use lamina_types::CancelToken;
use lamina_types::Digest;
use reqwest::Method;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::ImageReference;
use crate::MAX_MANIFEST_BYTES;
use crate::RegistryClient;
use crate::RegistryError;
use crate::bounded;
use crate::bounded::BoundedError;
use crate::client;
use crate::request::Access;
use crate::request::Request;
use crate::transport;

/// What is asked for; the last one keeps registries from converting what they have.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*";

const SCHEMA_ONE: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

const DIGEST_HEADER: &str = "docker-content-digest";

/// A manifest or index with the descriptor that names it; its digest is that of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedManifest {
    /// Digest, size and media type.
    pub descriptor: Descriptor,
    /// The document as the registry has it.
    pub bytes: Vec<u8>,
}

/// What kind of document a reference names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ManifestKind {
    /// One image for one platform.
    Image,
    /// A list of images for several platforms.
    Index,
}

impl ManifestKind {
    /// Returns the kind that a media type stands for, in OCI's or Docker's spelling.
    #[must_use]
    pub fn of(media_type: &str) -> Option<Self> {
        if media_type::is_index(media_type) {
            Some(Self::Index)
        } else if media_type::is_manifest(media_type) {
            Some(Self::Image)
        } else {
            None
        }
    }
}

impl RegistryClient {
    /// Returns the manifest or index that `reference` names: digest checked, at most
    /// [`MAX_MANIFEST_BYTES`] long. Mirrors are asked first (row SRC-07).
    ///
    /// # Errors
    /// [`RegistryError::SchemaOne`] for the oldest format (row SRC-02),
    /// [`RegistryError::WrongDigest`] if it is not what the reference pins, and of what mirrors
    /// and the registry answered the error that tells most: not reaching one says less than an
    /// answer. Of equals the registry's own counts.
    pub async fn resolve(
        &self,
        reference: &ImageReference,
        session: &Arc<dyn Session>,
        cancel: &CancelToken,
    ) -> Result<ResolvedManifest, RegistryError> {
        let asked = self.ask_in_turn(reference, session, |access| async move {
            self.get_manifest(&access).await
        });
        client::cancellable(cancel, asked).await
    }

    /// Returns the descriptor of what `reference` names without reading it, which registries do
    /// not count as a pull; `None` if they do not say.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub async fn resolve_descriptor(
        &self,
        reference: &ImageReference,
        session: &Arc<dyn Session>,
        cancel: &CancelToken,
    ) -> Result<Option<Descriptor>, RegistryError> {
        let asked = self.ask_in_turn(reference, session, |access| async move {
            self.head_manifest(&access).await
        });
        client::cancellable(cancel, asked).await
    }

    async fn manifest_request(
        &self,
        access: &Access,
        method: Method,
    ) -> Result<Response, RegistryError> {
        let path = format!("manifests/{}", access.reference.object());
        let url = self.transport().url(access, &path).await?;
        let request = Request::new(method, url).header(ACCEPT, accepted());
        let response = self.transport().send(access, &request).await?;
        client::check_status(access, response, &[StatusCode::OK]).await
    }

    async fn head_manifest(&self, access: &Access) -> Result<Option<Descriptor>, RegistryError> {
        let response = self.manifest_request(access, Method::HEAD).await?;
        let media_type = content_type(response.headers());
        check_schema(access, &media_type)?;
        if ManifestKind::of(&media_type).is_none() {
            return Ok(None);
        }
        let size = response.headers().get(reqwest::header::CONTENT_LENGTH);
        let size = size.and_then(|size| size.to_str().ok()?.parse().ok());
        let described = stated_digest(response.headers()).zip(size);
        let Some((digest, size)) = described else {
            return Ok(None);
        };
        check_digest(access, access.reference.digest, digest)?;
        Ok(Some(Descriptor::new(media_type, digest, size)))
    }

    async fn get_manifest(&self, access: &Access) -> Result<ResolvedManifest, RegistryError> {
        let response = self.manifest_request(access, Method::GET).await?;
        let stated_type = content_type(response.headers());
        check_schema(access, &stated_type)?;
        let stated = stated_digest(response.headers());
        let bytes = read_manifest(access, response).await?;
        let digest = Digest::of(&bytes);
        check_digest(access, access.reference.digest.or(stated), digest)?;
        let media_type = media_type_of(access, stated_type, &bytes)?;
        Ok(ResolvedManifest {
            descriptor: Descriptor::new(media_type, digest, bytes.len() as u64),
            bytes,
        })
    }
}

async fn read_manifest(access: &Access, response: Response) -> Result<Vec<u8>, RegistryError> {
    let body = bounded::read(response, MAX_MANIFEST_BYTES, access.endpoint.patience).await;
    body.map_err(|error| match error {
        BoundedError::TooLarge => RegistryError::TooLarge {
            reference: access.subject(),
            host: access.host(),
            what: "the manifest",
            limit: MAX_MANIFEST_BYTES,
        },
        BoundedError::Lost(lost) => transport::interrupted(access, access.host(), lost.reason()),
    })
}

/// Returns the types of documents that are understood, for the `Accept` header.
pub(crate) const fn accepted() -> HeaderValue {
    HeaderValue::from_static(ACCEPTED)
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let value = value.and_then(|value| value.split(';').next());
    value.unwrap_or_default().trim().to_ascii_lowercase()
}

pub(crate) fn stated_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

fn check_schema(access: &Access, media_type: &str) -> Result<(), RegistryError> {
    if SCHEMA_ONE.contains(&media_type) {
        return Err(RegistryError::SchemaOne {
            reference: access.subject(),
        });
    }
    Ok(())
}

pub(crate) fn check_digest(
    access: &Access,
    wanted: Option<Digest>,
    found: Digest,
) -> Result<(), RegistryError> {
    match wanted {
        Some(wanted) if wanted != found => Err(RegistryError::WrongDigest {
            reference: access.subject(),
            host: access.host(),
            wanted,
            found,
        }),
        _ => Ok(()),
    }
}

/// The parts of a document that tell what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    config: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

/// The document's own word counts most, then the header, then what it looks like.
fn media_type_of(access: &Access, stated: String, bytes: &[u8]) -> Result<String, RegistryError> {
    let shape: Shape = serde_json::from_slice(bytes).map_err(|error| RegistryError::Malformed {
        reference: access.subject(),
        host: access.host(),
        what: "manifest",
        reason: error.to_string(),
    })?;
    if shape.schema_version == 1 {
        check_schema(access, SCHEMA_ONE[0])?;
    }
    let guess = match (&shape.manifests, &shape.config) {
        (Some(_), None) => media_type::OCI_INDEX,
        (None, Some(_)) => media_type::OCI_MANIFEST,
        _ => "",
    };
    let known = [shape.media_type.as_str(), &stated, guess]
        .into_iter()
        .find(|media_type| ManifestKind::of(media_type).is_some());
    match known {
        Some(known) => Ok(known.to_owned()),
        None => Err(RegistryError::UnsupportedMediaType {
            reference: access.subject(),
            media_type: if shape.media_type.is_empty() {
                stated
            } else {
                shape.media_type
            },
        }),
    }
}
