//! Writing caches (rows CEX-01 to CEX-06).

use std::collections::BTreeMap;
use std::collections::HashMap;

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use lamina_content::ContentError;
use lamina_content::Descriptor;
use lamina_content::Index;
use lamina_content::Manifest;
use lamina_content::media_type;
use lamina_content::to_go_json;
use lamina_registry::ImageReference;
use lamina_session::StoreId;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerBlob;
use lamina_snapshotter::LayerStack;
use lamina_types::CacheGraph;
use lamina_types::Digest;
use lamina_types::LayerId;
use serde::Serialize;

use super::MANIFEST_KEY;
use super::UNCOMPRESSED;
use super::config::CONFIG_TYPE;
use super::config::CacheConfig;
use super::config::CacheLayer;
use super::config::LayerRef;
use super::config::NO_PARENT;
use super::config::records_of;
use super::target::Target;
use crate::ExportContext;
use crate::ExportError;
use crate::attrs::Attrs;
use crate::attrs::parse_bool;
use crate::image::parse_name;
use crate::image::registry_for;
use crate::image::take_packing;
use crate::pack::Packing;
use crate::pack::pack;
use crate::steps::Step;

/// Blobs on their way at a time.
const PARALLEL_BLOBS: usize = 4;
/// Says when a layer was made.
const CREATED_AT: &str = "buildkit/createdat";

/// Writes the cache of a build. Made from attributes once, before anything runs.
#[derive(Debug)]
pub struct CacheExporter {
    place: Place,
    all: bool,
    ignore_error: bool,
    format: Format,
}

#[derive(Debug)]
enum Place {
    Inline,
    Local(String),
    Registry {
        reference: Box<ImageReference>,
        insecure: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Format {
    oci_types: bool,
    /// A manifest of an image, which every registry takes; else an index of blobs.
    image_manifest: bool,
    packing: Packing,
}

impl CacheExporter {
    /// Reads type and attributes; `dest` and `ref` say where to.
    ///
    /// # Errors
    /// [`ExportError::UnknownCacheExporter`]; an attribute that is missing or has a wrong value.
    pub fn parse(kind: &str, attrs: &BTreeMap<String, String>) -> Result<Self, ExportError> {
        let mut attrs = Attrs::new(attrs);
        let place = match kind {
            "inline" => Place::Inline,
            "local" => Place::Local(local_dest(&mut attrs)?),
            "registry" => Place::Registry {
                reference: Box::new(registry_ref(&mut attrs)?),
                insecure: attrs.take_switch("registry.insecure")?,
            },
            _ => {
                return Err(ExportError::UnknownCacheExporter {
                    kind: kind.to_owned(),
                });
            }
        };
        Ok(Self {
            place,
            all: attrs.take("mode").as_deref() == Some("max"),
            // What is no truth value is ignored, as BuildKit does.
            ignore_error: attrs
                .take("ignore-error")
                .and_then(|text| parse_bool(&text))
                == Some(true),
            format: Format::take(&mut attrs)?,
        })
    }

    /// Says what it does, for progress: "exporting cache to registry".
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.place {
            Place::Inline => "exporting inline cache",
            Place::Local(_) => "exporting cache to client directory",
            Place::Registry { .. } => "exporting cache to registry",
        }
    }

    /// Says whether it wants the results of all steps rather than those of the last (row CEX-01).
    #[must_use]
    pub fn wants_all(&self) -> bool {
        self.all
    }

    /// Says whether the cache goes into the config of exported images, and so is not written here.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        matches!(self.place, Place::Inline)
    }

    /// Says whether the build succeeds although this fails (row CEX-02).
    #[must_use]
    pub fn ignores_error(&self) -> bool {
        self.ignore_error
    }

