//! Pushing an image (rows EIM-02 to EIM-04 and EIM-19).

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;
use lamina_content::Descriptor;
use lamina_content::MAX_METADATA_BYTES;
use lamina_content::media_type;
use lamina_registry::ImageReference;
use lamina_registry::RegistryClient;
use lamina_registry::RegistryError;
use lamina_types::CancelToken;

use super::commit::Committed;
use crate::ExportContext;
use crate::steps::Step;

/// Uploads at a time; the registry client has its own limit for each host.
const PARALLEL_BLOBS: usize = 4;

/// Pushes blobs side by side, then manifests, then the index.
///
/// # Errors
/// Whatever the registry answered first; what it has then stays there.
pub(crate) async fn push(
    image: &Committed,
    to: &ImageReference,
    registry: &RegistryClient,
    context: &ExportContext,
) -> Result<(), Box<RegistryError>> {
    {
        let _step = Step::start(&context.progress, "pushing layers");
        push_blobs(image, to, registry, context).await?;
    }
    let _step = Step::start(&context.progress, format!("pushing manifest for {to}"));
    if media_type::is_index(&image.descriptor.media_type) {
        for manifest in &image.manifests {
            let by_digest = untagged(to);
            push_manifest(&manifest.descriptor, &by_digest, registry, context).await?;
        }
    }
    push_manifest(&image.descriptor, to, registry, context).await
}

/// Returns the repository alone: what is pushed there goes by its digest.
pub(crate) fn untagged(reference: &ImageReference) -> ImageReference {
    ImageReference {
        tag: None,
        digest: None,
        ..reference.clone()
    }
}

async fn push_blobs(
    image: &Committed,
    to: &ImageReference,
    registry: &RegistryClient,
    context: &ExportContext,
) -> Result<(), Box<RegistryError>> {
    // Foreign layers are fetched from where their urls say.
    let blobs = image
        .blobs()
        .into_iter()
        .filter(|blob| blob.urls.is_empty());
    stream::iter(blobs)
        .map(|blob| async move {
            let (session, progress) = (&context.session, &context.progress);
            let cancel = &context.cancel;
            registry
                .push_blob(to, &blob, &context.content, session, progress, cancel)
                .await
        })
        .buffer_unordered(PARALLEL_BLOBS)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

async fn push_manifest(
    manifest: &Descriptor,
    to: &ImageReference,
    registry: &RegistryClient,
    context: &ExportContext,
) -> Result<(), Box<RegistryError>> {
    let (content, digest) = (context.content.clone(), manifest.digest);
    let read = move |_: &CancelToken| content.read(&digest, MAX_METADATA_BYTES);
    let bytes = context.blocking.run(&context.cancel, read).await;
    let bytes = bytes.map_err(RegistryError::from)?;
    let kind = &manifest.media_type;
    registry
        .push_manifest(to, kind, bytes, &context.session, &context.cancel)
        .await?;
    Ok(())
}
