//! Layers as blobs, for images and for caches (rows CMP-03 to CMP-05).

use futures_util::future::try_join_all;
use lamina_content::Compression;
use lamina_content::convert_layer;
use lamina_content::pack_layer;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerBlob;

use crate::ExportContext;
use crate::ExportError;

/// How layers are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Packing {
    pub(crate) compression: Compression,
    /// Whether a blob that is there in another compression is converted.
    pub(crate) force: bool,
}

/// Returns the blobs of layers, in their order. They are packed side by side, as many as there is
/// room for on the pool; each is compressed on all cores.
///
/// # Errors
/// If a layer cannot be read, or a blob not be written.
pub(crate) async fn pack(
    layers: impl IntoIterator<Item = Layer>,
    packing: Packing,
    context: &ExportContext,
) -> Result<Vec<LayerBlob>, ExportError> {
    let pack = match packing.force {
        true => convert_layer,
        false => pack_layer,
    };
    let packed = layers.into_iter().map(|layer| {
        let store = context.content.clone();
        context.run(move |cancel| Ok(pack(&store, &layer, packing.compression, cancel)?))
    });
    try_join_all(packed).await
}
