//! Reading caches (rows CIM-01 to CIM-05).

use std::collections::BTreeMap;

use lamina_content::Descriptor;
use lamina_content::ImageConfig;
use lamina_content::Index;
use lamina_content::Manifest;
use lamina_content::media_type;
use lamina_registry::ImageReference;
use lamina_session::StoreId;
use lamina_snapshotter::LayerStack;
use lamina_types::CacheGraph;
use lamina_types::Digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::config::CONFIG_TYPE;
use super::config::CacheConfig;
use super::config::LayerRef;
use super::config::graph_of;
use super::inline;
use super::layers::CacheLayers;
use super::origin::Origin;
use super::origin::by_digest;
use crate::ExportContext;
use crate::ExportError;
use crate::attrs::Attrs;
use crate::image::parse_name;
use crate::image::registry_for;

/// Indexes in indexes; real ones have one level.
const MAX_DEPTH: usize = 4;
/// Manifests in an index with inline caches.
const MAX_MANIFESTS: usize = 1_000;

/// Reads a cache. Made from attributes.
#[derive(Debug)]
pub enum CacheImporter {
    /// From a store of the client.
    Local {
        /// The client's name of it.
        source: String,
        /// The manifest, which the client finds by its tag.
        digest: Digest,
    },
    /// From a registry: a cache, or images with inline caches.
    Registry {
        /// Where.
        reference: Box<ImageReference>,
        /// Whether the host may be spoken to without TLS.
        insecure: bool,
    },
}

impl CacheImporter {
    /// Reads type and attributes.
    ///
    /// # Errors
    /// [`ExportError::UnknownCacheImporter`]; an attribute that is missing or makes no sense.
    pub fn parse(kind: &str, attrs: &BTreeMap<String, String>) -> Result<Self, ExportError> {
        let mut attrs = Attrs::new(attrs);
        let bad = |reason: &str| ExportError::BadAttribute(reason.to_owned());
        let mut take = |key: &str| attrs.take(key).filter(|value| !value.is_empty());
        match kind {
            "local" => {
                let digest = take("digest");
                let missing = || bad("local cache importer requires explicit digest");
                let digest = digest.ok_or_else(missing)?;
                let digest = digest.parse();
                let digest = digest.map_err(|error| bad(&format!("{error}")))?;
                let source = take("src");
                let source = source.ok_or_else(|| bad("local cache importer requires src"))?;
                Ok(Self::Local { source, digest })
            }
            "registry" => {
                let name = take("ref").ok_or_else(|| bad("missing ref"))?;
                Ok(Self::Registry {
                    reference: Box::new(parse_name(&name)?),
                    insecure: attrs.take_switch("registry.insecure")?,
                })
            }
            _ => Err(ExportError::UnknownCacheImporter {
                kind: kind.to_owned(),
            }),
        }
    }

    /// Reads the keys; layers stay where they are. Images for several platforms give a cache each.
    ///
    /// # Errors
    /// If there is no such cache, or it makes no sense.
    pub async fn read(self, context: &ExportContext) -> Result<Vec<ImportedCache>, ExportError> {
        let (origin, manifest) = self.open(context).await?;
        let reader = Reader {
            origin: &origin,
            context,
        };
        let parts = reader.read(&manifest).await?;
        let mut caches = Vec::with_capacity(parts.len());
        for part in parts {
            caches.push(ImportedCache {
                graph: part.graph,
                layers: part.layers,
                origin: origin.clone(),
                loading: Mutex::default(),
            });
        }
        Ok(caches)
    }

    async fn open(self, context: &ExportContext) -> Result<(Origin, Vec<u8>), ExportError> {
        match self {
            Self::Local { source, digest } => {
                let store = context.session.blobs(&StoreId::Cache(source)).await?;
                let origin = Origin::Client(store);
                let manifest = origin.document(&by_digest(digest), context).await?;
                Ok((origin, manifest))
            }
            Self::Registry {
                reference,
                insecure,
            } => {
                let registry = registry_for(insecure, &reference, context);
                let registry = registry.map_err(|source| ExportError::Pull {
                    name: reference.to_string(),
                    source,
                })?;
                let manifest = Origin::resolve(&registry, &reference, context).await?;
                Ok((Origin::Registry(registry, *reference), manifest))
            }
        }
    }
}

/// A cache whose keys are here.
pub struct ImportedCache {
    graph: CacheGraph<LayerRef>,
    layers: CacheLayers,
    origin: Origin,
    /// Held while layers are unpacked: results share most of them.
    loading: Mutex<()>,
}

