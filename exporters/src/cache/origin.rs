//! Where a cache is read from.

use std::sync::Arc;

use lamina_content::Descriptor;
use lamina_content::MAX_METADATA_BYTES;
use lamina_registry::ImageReference;
use lamina_registry::RegistryClient;
use lamina_session::BlobStore;
use lamina_types::Digest;

use crate::ExportContext;
use crate::ExportError;
use crate::blobs::fetch_blob;
use crate::blobs::read_bytes;

/// An open origin.
#[derive(Clone)]
pub(super) enum Origin {
    /// A store of the client.
    Client(Arc<dyn BlobStore>),
    /// A repository.
    Registry(RegistryClient, ImageReference),
}

impl Origin {
    /// Reads a document of the cache.
    ///
    /// # Errors
    /// If it cannot be had, is too large or is another.
    pub(super) async fn document(
        &self,
        blob: &Descriptor,
        context: &ExportContext,
    ) -> Result<Vec<u8>, ExportError> {
        match self {
            Self::Client(store) => {
                read_bytes(&blob.digest, MAX_METADATA_BYTES, &**store, context).await
            }
            Self::Registry(..) if blob.size > MAX_METADATA_BYTES => {
                Err(ExportError::BadCache(format!(
                    "blob {} is too large ({} > {MAX_METADATA_BYTES})",
                    blob.digest, blob.size
                )))
            }
            Self::Registry(..) => {
                self.fetch(blob, context).await?;
                context.read(blob.digest, MAX_METADATA_BYTES).await
            }
        }
    }

    /// Makes sure that the content store has a blob of the cache.
    ///
    /// # Errors
    /// If it cannot be had or is another.
    pub(super) async fn fetch(
        &self,
        blob: &Descriptor,
        context: &ExportContext,
    ) -> Result<(), ExportError> {
        match self {
            Self::Client(store) => fetch_blob(blob, &**store, context).await,
            Self::Registry(registry, from) => {
                let (session, progress) = (&context.session, &context.progress);
                let (content, cancel) = (&context.content, &context.cancel);
                let fetched = registry.fetch_blob(from, blob, content, session, progress, cancel);
                fetched.await.map_err(|source| ExportError::Pull {
                    name: from.to_string(),
                    source: Box::new(source),
                })
            }
        }
    }

    /// Returns the manifest of a cache in a repository, by the reference.
    ///
    /// # Errors
    /// Whatever the registry answered.
    pub(super) async fn resolve(
        registry: &RegistryClient,
        from: &ImageReference,
        context: &ExportContext,
    ) -> Result<Vec<u8>, ExportError> {
        let resolved = registry.resolve(from, &context.session, &context.cancel);
        let resolved = resolved.await.map_err(|source| ExportError::Pull {
            name: from.to_string(),
            source: Box::new(source),
        })?;
        Ok(resolved.bytes)
    }
}

/// Describes a blob of which only the digest is known.
pub(super) fn by_digest(digest: Digest) -> Descriptor {
    Descriptor::new("", digest, 0)
}
