//! The layers of a cache: fetched and unpacked when a record is used (row CIM-05).

use std::collections::HashMap;

use lamina_content::ContentError;
use lamina_content::ContentStore;
use lamina_content::Descriptor;
use lamina_content::unpack_layer;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerBlob;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_types::CancelToken;
use lamina_types::ChainId;
use lamina_types::DiffId;
use lamina_types::Digest;

use super::UNCOMPRESSED;
use super::config::CacheLayer;
use super::config::LayerRef;
use super::config::NO_PARENT;
use super::origin::Origin;
use crate::ExportContext;
use crate::ExportError;
use crate::steps::Step;

/// More layers than this cannot be mounted, so no result has them.
const MAX_CHAIN: usize = 4_096;

/// The layers that a cache lists, and what is known of their blobs.
#[derive(Debug, Default)]
pub(super) struct CacheLayers {
    layers: Vec<CacheLayer>,
    blobs: HashMap<Digest, Descriptor>,
}

impl CacheLayers {
    /// Joins layers with the descriptors of the manifest.
    pub(super) fn new(
        layers: Vec<CacheLayer>,
        blobs: impl IntoIterator<Item = Descriptor>,
    ) -> Self {
        let blobs = blobs.into_iter().map(|blob| (blob.digest, blob));
        Self {
            layers,
            blobs: blobs.collect(),
        }
    }

    /// Returns the blobs of a result, bottom first.
    ///
    /// # Errors
    /// If there is no such layer, or the manifest lacks a blob.
    fn chain(&self, result: &LayerRef) -> Result<Vec<&Descriptor>, ExportError> {
        let places = match result {
            LayerRef::Top(top) => self.places(*top)?,
            LayerRef::Chain(places) => places.clone(),
        };
        if places.len() > MAX_CHAIN {
            return Err(bad(format!("more than {MAX_CHAIN} layers")));
        }
        let blob = |place: &usize| {
            let blob = self.layer(*place)?.blob;
            let known = self.blobs.get(&blob);
            known.ok_or_else(|| bad(format!("missing blob {blob}")))
        };
        places.iter().map(blob).collect()
    }

    fn places(&self, top: usize) -> Result<Vec<usize>, ExportError> {
        let mut places = vec![top];
        let mut parent = self.layer(top)?.parent;
        while parent != NO_PARENT {
            let place = usize::try_from(parent);
            let place = place.map_err(|_| bad(format!("invalid layer index {parent}")))?;
            if places.len() >= MAX_CHAIN {
                return Err(bad("invalid looping layer"));
            }
            places.push(place);
            parent = self.layer(place)?.parent;
        }
        places.reverse();
        Ok(places)
    }

    fn layer(&self, place: usize) -> Result<&CacheLayer, ExportError> {
        let layer = self.layers.get(place);
        layer.ok_or_else(|| bad(format!("invalid layer index {place}")))
    }

    /// Returns the tree of a result; what is there already is not fetched.
    ///
    /// # Errors
    /// If a blob cannot be had, or is not what the manifest says.
    pub(super) async fn load(
        &self,
        result: &LayerRef,
        origin: &Origin,
        context: &ExportContext,
    ) -> Result<LayerStack, ExportError> {
        let mut stack = LayerStack::empty();
        let mut diff_ids = Vec::new();
        for blob in self.chain(result)? {
            let layer = load_layer(blob, &stack, &mut diff_ids, origin, context).await?;
            stack = stack.push(layer);
        }
        Ok(stack)
    }
}

/// Returns one layer; its diff id joins `diff_ids`, which has those below.
async fn load_layer(
    blob: &Descriptor,
    lower: &LayerStack,
    diff_ids: &mut Vec<DiffId>,
    origin: &Origin,
    context: &ExportContext,
) -> Result<Layer, ExportError> {
    let stated = blob.annotations.get(UNCOMPRESSED);
    let stated = stated.and_then(|text| text.parse().ok()).map(DiffId);
    if let Some(diff_id) = stated
        && let Some(known) = known(diff_id, diff_ids, context)
    {
        diff_ids.push(diff_id);
        return Ok(known);
    }
    origin.fetch(blob, context).await?;
    let _step = Step::start(&context.progress, format!("extracting {}", blob.digest));
    let unpacking = Unpacking {
        blob: blob.clone(),
        stated,
        lower: lower.clone(),
        below: diff_ids.clone(),
    };
    let (content, snapshots) = (context.content.clone(), context.snapshots.clone());
    let unpack = move |cancel: &CancelToken| unpacking.run(&content, &snapshots, cancel);
    let (layer, found) = context.run(unpack).await?;
    diff_ids.push(found);
    Ok(layer)
}

