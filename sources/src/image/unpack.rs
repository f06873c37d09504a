//! From a pinned image to a stack of layers.

use lamina_content::UnpackedLayer;
use lamina_content::unpack_free_layer;
use lamina_content::unpack_image_layer;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerBlob;
use lamina_snapshotter::LayerStack;
use lamina_types::BlockingError;
use lamina_types::CancelToken;
use tokio_util::task::AbortOnDropHandle;

use super::PinnedImage;
use super::pinned::PinnedLayer;
use super::store::ImageStore;
use super::store::Origin;
use crate::SourceContext;
use crate::SourceError;
use crate::report::Action;

/// A layer that is being brought here; `None` = it can only be made on top of those below.
type Early = AbortOnDropHandle<Result<Option<Layer>, SourceError>>;

impl ImageStore {
    /// Makes the layers that the store does not have: all at once where they say all they mean,
    /// else in order, each on top of those below it.
    pub(crate) async fn unpack(
        &self,
        image: &PinnedImage,
        origin: &Origin,
        context: &SourceContext,
    ) -> Result<LayerStack, SourceError> {
        // The registry client bounds what really moves, and the pool what is unpacked.
        let early: Vec<Early> = image
            .layers
            .iter()
            .map(|layer| self.start(image, origin, layer, context))
            .collect();
        let mut stack: Vec<Layer> = Vec::with_capacity(image.layers.len());
        for (layer, early) in image.layers.iter().zip(early) {
            let unpacked = match joined(early).await? {
                Some(unpacked) => unpacked,
                None => {
                    let lower = LayerStack::new(stack.iter().cloned());
                    self.unpack_above(image, layer, lower, context).await?
                }
            };
            stack.push(unpacked);
        }
        Ok(LayerStack::new(stack))
    }

    fn start(
        &self,
        image: &PinnedImage,
        origin: &Origin,
        layer: &PinnedLayer,
        context: &SourceContext,
    ) -> Early {
        let (store, origin) = (self.clone(), origin.clone());
        let (layer, context) = (layer.clone(), context.clone());
        let reference = image.reference.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            if let Some(known) = store.known(&layer) {
                return Ok(Some(known));
            }
            store.ensure(&origin, &layer.blob, &context).await?;
            store.unpack_anywhere(&reference, &layer, &context).await
        }))
    }

    fn known(&self, layer: &PinnedLayer) -> Option<Layer> {
        self.layers.layer_by_diff_id(layer.diff_id, layer.chain)
    }

    /// Unpacks one layer without those below, unless another build has done so meanwhile.
    async fn unpack_anywhere(
        &self,
        reference: &str,
        layer: &PinnedLayer,
        context: &SourceContext,
    ) -> Result<Option<Layer>, SourceError> {
        let _only = self.unpacking.lock(layer.diff_id.0).await;
        if let Some(known) = self.known(layer) {
            return Ok(Some(known));
        }
        let Some(unpacked) = self.extract(layer, None, context).await? else {
            return Ok(None);
        };
        check(reference, layer, &unpacked)?;
        unpacked.layer.add_blob(attached(layer))?;
        Ok(Some(unpacked.layer))
    }

    /// Unpacks one layer on top of `lower`, unless another build has done so meanwhile. What
    /// opaque marks and missing parents come to depends on the layers below, so the layer is known
    /// by its place in the chain.
    async fn unpack_above(
        &self,
        image: &PinnedImage,
        layer: &PinnedLayer,
        lower: LayerStack,
        context: &SourceContext,
    ) -> Result<Layer, SourceError> {
        let _only = self.unpacking.lock(layer.chain.0).await;
        if let Some(known) = self.known(layer) {
            return Ok(known);
        }
        let unpacked = self.extract(layer, Some(lower), context).await?;
        let Some(unpacked) = unpacked else {
            let text = format!("{} was not unpacked", layer.blob.digest);
            return Err(BlockingError::Panicked(text).into());
        };
        check(&image.reference, layer, &unpacked)?;
        unpacked.layer.add_blob_at(attached(layer), layer.chain)?;
        Ok(unpacked.layer)
    }

    /// Unpacks on top of `lower`, or else on top of anything if that is possible.
    async fn extract(
        &self,
        layer: &PinnedLayer,
        lower: Option<LayerStack>,
        context: &SourceContext,
    ) -> Result<Option<UnpackedLayer>, SourceError> {
        let (digest, size) = (layer.blob.digest, layer.blob.size);
        let id = format!("extracting {digest}");
        let action = Action::start(&context.progress, id.clone(), &id, size);
        let store = self.clone();
        let work = move |cancel: &CancelToken| -> Result<_, SourceError> {
            let mut file = store.content.open_blob(&digest)?;
            let count = |bytes| action.set(bytes);
            let unpacked = match &lower {
                None => unpack_free_layer(&store.layers, &mut file, cancel, &count)?,
                Some(lower) => {
                    let layers = &store.layers;
                    Some(unpack_image_layer(
                        layers, lower, &mut file, cancel, &count,
                    )?)
                }
            };
            if unpacked.is_some() {
                action.finish();
            }
            Ok(unpacked)
        };
        self.blocking.run(&context.cancel, work).await
    }
}

fn check(
    reference: &str,
    layer: &PinnedLayer,
    unpacked: &UnpackedLayer,
) -> Result<(), SourceError> {
    if unpacked.diff_id == layer.diff_id {
        return Ok(());
    }
    Err(SourceError::WrongDiffId {
        reference: reference.to_owned(),
        layer: layer.blob.digest,
        wanted: layer.diff_id,
        found: unpacked.diff_id,
    })
}

fn attached(layer: &PinnedLayer) -> LayerBlob {
    LayerBlob {
        diff_id: layer.diff_id,
        digest: layer.blob.digest,
        size: layer.blob.size,
        media_type: layer.blob.media_type.clone(),
    }
}

async fn joined(early: Early) -> Result<Option<Layer>, SourceError> {
    match early.await {
        Ok(result) => result,
        Err(error) => {
            let text = format!("bringing a layer here ended: {error}");
            Err(BlockingError::Panicked(text).into())
        }
    }
}