    /// Writes `graph` and returns the response keys. A graph without results is not written.
    ///
    /// # Errors
    /// If a layer cannot be packed, or the target does not take something. What it has then, it
    /// keeps, and no manifest names it.
    pub async fn export(
        &self,
        graph: CacheGraph<LayerStack>,
        context: &ExportContext,
    ) -> Result<BTreeMap<String, String>, ExportError> {
        let Some(target) = self.target(context).await? else {
            return Ok(BTreeMap::new());
        };
        let packed = Packer::new(self.format, context).pack(graph).await?;
        if packed.config.layers.is_empty() {
            let _step = Step::start(&context.progress, "skipping cache export for empty result");
            return Ok(BTreeMap::new());
        }
        write_layers(&packed.blobs, &target, context).await?;
        let config = to_json("cache config", &packed.config)?;
        let descriptor = Descriptor::of(CONFIG_TYPE, &config);
        {
            let name = format!("writing config {}", descriptor.digest);
            let _step = Step::start(&context.progress, name);
            target.write_config(config, &descriptor, context).await?;
        }
        self.format
            .write(packed.blobs, descriptor, &target, context)
            .await
    }

    async fn target(&self, context: &ExportContext) -> Result<Option<Target>, ExportError> {
        Ok(match &self.place {
            Place::Inline => None,
            Place::Local(dest) => {
                let store = context.session.blobs(&StoreId::Cache(dest.clone())).await?;
                Some(Target::Client(store))
            }
            Place::Registry {
                reference,
                insecure,
            } => {
                let registry = registry_for(*insecure, reference, context);
                let registry = registry.map_err(|source| ExportError::Push {
                    name: reference.to_string(),
                    source,
                })?;
                Some(Target::Registry(registry, (**reference).clone()))
            }
        })
    }
}

fn local_dest(attrs: &mut Attrs) -> Result<String, ExportError> {
    let dest = attrs.take("dest").filter(|dest| !dest.is_empty());
    let missing = || ExportError::BadAttribute("local cache exporter requires dest".to_owned());
    dest.ok_or_else(missing)
}

fn registry_ref(attrs: &mut Attrs) -> Result<ImageReference, ExportError> {
    let name = attrs.take("ref").filter(|name| !name.is_empty());
    let missing = || ExportError::BadAttribute("missing ref".to_owned());
    parse_name(&name.ok_or_else(missing)?)
}

impl Format {
    fn take(attrs: &mut Attrs) -> Result<Self, ExportError> {
        let packing = take_packing(attrs)?;
        let oci_types = attrs.take_bool("oci-mediatypes", None)?.unwrap_or(true);
        let image_manifest = attrs.take_bool("image-manifest", None)?;
        let image_manifest = image_manifest.unwrap_or(oci_types);
        if image_manifest && !oci_types {
            let reason = "invalid configuration for remote cache, OCI mediatypes are required for \
                          image-manifest cache format";
            return Err(ExportError::Conflict(reason.to_owned()));
        }
        Ok(Self {
            oci_types,
            image_manifest,
            packing,
        })
    }

    /// Writes the manifest of everything that is there by now.
    async fn write(
        self,
        blobs: Vec<Descriptor>,
        config: Descriptor,
        target: &Target,
        context: &ExportContext,
    ) -> Result<BTreeMap<String, String>, ExportError> {
        let (kind, bytes) = self.manifest(blobs, config)?;
        let descriptor = Descriptor::of(kind, &bytes);
        let what = if self.image_manifest { "image " } else { "" };
        let name = format!("writing cache {what}manifest {}", descriptor.digest);
        let _step = Step::start(&context.progress, name);
        target.write_manifest(bytes, kind, context).await?;
        let json = to_json("descriptor", &descriptor)?;
        let json = String::from_utf8_lossy(&json).into_owned();
        Ok(BTreeMap::from([(MANIFEST_KEY.to_owned(), json)]))
    }

    /// Describes the blob of a layer.
    fn descriptor(self, layer: &Layer, blob: &LayerBlob) -> Descriptor {
        let kind = match self.oci_types {
            true => media_type::layer_to_oci(&blob.media_type),
            false => media_type::layer_to_docker(&blob.media_type),
        };
        let mut descriptor = Descriptor::new(kind, blob.digest, blob.size);
        let created = Timestamp::try_from(layer.created()).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut annotate = |key: &str, value: String| {
            descriptor.annotations.insert(key.to_owned(), value);
        };
        annotate(UNCOMPRESSED, blob.diff_id.to_string());
        annotate(CREATED_AT, created.to_string());
        descriptor
    }

