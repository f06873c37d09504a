//! From an index or a manifest to a pinned image.

use lamina_content::Descriptor;
use lamina_content::ImageConfig;
use lamina_content::Index;
use lamina_content::Manifest;
use lamina_content::media_type;
use lamina_registry::RegistryError;
use lamina_registry::select_platform;
use lamina_types::ChainId;
use lamina_types::DiffId;
use lamina_types::Platform;

use super::PinnedImage;
use super::PinnedOrigin;
use super::ResolvedConfig;
use super::document::Document;
use super::pinned::PinnedLayer;
use super::store::ImageStore;
use super::store::Origin;
use crate::Pinned;
use crate::PinnedKind;
use crate::SourceContext;
use crate::SourceError;

/// Indexes may list indexes; nobody nests them deeper on purpose.
const MAX_INDEX_DEPTH: usize = 4;

/// An image whose root document is at hand.
pub(crate) struct Found {
    /// Name in messages.
    pub(crate) reference: String,
    pub(crate) origin: Origin,
    pub(crate) root: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

/// Which part of an image is wanted.
pub(crate) struct Wanted {
    pub(crate) platform: Platform,
    /// Only so many layers, from the bottom (row SRC-05).
    pub(crate) layer_limit: Option<usize>,
}

impl ImageStore {
    /// Reads manifest and config.
    pub(crate) async fn pin(
        &self,
        found: Found,
        wanted: &Wanted,
        context: &SourceContext,
    ) -> Result<PinnedImage, SourceError> {
        let (descriptor, manifest) = self.manifest(&found, &wanted.platform, context).await?;
        check_layer_types(&found.reference, &descriptor, &manifest)?;
        let config = self
            .document(&found.origin, &manifest.config, context)
            .await?;
        let config: ImageConfig =
            serde_json::from_slice(&config).map_err(|error| SourceError::MalformedImage {
                reference: found.reference.clone(),
                what: "config",
                digest: manifest.config.digest,
                reason: error.to_string(),
            })?;
        let layers = pair_layers(&found.reference, &manifest, &config, wanted.layer_limit)?;
        Ok(PinnedImage {
            reference: found.reference,
            origin: found.origin.pinned(),
            root: found.root,
            manifest: descriptor,
            config_descriptor: manifest.config,
            config,
            layers,
        })
    }

    /// Follows indexes to the manifest for the platform.
    async fn manifest(
        &self,
        found: &Found,
        platform: &Platform,
        context: &SourceContext,
    ) -> Result<(Descriptor, Manifest), SourceError> {
        let mut descriptor = found.root.clone();
        let mut bytes = found.bytes.clone();
        for _ in 0..=MAX_INDEX_DEPTH {
            let document = Document::parse(&found.reference, descriptor.digest, &bytes)?;
            let index = match document {
                Document::Manifest(manifest) => return Ok((descriptor, *manifest)),
                Document::Index(index) => index,
            };
            descriptor = choose(&found.reference, &index, platform)?;
            bytes = self.document(&found.origin, &descriptor, context).await?;
        }
        Err(SourceError::MalformedImage {
            reference: found.reference.clone(),
            what: "index",
            digest: found.root.digest,
            reason: "indexes are nested too deeply".to_owned(),
        })
    }

    /// Returns the config as the image has it.
    pub(crate) fn config_of(&self, image: &PinnedImage) -> Result<ResolvedConfig, SourceError> {
        let config = &image.config_descriptor;
        Ok(ResolvedConfig {
            reference: image.reference.clone(),
            digest: image.root.digest,
            config: self.content.read(&config.digest, config.size)?,
        })
    }
}

impl Origin {
    fn pinned(&self) -> PinnedOrigin {
        match self {
            Self::Registry(reference) => PinnedOrigin::Registry(reference.to_string()),
            Self::Layout { name, session, .. } => PinnedOrigin::Layout {
                store: name.clone(),
                session: session.clone(),
            },
            Self::Store => PinnedOrigin::Store,
        }
    }
}

/// Wraps an image as what sources return.
pub(crate) fn pinned(identifier: String, image: PinnedImage) -> Pinned {
    Pinned {
        identifier,
        cache_key: image.cache_key(),
        key_is_content: true,
        pin: Some(image.root.digest),
        kind: PinnedKind::Image(Box::new(image)),
    }
}

fn choose(reference: &str, index: &Index, platform: &Platform) -> Result<Descriptor, SourceError> {
    let chosen = select_platform(&index.manifests, platform).cloned();
    chosen.ok_or_else(|| {
        let known = index.manifests.iter().filter_map(|m| m.platform.as_ref());
        let known: Vec<String> = known.map(ToString::to_string).collect();
        let error = RegistryError::NoPlatform {
            reference: reference.to_owned(),
            platform: Box::new(platform.clone()),
            available: known.join(", "),
        };
        error.into()
    })
}

/// Other artifacts are kept in registries too, and have no tree.
fn check_layer_types(
    reference: &str,
    descriptor: &Descriptor,
    manifest: &Manifest,
) -> Result<(), SourceError> {
    let mut types = manifest.layers.iter().map(|layer| &layer.media_type);
    match types.find(|media_type| !media_type::is_layer(media_type)) {
        None => Ok(()),
        Some(media_type) => Err(SourceError::MalformedImage {
            reference: reference.to_owned(),
            what: "manifest",
            digest: descriptor.digest,
            reason: format!("{media_type:?} is not the type of a layer"),
        }),
    }
}

fn pair_layers(
    reference: &str,
    manifest: &Manifest,
    config: &ImageConfig,
    limit: Option<usize>,
) -> Result<Vec<PinnedLayer>, SourceError> {
    let malformed = |reason| SourceError::MalformedImage {
        reference: reference.to_owned(),
        what: "config",
        digest: manifest.config.digest,
        reason,
    };
    let diff_ids = &config.rootfs.diff_ids;
    let (blobs, ids) = (manifest.layers.len(), diff_ids.len());
    if blobs != ids {
        return Err(malformed(format!(
            "it has {ids} diff ids for {blobs} layers"
        )));
    }
    if let Some(limit) = limit.filter(|limit| *limit > blobs) {
        return Err(malformed(format!(
            "layer limit {limit} is greater than the number of layers in the image {blobs}"
        )));
    }
    let chains = chains(diff_ids);
    let pairs = manifest.layers.iter().zip(diff_ids).zip(chains);
    let layers = pairs.map(|((blob, diff_id), chain)| PinnedLayer {
        blob: blob.clone(),
        diff_id: *diff_id,
        chain,
    });
    Ok(layers.take(limit.unwrap_or(blobs)).collect())
}

/// Returns the chain id at each layer, in one pass.
fn chains(diff_ids: &[DiffId]) -> Vec<ChainId> {
    let mut chains: Vec<ChainId> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chains.last() {
            // A chain id is the chain id of two: all that is below, and the layer.
            Some(below) => ChainId::of(&[DiffId(below.0), *diff_id]),
            None => ChainId::of(&[*diff_id]),
        };
        chains.extend(next);
    }
    chains
}

#[cfg(test)]
mod tests {
    use lamina_types::Digest;

    use super::*;

    #[test]
    fn chains_agree_with_their_definition() {
        let diff_ids: Vec<DiffId> = (0..5u8).map(|i| DiffId(Digest::of(&[i]))).collect();
        let wanted: Vec<ChainId> = (1..=5)
            .filter_map(|end| ChainId::of(&diff_ids[..end]))
            .collect();
        assert_eq!(chains(&diff_ids), wanted);
    }
}
