//! Where a cache is written.

use std::sync::Arc;

use lamina_content::Descriptor;
use lamina_registry::ImageReference;
use lamina_registry::RegistryClient;
use lamina_registry::RegistryError;
use lamina_session::BlobStore;

use crate::ExportContext;
use crate::ExportError;
use crate::blobs::cancellable;
use crate::blobs::send_blob;
use crate::blobs::send_bytes;

/// An open target.
pub(super) enum Target {
    /// A store of the client.
    Client(Arc<dyn BlobStore>),
    /// A repository, and the reference of the manifest in it.
    Registry(RegistryClient, ImageReference),
}

impl Target {
    /// Writes a blob of the content store, unless it is there.
    ///
    /// # Errors
    /// If the target does not take it.
    pub(super) async fn write_blob(
        &self,
        blob: &Descriptor,
        context: &ExportContext,
    ) -> Result<(), ExportError> {
        match self {
            Self::Client(store) => send_blob(blob, &**store, context).await,
            Self::Registry(registry, to) => {
                let (session, progress) = (&context.session, &context.progress);
                let (content, cancel) = (&context.content, &context.cancel);
                let pushed = registry.push_blob(to, blob, content, session, progress, cancel);
                pushed.await.map_err(|source| failed(to, source))
            }
        }
    }

    /// Writes the config.
    ///
    /// # Errors
    /// As [`Self::write_blob`].
    pub(super) async fn write_config(
        &self,
        bytes: Vec<u8>,
        descriptor: &Descriptor,
        context: &ExportContext,
    ) -> Result<(), ExportError> {
        match self {
            Self::Client(store) => send_bytes(bytes, &**store, context).await,
            Self::Registry(..) => {
                // Uploads may be repeated, so they start from the store.
                context.put(bytes).await?;
                self.write_blob(descriptor, context).await
            }
        }
    }

    /// Writes the manifest: now the cache can be found.
    ///
    /// # Errors
    /// As [`Self::write_blob`].
    pub(super) async fn write_manifest(
        &self,
        bytes: Vec<u8>,
        media_type: &str,
        context: &ExportContext,
    ) -> Result<(), ExportError> {
        match self {
            Self::Client(store) => send_bytes(bytes, &**store, context).await,
            Self::Registry(registry, to) => {
                let (session, cancel) = (&context.session, &context.cancel);
                let pushed = registry.push_manifest(to, media_type, bytes, session, cancel);
                let pushed = cancellable(context, async {
                    pushed.await.map_err(|source| failed(to, source))
                });
                pushed.await.map(drop)
            }
        }
    }
}

fn failed(to: &ImageReference, source: RegistryError) -> ExportError {
    ExportError::Push {
        name: to.to_string(),
        source: Box::new(source),
    }
}