    fn manifest(
        self,
        blobs: Vec<Descriptor>,
        config: Descriptor,
    ) -> Result<(&'static str, Vec<u8>), ExportError> {
        if self.image_manifest {
            let kind = media_type::OCI_MANIFEST;
            let manifest = Manifest::new(kind, config, blobs);
            return Ok((kind, to_json("cache manifest", &manifest)?));
        }
        let kind = match self.oci_types {
            true => media_type::OCI_INDEX,
            false => media_type::DOCKER_INDEX,
        };
        let listed = blobs.into_iter().chain([config]).collect();
        Ok((kind, to_json("cache manifest", &Index::new(kind, listed))?))
    }
}

fn to_json(what: &str, value: &impl Serialize) -> Result<Vec<u8>, ExportError> {
    let json = to_go_json(value).map_err(|source| ContentError::Json {
        what: what.to_owned(),
        source,
    })?;
    Ok(json)
}

async fn write_layers(
    blobs: &[Descriptor],
    target: &Target,
    context: &ExportContext,
) -> Result<(), ExportError> {
    // Owned: futures over borrowed items are not seen to move between threads.
    stream::iter(blobs.to_vec())
        .map(|blob| async move {
            let name = format!("writing layer {}", blob.digest);
            let _step = Step::start(&context.progress, name);
            target.write_blob(&blob, context).await
        })
        .buffer_unordered(PARALLEL_BLOBS)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// A cache ready to be written.
struct Packed {
    config: CacheConfig,
    /// The blobs of the layers, each once.
    blobs: Vec<Descriptor>,
}

/// Turns results into blobs.
struct Packer<'a> {
    format: Format,
    context: &'a ExportContext,
    packed: HashMap<LayerId, Digest>,
    /// Places of layers by blob and parent.
    places: HashMap<(Digest, i64), usize>,
    layers: Vec<CacheLayer>,
    blobs: BTreeMap<Digest, Descriptor>,
}

impl<'a> Packer<'a> {
    fn new(format: Format, context: &'a ExportContext) -> Self {
        Self {
            format,
            context,
            packed: HashMap::new(),
            places: HashMap::new(),
            layers: Vec::new(),
            blobs: BTreeMap::new(),
        }
    }

    async fn pack(mut self, graph: CacheGraph<LayerStack>) -> Result<Packed, ExportError> {
        let step = Step::start(&self.context.progress, "preparing build cache for export");
        let results = graph.records.iter().flat_map(|record| &record.results);
        let layers = results.flat_map(|result| result.value.layers());
        let layers = layers.map(|layer| (layer.id(), layer.clone()));
        let layers: BTreeMap<LayerId, Layer> = layers.collect();
        let blobs = pack(layers.values().cloned(), self.format.packing, self.context).await?;
        for (layer, blob) in layers.values().zip(&blobs) {
            let descriptor = self.format.descriptor(layer, blob);
            self.blobs.insert(blob.digest, descriptor);
            self.packed.insert(layer.id(), blob.digest);
        }
        let graph = graph.map(|stack| self.place(&stack));
        drop(step);
        Ok(Packed {
            config: CacheConfig {
                layers: self.layers,
                records: records_of(graph),
            },
            blobs: self.blobs.into_values().collect(),
        })
    }

    /// Returns the place of a stack's topmost layer; `None` for an empty one.
    fn place(&mut self, stack: &LayerStack) -> Option<LayerRef> {
        let mut parent = NO_PARENT;
        for layer in stack.layers() {
            let blob = *self.packed.get(&layer.id())?;
            let next = self.layers.len();
            let place = *self.places.entry((blob, parent)).or_insert(next);
            if place == next {
                self.layers.push(CacheLayer { blob, parent });
            }
            parent = i64::try_from(place).ok()?;
        }
        usize::try_from(parent).ok().map(LayerRef::Top)
    }
}