fn known(diff_id: DiffId, below: &[DiffId], context: &ExportContext) -> Option<Layer> {
    let all: Vec<DiffId> = below.iter().copied().chain([diff_id]).collect();
    context
        .snapshots
        .layer_by_diff_id(diff_id, ChainId::of(&all)?)
}

/// A blob that becomes a layer.
struct Unpacking {
    blob: Descriptor,
    /// What the cache says of it.
    stated: Option<DiffId>,
    lower: LayerStack,
    /// Those of the layers below.
    below: Vec<DiffId>,
}

impl Unpacking {
    /// Unpacks the blob and lets the layer remember it.
    fn run(
        self,
        content: &ContentStore,
        snapshots: &SnapshotStore,
        cancel: &CancelToken,
    ) -> Result<(Layer, DiffId), ExportError> {
        let mut file = content.open_blob(&self.blob.digest)?;
        let unpacked = unpack_layer(snapshots, &self.lower, &mut file, cancel, &|_| {});
        let (layer, found) = unpacked?;
        if let Some(wanted) = self.stated.filter(|stated| *stated != found) {
            let (wanted, found) = (wanted.0, found.0);
            return Err(ContentError::WrongDigest { wanted, found }.into());
        }
        let attached = LayerBlob {
            diff_id: found,
            digest: self.blob.digest,
            size: content.size(&self.blob.digest)?,
            media_type: self.blob.media_type,
        };
        let diff_ids: Vec<DiffId> = self.below.into_iter().chain([found]).collect();
        let chain = ChainId::of(&diff_ids).expect("the layer's own is in it");
        layer.add_blob_at(attached, chain)?;
        Ok((layer, found))
    }
}

fn bad(reason: impl Into<String>) -> ExportError {
    ExportError::BadCache(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(parents: &[i64]) -> CacheLayers {
        let blob = |place: usize| Digest::of(place.to_string().as_bytes());
        let layer = |(place, parent): (usize, &i64)| CacheLayer {
            blob: blob(place),
            parent: *parent,
        };
        let blobs = (0..parents.len()).map(|place| Descriptor::new("x", blob(place), 1));
        CacheLayers::new(parents.iter().enumerate().map(layer).collect(), blobs)
    }

    #[test]
    fn chains_are_found_bottom_first() {
        let layers = layers(&[-1, 0, 0, 2]);
        let digests = |result: &LayerRef| -> Vec<Digest> {
            let chain = layers.chain(result).expect("makes sense");
            chain.iter().map(|blob| blob.digest).collect()
        };
        let of = |places: &[usize]| -> Vec<Digest> {
            places
                .iter()
                .map(|place| layers.layers[*place].blob)
                .collect()
        };
        assert_eq!(digests(&LayerRef::Top(3)), of(&[0, 2, 3]));
        assert_eq!(digests(&LayerRef::Top(1)), of(&[0, 1]));
        assert_eq!(digests(&LayerRef::Chain(vec![3, 1])), of(&[3, 1]));
    }

    #[test]
    fn chains_that_make_no_sense_are_refused() {
        let blobless = CacheLayers::new(layers(&[-1]).layers, []);
        for (name, layers, result) in [
            ("no layer", layers(&[-1]), LayerRef::Top(1)),
            (
                "no layer in a chain",
                layers(&[-1]),
                LayerRef::Chain(vec![0, 1]),
            ),
            ("no parent", layers(&[5]), LayerRef::Top(0)),
            ("a negative parent", layers(&[-2]), LayerRef::Top(0)),
            ("its own parent", layers(&[0]), LayerRef::Top(0)),
            ("a loop", layers(&[1, 0]), LayerRef::Top(0)),
            ("no blob", blobless, LayerRef::Top(0)),
            (
                "endless",
                layers(&[-1]),
                LayerRef::Chain(vec![0; MAX_CHAIN + 1]),
            ),
        ] {
            assert!(layers.chain(&result).is_err(), "{name}");
        }
    }
}
