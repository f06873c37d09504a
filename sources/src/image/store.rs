//! Getting blobs of images into the content store.

use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_content::ContentStore;
use lamina_content::Descriptor;
use lamina_registry::ImageReference;
use lamina_registry::MAX_MANIFEST_BYTES;
use lamina_registry::RegistryClient;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::ChainId;
use lamina_types::Digest;
use lamina_types::IoContext;

use super::layout;
use crate::SourceConfig;
use crate::SourceContext;
use crate::SourceError;
use crate::keyed::KeyedLocks;

/// Bytes copied between two looks at the cancel token.
const COPY_BYTES: usize = 1 << 20;

/// Where the blobs of an image can be had.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Registry(ImageReference),
    Layout { name: String, dir: PathBuf },
    Store,
}

/// What both kinds of image source share.
#[derive(Clone)]
pub(crate) struct ImageStore(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) layers: SnapshotStore,
    pub(crate) content: ContentStore,
    pub(crate) registry: RegistryClient,
    pub(crate) blocking: Blocking,
    /// Held while a layer is unpacked.
    pub(crate) unpacking: KeyedLocks<ChainId>,
    /// Held while a blob is fetched.
    fetching: KeyedLocks<Digest>,
}

impl std::ops::Deref for ImageStore {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl ImageStore {
    pub(crate) fn new(config: &SourceConfig) -> Self {
        Self(Arc::new(Inner {
            layers: config.layers.clone(),
            content: config.content.clone(),
            registry: config.registry.clone(),
            blocking: config.blocking.clone(),
            unpacking: KeyedLocks::default(),
            fetching: KeyedLocks::default(),
        }))
    }

    /// Makes sure that the content store has a blob.
    pub(crate) async fn ensure(
        &self,
        origin: &Origin,
        blob: &Descriptor,
        context: &SourceContext,
    ) -> Result<(), SourceError> {
        let _only = self.fetching.lock(blob.digest).await;
        if self.content.contains(&blob.digest) {
            return Ok(());
        }
        match origin {
            Origin::Registry(reference) => {
                let fetched = self.registry.fetch_blob(
                    reference,
                    blob,
                    &self.content,
                    &context.session,
                    &context.progress,
                    &context.cancel,
                );
                Ok(fetched.await?)
            }
            Origin::Layout { name, dir } => {
                let (store, dir) = (self.content.clone(), dir.clone());
                let (name, blob) = (name.clone(), blob.clone());
                let copy = move |cancel: &CancelToken| copy(&store, &name, &dir, &blob, cancel);
                self.blocking.run(&context.cancel, copy).await
            }
            // Opening says what is missing.
            Origin::Store => Ok(self.content.open_blob(&blob.digest).map(drop)?),
        }
    }

    /// Returns a document of the image, which must not be larger than registries allow.
    pub(crate) async fn document(
        &self,
        origin: &Origin,
        blob: &Descriptor,
        context: &SourceContext,
    ) -> Result<Vec<u8>, SourceError> {
        if blob.size > MAX_MANIFEST_BYTES {
            return Err(lamina_content::ContentError::TooLarge {
                digest: blob.digest,
                size: blob.size,
                limit: MAX_MANIFEST_BYTES,
            }
            .into());
        }
        self.ensure(origin, blob, context).await?;
        Ok(self.content.read(&blob.digest, MAX_MANIFEST_BYTES)?)
    }
}

fn copy(
    store: &ContentStore,
    name: &str,
    dir: &Path,
    blob: &Descriptor,
    cancel: &CancelToken,
) -> Result<(), SourceError> {
    let mut file = layout::open_blob(name, dir, &blob.digest)?;
    let mut ingest = store.ingest()?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        cancel.check()?;
        match file.read(&mut buffer).at(blob.digest)? {
            0 => break,
            count => ingest.append(&buffer[..count])?,
        }
    }
    ingest.commit(Some(&blob.digest))?;
    Ok(())
}
