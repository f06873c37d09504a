//! An image, found and described.

use lamina_content::Descriptor;
use lamina_content::ImageConfig;
use lamina_types::ChainId;
use lamina_types::DiffId;
use lamina_types::Digest;
use serde::Deserialize;
use serde::Serialize;

/// Where the blobs of an image are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinnedOrigin {
    /// In a registry, under this reference.
    Registry(String),
    /// In an OCI layout of a client.
    Layout {
        /// What the client calls it.
        store: String,
        /// The session of the client, if it is not the build's own.
        session: Option<String>,
    },
    /// In the content store already.
    Store,
}

/// What [`crate::Source::snapshot`] needs of an image.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PinnedImage {
    /// Name in messages.
    pub reference: String,
    /// Where the blobs are.
    pub origin: PinnedOrigin,
    /// What the reference names: an index or a manifest.
    pub root: Descriptor,
    /// The manifest for the platform.
    pub manifest: Descriptor,
    /// The config as the manifest lists it.
    pub config_descriptor: Descriptor,
    /// The config.
    pub config: ImageConfig,
    /// The layers that are used, bottom first.
    pub layers: Vec<PinnedLayer>,
}

/// One layer of an image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PinnedLayer {
    /// The blob.
    pub blob: Descriptor,
    /// What it unpacks to.
    pub diff_id: DiffId,
    /// The same together with the layers below.
    pub chain: ChainId,
}

impl PinnedImage {
    /// Returns the documents of the image: with the layers' blobs, what the content store must
    /// keep for the image to be complete.
    #[must_use]
    pub fn documents(&self) -> [Digest; 3] {
        [
            self.root.digest,
            self.manifest.digest,
            self.config_descriptor.digest,
        ]
    }

    /// Equal layers make equal images, whatever their names (row SRC-02). An image without layers
    /// is known by its manifest.
    pub(crate) fn cache_key(&self) -> Digest {
        match self.layers.last() {
            Some(top) => top.chain.0,
            None => Digest::of(format!("image without layers {}", self.manifest.digest).as_bytes()),
        }
    }
}

/// What a frontend wants to know of an image (row GW-02).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolvedConfig {
    /// The reference, normalised.
    pub reference: String,
    /// Digest of what the reference names.
    pub digest: Digest,
    /// The config as the image has it.
    pub config: Vec<u8>,
}