impl ImportedCache {
    /// Returns the keys, once; results are what [`Self::load`] takes.
    #[must_use]
    pub fn take_keys(&mut self) -> CacheGraph<Vec<u8>> {
        let graph = std::mem::take(&mut self.graph);
        graph.map(|result| serde_json::to_vec(&result).ok())
    }

    /// Fetches and unpacks the layers of a result that are not here.
    ///
    /// # Errors
    /// If a blob cannot be had, or is not what it should be.
    pub async fn load(
        &self,
        result: &[u8],
        context: &ExportContext,
    ) -> Result<LayerStack, ExportError> {
        let result: LayerRef = parse("result of a cache", result)?;
        let _only = self.loading.lock().await;
        self.layers.load(&result, &self.origin, context).await
    }
}

impl std::fmt::Debug for ImportedCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportedCache").finish_non_exhaustive()
    }
}

/// One cache of what was read.
struct Part {
    graph: CacheGraph<LayerRef>,
    layers: CacheLayers,
}

/// What tells the kinds of document apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde_json::Value>,
}

impl Shape {
    /// Older indexes do not say that they are.
    fn is_index(&self) -> bool {
        match &self.media_type {
            Some(kind) => media_type::is_index(kind),
            None => self.manifests.is_some(),
        }
    }
}

struct Reader<'a> {
    origin: &'a Origin,
    context: &'a ExportContext,
}

impl Reader<'_> {
    async fn read(&self, document: &[u8]) -> Result<Vec<Part>, ExportError> {
        let shape: Shape = parse("cache manifest", document)?;
        let (config, blobs) = if shape.is_index() {
            let index: Index = parse("cache manifest", document)?;
            let is_config = |blob: &Descriptor| blob.media_type == CONFIG_TYPE;
            let (configs, blobs) = index
                .manifests
                .into_iter()
                .partition::<Vec<_>, _>(is_config);
            (configs.into_iter().next_back(), blobs)
        } else {
            let manifest: Manifest = parse("cache manifest", document)?;
            let config = Some(manifest.config).filter(|blob| blob.media_type == CONFIG_TYPE);
            (config, manifest.layers)
        };
        let Some(config) = config else {
            return self.inline(document.to_vec()).await;
        };
        let config = self.origin.document(&config, self.context).await?;
        let config: CacheConfig = parse("cache config", &config)?;
        Ok(vec![Part {
            layers: CacheLayers::new(config.layers, blobs),
            graph: graph_of(config.records),
        }])
    }

    /// Reads the caches in the configs of all images below a document.
    async fn inline(&self, document: Vec<u8>) -> Result<Vec<Part>, ExportError> {
        let (mut parts, mut pending) = (Vec::new(), Vec::new());
        let (mut document, mut depth, mut listed) = (document, 0, 0);
        loop {
            let shape: Shape = parse("manifest", &document)?;
            if shape.is_index() {
                let index: Index = parse("index", &document)?;
                listed += index.manifests.len();
                if listed > MAX_MANIFESTS || depth == MAX_DEPTH {
                    let reason = "too many manifests in an index".to_owned();
                    return Err(ExportError::BadCache(reason));
                }
                let below = index.manifests.into_iter();
                pending.extend(below.map(|manifest| (manifest, depth + 1)));
            } else {
                parts.extend(self.image(&document).await?);
            }
            // One document at a time: an index may name as many as it likes.
            let Some((next, below)) = pending.pop() else {
                return Ok(parts);
            };
            document = self.origin.document(&next, self.context).await?;
            depth = below;
        }
    }

    /// Reads the cache in the config of an image; `None` if it has none.
    async fn image(&self, document: &[u8]) -> Result<Option<Part>, ExportError> {
        let manifest: Manifest = parse("manifest", document)?;
        if manifest.layers.is_empty() {
            return Ok(None);
        }
        let config = self.origin.document(&manifest.config, self.context).await?;
        let config: ImageConfig = parse("image config", &config)?;
        let Some(records) = inline::records_in(&config)? else {
            return Ok(None);
        };
        let diff_ids = config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            tracing::warn!("an image lists other layers in its manifest than in its config");
            return Ok(None);
        }
        let layers = inline::layers_of(manifest.layers, &diff_ids);
        Ok(Some(Part {
            graph: graph_of(records),
            layers,
        }))
    }
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ExportError> {
    let parsed = serde_json::from_slice(bytes);
    parsed.map_err(|error| ExportError::BadCache(format!("failed to parse {what}: {error}")))
}
