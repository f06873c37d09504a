//! From a result to an image in the content store.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use lamina_content::ContentError;
use lamina_content::Descriptor;
use lamina_content::Index;
use lamina_content::Manifest;
use lamina_content::media_type;
use lamina_content::to_go_json_indented;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerBlob;
use lamina_snapshotter::LayerStack;
use lamina_types::Digest;
use lamina_types::Platform;
use serde::Serialize;

use super::config::ConfigInput;
use super::config::LayerRecord;
use super::config::exported_config;
use super::options::CommitOptions;
use crate::ExportContext;
use crate::ExportError;
use crate::ExportInput;
use crate::cache::INLINE_CACHE_KEY;
use crate::pack::pack;
use crate::platforms::CONFIG_KEY;
use crate::platforms::PlatformRef;
use crate::platforms::platforms_of;
use crate::steps::Step;

/// Metadata that holds the config of the base image.
const BASE_CONFIG_KEY: &str = "containerimage.base.config";
/// Stands where nobody knows how a layer came to be.
const UNKNOWN_ORIGIN: &str = "created by lamina";

/// An image in the content store.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    /// The manifest, or the index.
    pub(crate) descriptor: Descriptor,
    /// The manifests with their platforms; one unless it is an index.
    pub(crate) manifests: Vec<CommittedManifest>,
    /// The latest time that it may show.
    pub(crate) epoch: Option<Timestamp>,
}

/// A manifest in the content store, and what it lists.
#[derive(Clone, Debug)]
pub(crate) struct CommittedManifest {
    pub(crate) descriptor: Descriptor,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

impl Committed {
    /// Returns the digest of the config, if there is exactly one image.
    pub(crate) fn config_digest(&self) -> Option<Digest> {
        let single = !media_type::is_index(&self.descriptor.media_type);
        let manifest = self.manifests.first().filter(|_| single)?;
        Some(manifest.config.digest)
    }

    /// Returns every blob once, without manifests and the index.
    pub(crate) fn blobs(&self) -> Vec<Descriptor> {
        let mut blobs = BTreeMap::new();
        for manifest in &self.manifests {
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                blobs.entry(blob.digest).or_insert_with(|| blob.clone());
            }
        }
        blobs.into_values().collect()
    }
}

/// Writes everything that the image consists of into the content store.
///
/// # Errors
/// If the result does not fit the options, or a layer cannot be read or written.
pub(crate) async fn commit(
    input: &ExportInput,
    options: &CommitOptions,
    context: &ExportContext,
) -> Result<Committed, ExportError> {
    let platforms = platforms_of(input)?;
    check(input, options, &platforms)?;
    let work = Commit {
        input,
        options,
        context,
    };
    let mut manifests = Vec::new();
    for platform in &platforms {
        manifests.push(work.manifest(platform).await?);
    }
    let descriptor = match (&manifests[..], input.is_map()) {
        ([single], false) => single.descriptor.clone(),
        _ => work.index(&manifests).await?,
    };
    Ok(Committed {
        descriptor,
        manifests,
        epoch: options.epoch.resolve(input, &platforms[0].id)?,
    })
}

fn check(
    input: &ExportInput,
    options: &CommitOptions,
    platforms: &[PlatformRef],
) -> Result<(), ExportError> {
    let conflict = |reason: &str| Err(ExportError::Conflict(reason.to_owned()));
    if !input.is_map() && platforms.len() > 1 {
        return conflict("cannot export multiple platforms without multi-platform enabled");
    }
    let annotations = &options.annotations;
    if !input.is_map()
        && (!annotations.index.is_empty() || !annotations.index_descriptor.is_empty())
    {
        return conflict("index annotations not supported for single platform export");
    }
    for named in annotations.platforms() {
        let known = platforms
            .iter()
            .any(|known| known.id == named || known.platform.to_string() == named);
        if !known {
            let reason = format!("invalid annotation: no platform {named} found in source");
            return Err(ExportError::BadResult(reason));
        }
    }
    Ok(())
}

struct Commit<'a> {
    input: &'a ExportInput,
    options: &'a CommitOptions,
    context: &'a ExportContext,
}

