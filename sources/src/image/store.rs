//! Getting blobs of images into the content store.

use std::sync::Arc;

use lamina_content::ContentStore;
use lamina_content::Descriptor;
use lamina_content::Ingest;
use lamina_registry::ImageReference;
use lamina_registry::MAX_MANIFEST_BYTES;
use lamina_registry::RegistryClient;
use lamina_session::BlobStore;
use lamina_snapshotter::SnapshotStore;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::PathError;
use tokio::io::AsyncReadExt;

use crate::SourceConfig;
use crate::SourceContext;
use crate::SourceError;
use crate::clients::until_cancelled;
use crate::keyed::KeyedLocks;
use crate::report::Action;
use crate::stream::Copy;

/// How often in a row a stream may break before it has brought anything.
const ATTEMPTS: u32 = 3;

/// Where the blobs of an image can be had.
#[derive(Clone)]
pub(crate) enum Origin {
    Registry(ImageReference),
    Layout {
        name: String,
        /// The client that has it, if the build names one.
        session: Option<String>,
        blobs: Arc<dyn BlobStore>,
    },
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
    /// Held while a layer is unpacked: its diff id, or its chain id where that matters.
    pub(crate) unpacking: KeyedLocks<Digest>,
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
            Origin::Layout { name, blobs, .. } => {
                let fetch = self.fetch_from_client(name, blobs.as_ref(), blob, context);
                until_cancelled(&context.cancel, fetch).await
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

    /// Copies a blob from an OCI layout of the client, going on where a stream broke.
    async fn fetch_from_client(
        &self,
        name: &str,
        blobs: &dyn BlobStore,
        blob: &Descriptor,
        context: &SourceContext,
    ) -> Result<(), SourceError> {
        let digest = blob.digest;
        if blobs.size(&digest).await?.is_none() {
            return Err(SourceError::Layout {
                layout: name.to_owned(),
                reason: format!("{digest} is not there"),
            });
        }
        let what = digest.to_string();
        let action = Action::start(&context.progress, what.clone(), "downloading", blob.size);
        let copy = Copy {
            blocking: &self.blocking,
            cancel: &context.cancel,
            what: &what,
        };
        let ingest = self.content.ingest()?;
        let ingest = copy_blob(blobs, blob, ingest, &copy, &action).await?;
        let commit = move |_: &CancelToken| Ok::<_, SourceError>(ingest.commit(Some(&digest))?);
        self.blocking.run(&context.cancel, commit).await?;
        action.finish();
        Ok(())
    }
}

/// Reads a blob to its end, going on where a stream broke; only streams that bring nothing count.
async fn copy_blob(
    blobs: &dyn BlobStore,
    blob: &Descriptor,
    mut ingest: Ingest,
    copy: &Copy<'_>,
    action: &Action,
) -> Result<Ingest, SourceError> {
    let digest = blob.digest;
    let mut failures = 0;
    loop {
        let before = ingest.written();
        // One byte more than there should be, so that the digest cannot be right then.
        let rest = blob.size.saturating_sub(before) + 1;
        let mut reader = blobs.read(&digest, before).await?.take(rest);
        let (written, ended) = copy.run(&mut reader, ingest, |n| action.add(n)).await?;
        ingest = written;
        failures = if ingest.written() > before {
            1
        } else {
            failures + 1
        };
        match ended {
            Ok(()) => return Ok(ingest),
            Err(error) if failures >= ATTEMPTS => {
                return Err(PathError {
                    path: digest.to_string(),
                    source: error,
                }
                .into());
            }
            Err(error) => tracing::debug!(%error, %digest, "resuming"),
        }
    }
}
