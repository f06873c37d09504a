//! From a pinned image to a stack of layers.

use lamina_content::unpack_layer;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerBlob;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;
use lamina_types::DiffId;
use tokio_util::task::AbortOnDropHandle;

use super::PinnedImage;
use super::pinned::PinnedLayer;
use super::store::ImageStore;
use super::store::Origin;
use crate::SourceContext;
use crate::SourceError;
use crate::report::Action;

type Download = AbortOnDropHandle<Result<(), SourceError>>;

impl ImageStore {
    /// Makes the layers that the store does not have.
    pub(crate) async fn unpack(
        &self,
        image: &PinnedImage,
        origin: &Origin,
        context: &SourceContext,
    ) -> Result<LayerStack, SourceError> {
        let known: Vec<Option<Layer>> = image
            .layers
            .iter()
            .map(|layer| self.layers.layer_by_diff_id(layer.diff_id, layer.chain))
            .collect();
        // All at once; the registry client bounds what really moves.
        let mut downloads: Vec<Option<Download>> = image
            .layers
            .iter()
            .zip(&known)
            .map(|(layer, known)| {
                known
                    .is_none()
                    .then(|| self.download(origin, layer, context))
            })
            .collect();
        let mut stack: Vec<Layer> = Vec::with_capacity(image.layers.len());
        for ((layer, known), download) in image.layers.iter().zip(known).zip(&mut downloads) {
            let lower = LayerStack::new(stack.iter().cloned());
            let unpacked = match (known, download.take()) {
                (Some(known), _) => known,
                (None, Some(download)) => {
                    joined(download).await?;
                    self.unpack_one(image, layer, lower, context).await?
                }
                (None, None) => self.unpack_one(image, layer, lower, context).await?,
            };
            stack.push(unpacked);
        }
        Ok(LayerStack::new(stack))
    }

    fn download(&self, origin: &Origin, layer: &PinnedLayer, context: &SourceContext) -> Download {
        let (store, origin) = (self.clone(), origin.clone());
        let (blob, context) = (layer.blob.clone(), context.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            store.ensure(&origin, &blob, &context).await
        }))
    }

    /// Unpacks one layer, unless another build has done so meanwhile.
    async fn unpack_one(
        &self,
        image: &PinnedImage,
        layer: &PinnedLayer,
        lower: LayerStack,
        context: &SourceContext,
    ) -> Result<Layer, SourceError> {
        let _only = self.unpacking.lock(layer.chain).await;
        if let Some(known) = self.layers.layer_by_diff_id(layer.diff_id, layer.chain) {
            return Ok(known);
        }
        let (unpacked, found) = self.extract(layer, lower, context).await?;
        if found != layer.diff_id {
            return Err(SourceError::WrongDiffId {
                reference: image.reference.clone(),
                layer: layer.blob.digest,
                wanted: layer.diff_id,
                found,
            });
        }
        // What whiteouts, hard links and missing parents come to depends on the layers below, so
        // the layer is known by its place in the chain.
        let attached = LayerBlob {
            diff_id: layer.diff_id,
            digest: layer.blob.digest,
            size: layer.blob.size,
            media_type: layer.blob.media_type.clone(),
        };
        unpacked.add_blob_at(attached, layer.chain)?;
        Ok(unpacked)
    }

    async fn extract(
        &self,
        layer: &PinnedLayer,
        lower: LayerStack,
        context: &SourceContext,
    ) -> Result<(Layer, DiffId), SourceError> {
        let (digest, size) = (layer.blob.digest, layer.blob.size);
        let id = format!("extracting {digest}");
        let action = Action::start(&context.progress, id.clone(), &id, size);
        let store = self.clone();
        let work = move |cancel: &CancelToken| -> Result<_, SourceError> {
            let mut file = store.content.open_blob(&digest)?;
            let count = |bytes| action.set(bytes);
            let unpacked = unpack_layer(&store.layers, &lower, &mut file, cancel, &count)?;
            action.finish();
            Ok(unpacked)
        };
        self.blocking.run(&context.cancel, work).await
    }
}

async fn joined(download: Download) -> Result<(), SourceError> {
    match download.await {
        Ok(result) => result,
        Err(error) => {
            let text = format!("download ended: {error}");
            Err(lamina_types::BlockingError::Panicked(text).into())
        }
    }
}
