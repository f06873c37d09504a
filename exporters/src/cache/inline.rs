//! Caches in the config of an image (row CEX-04).
//!
//! ```text
//! "moby.buildkit.cache.v0": base64 of the records; their layers are places in the image itself
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamina_content::ContentError;
use lamina_content::Descriptor;
use lamina_content::ImageConfig;
use lamina_content::to_go_json;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_types::CacheGraph;
use lamina_types::DiffId;
use serde_json::Value;

use super::UNCOMPRESSED;
use super::config::CacheLayer;
use super::config::CacheRecord;
use super::config::LayerRef;
use super::config::NO_PARENT;
use super::config::records_of;
use super::layers::CacheLayers;
use crate::ExportError;

/// Metadata of a result that goes into the config of its image; with `/<platform id>` for one of
/// several.
pub const INLINE_CACHE_KEY: &str = "containerimage.inlinecache";
/// The field of the config.
pub(crate) const CONFIG_FIELD: &str = "moby.buildkit.cache.v0";

/// Returns the records of `graph` for the image that `image` becomes; `None` if nothing in it is a
/// result of the build. Results that the image does not hold are left out.
///
/// # Errors
/// If the records have no JSON form.
pub fn inline_records(
    graph: CacheGraph<LayerStack>,
    image: &LayerStack,
) -> Result<Option<Vec<u8>>, ExportError> {
    let graph = graph.map(|stack| place_in(&stack, image));
    if graph.records.iter().all(|record| record.results.is_empty()) {
        return Ok(None);
    }
    let json = to_go_json(&records_of(graph)).map_err(|source| ContentError::Json {
        what: "inline cache".to_owned(),
        source,
    })?;
    Ok(Some(json))
}

fn place_in(stack: &LayerStack, image: &LayerStack) -> Option<LayerRef> {
    let (layers, all) = (stack.layers(), image.layers());
    let top = layers.len().checked_sub(1)?;
    let same = |(a, b): (&Layer, &Layer)| a.id() == b.id();
    if layers.len() <= all.len() && layers.iter().zip(all).all(same) {
        return Some(LayerRef::Top(top));
    }
    let place = |layer: &Layer| all.iter().position(|other| other.id() == layer.id());
    let places: Option<Vec<usize>> = layers.iter().map(place).collect();
    places.map(LayerRef::Chain)
}

/// Returns the value of the config's field.
pub(crate) fn field_of(records: &[u8]) -> Value {
    Value::String(STANDARD.encode(records))
}

/// Returns the records in a config; `None` if it has none.
///
/// # Errors
/// If they are no records.
pub(super) fn records_in(config: &ImageConfig) -> Result<Option<Vec<CacheRecord>>, ExportError> {
    let Some(Value::String(text)) = config.other.get(CONFIG_FIELD) else {
        return Ok(None);
    };
    let bad = |reason: String| ExportError::BadCache(format!("inline cache: {reason}"));
    let json = STANDARD
        .decode(text)
        .map_err(|error| bad(error.to_string()))?;
    let records = serde_json::from_slice(&json);
    records.map_err(|error| bad(error.to_string()))
}

/// Returns the layers of an image as those of a cache: each lies on the one before.
pub(super) fn layers_of(blobs: Vec<Descriptor>, diff_ids: &[DiffId]) -> CacheLayers {
    let layers = (NO_PARENT..).zip(&blobs).map(|(parent, blob)| CacheLayer {
        blob: blob.digest,
        parent,
    });
    let layers = layers.collect();
    let stated = blobs.into_iter().zip(diff_ids).map(|(mut blob, diff_id)| {
        let key = UNCOMPRESSED.to_owned();
        blob.annotations.insert(key, diff_id.to_string());
        blob
    });
    CacheLayers::new(layers, stated)
}