impl Commit<'_> {
    async fn manifest(&self, platform: &PlatformRef) -> Result<CommittedManifest, ExportError> {
        let id = &platform.id;
        let stack = self
            .input
            .stack(id)
            .ok_or_else(|| ExportError::BadResult(format!("failed to find ref for ID {id}")))?;
        let blobs = {
            let _step = Step::start(&self.context.progress, "exporting layers");
            let layers = stack.layers().iter().cloned();
            pack(layers, self.options.packing, self.context).await?
        };
        let records = records(stack, &blobs);
        let config = exported_config(&ConfigInput {
            config: self.input.metadata_for(CONFIG_KEY, id),
            base: self.input.metadata_for(BASE_CONFIG_KEY, id),
            layers: &records,
            epoch: self.options.epoch.resolve(self.input, id)?,
            inline_cache: self.input.metadata_for(INLINE_CACHE_KEY, id),
        })?;
        let layers = blobs
            .iter()
            .map(|blob| self.layer_descriptor(blob))
            .collect();
        self.write_manifest(config, layers, &platform.platform)
            .await
    }

    fn layer_descriptor(&self, blob: &LayerBlob) -> Descriptor {
        let spelled = if self.options.docker_types {
            media_type::layer_to_docker(&blob.media_type)
        } else {
            media_type::layer_to_oci(&blob.media_type)
        };
        Descriptor::new(spelled, blob.digest, blob.size)
    }

    async fn write_manifest(
        &self,
        config: Vec<u8>,
        layers: Vec<Descriptor>,
        platform: &Platform,
    ) -> Result<CommittedManifest, ExportError> {
        let (manifest_type, config_type) = match self.options.docker_types {
            true => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
            false => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
        };
        let config_descriptor = Descriptor::of(config_type, &config);
        {
            let name = format!("exporting config {}", config_descriptor.digest);
            let _step = Step::start(&self.context.progress, name);
            self.context.put(config).await?;
        }
        let mut manifest = Manifest::new(manifest_type, config_descriptor.clone(), layers.clone());
        manifest.annotations = self.options.annotations.manifest(Some(platform));
        let written = self.write_json("exporting manifest", manifest_type, &manifest);
        let mut descriptor = written.await?;
        descriptor.annotations = self.options.annotations.manifest_descriptor(Some(platform));
        descriptor.platform = Some(platform.clone());
        Ok(CommittedManifest {
            descriptor,
            config: config_descriptor,
            layers,
        })
    }

    async fn index(&self, manifests: &[CommittedManifest]) -> Result<Descriptor, ExportError> {
        let index_type = match self.options.docker_types {
            true => media_type::DOCKER_INDEX,
            false => media_type::OCI_INDEX,
        };
        let listed = manifests.iter().map(|manifest| manifest.descriptor.clone());
        let mut index = Index::new(index_type, listed.collect());
        index.annotations = self.options.annotations.index.clone();
        let written = self.write_json("exporting manifest list", index_type, &index);
        let mut descriptor = written.await?;
        descriptor.annotations = self.options.annotations.index_descriptor.clone();
        Ok(descriptor)
    }

    async fn write_json(
        &self,
        action: &str,
        media_type: &str,
        value: &(impl Serialize + Sync),
    ) -> Result<Descriptor, ExportError> {
        let bytes = to_go_json_indented(value).map_err(|source| ContentError::Json {
            what: action.to_owned(),
            source,
        })?;
        let descriptor = Descriptor::of(media_type, &bytes);
        let name = format!("{action} {}", descriptor.digest);
        let _step = Step::start(&self.context.progress, name);
        self.context.put(bytes).await?;
        Ok(descriptor)
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How the layers of a stack came to be.
fn records(stack: &LayerStack, blobs: &[LayerBlob]) -> Vec<LayerRecord> {
    let record = |(layer, blob): (&Layer, &LayerBlob)| LayerRecord {
        diff_id: blob.diff_id,
        description: Some(layer.description())
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| UNKNOWN_ORIGIN.to_owned()),
        created: timestamp(layer.created()),
    };
    stack.layers().iter().zip(blobs).map(record).collect()
}
