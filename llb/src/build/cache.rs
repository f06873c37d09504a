//! Caches of a build: keys that come from elsewhere, and keys and layers that go there.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use lamina_exporters::CacheExporter;
use lamina_exporters::CacheImporter;
use lamina_exporters::ExportContext;
use lamina_exporters::ExportError;
use lamina_exporters::INLINE_CACHE_KEY;
use lamina_exporters::ImportedCache;
use lamina_exporters::inline_records;
use lamina_snapshotter::LayerStack;
use lamina_solver::CacheMode;
use lamina_solver::Edge;
use lamina_solver::GraphCache;
use lamina_solver::Import;
use lamina_solver::OpError;
use lamina_solver::ResultStore;
use lamina_types::CacheGraph;
use lamina_types::Digest;
use lamina_types::Progress;

use super::Build;
use crate::BuildError;
use crate::BuildResult;
use crate::CacheOption;
use crate::Reference;
use crate::Snapshot;
use crate::ops::BuildContext;

impl Build {
    /// Checks what can be checked before anything runs (row CSOL-11).
    ///
    /// # Errors
    /// Unknown types, missing or wrong attributes, exact duplicates.
    pub fn check_cache_exports(caches: &[CacheOption]) -> Result<(), BuildError> {
        exporters(caches).map(drop)
    }

    /// Reads one cache and has what is solved from now on looked up there too.
    pub(super) async fn import(&self, cache: &CacheOption, context: &ExportContext) {
        for import in self.read(cache, context).await {
            self.0.job.import(import);
        }
    }

    /// Reads one cache; what stands in the way is shown with the step.
    async fn read(&self, cache: &CacheOption, context: &ExportContext) -> Vec<Import<Snapshot>> {
        let name = format!("importing cache manifest from {}", import_name(cache));
        let step = self.step(Digest::of(name.as_bytes()), &name);
        let context = ExportContext {
            progress: step.progress().clone(),
            ..context.clone()
        };
        let read = read(cache, &context).await;
        step.finish(read.as_ref().err().map(ToString::to_string));
        read.unwrap_or_default()
    }

    /// Writes caches of what the build has made, each as a step of its own, and returns the response
    /// keys (rows CEX-01 to CEX-06). `inline` ones are skipped: see [`Self::inline_cache`].
    ///
    /// # Errors
    /// The first that failed, unless it has `ignore-error`.
    pub async fn export_caches(
        &self,
        result: &BuildResult,
        caches: &[CacheOption],
        context: &ExportContext,
    ) -> Result<BTreeMap<String, String>, BuildError> {
        let exporters = exporters(caches)?;
        let written = exporters
            .iter()
            .enumerate()
            .filter(|(_, exporter)| !exporter.is_inline())
            .map(|(index, exporter)| self.write(index, exporter, result, context));
        let responses = try_join_all(written).await?;
        Ok(responses.into_iter().flatten().collect())
    }

    async fn write(
        &self,
        index: usize,
        exporter: &CacheExporter,
        result: &BuildResult,
        context: &ExportContext,
    ) -> Result<BTreeMap<String, String>, BuildError> {
        let name = exporter.name();
        let digest = Digest::of(format!("cache export {index}: {name}").as_bytes());
        let step = self.step(digest, name);
        let context = ExportContext {
            progress: step.progress().clone(),
            ..context.clone()
        };
        let references = result.refs.iter().filter_map(|(_, reference)| reference);
        let mode = match exporter.wants_all() {
            true => CacheMode::Max,
            false => CacheMode::Min,
        };
        let graph = self.graph(&references.collect::<Vec<_>>(), mode).await;
        let exported = exporter.export(graph, &context).await;
        step.finish(exported.as_ref().err().map(ToString::to_string));
        match exported {
            Err(ExportError::Cancelled(_)) => Err(BuildError::cancelled()),
            Err(_) if exporter.ignores_error() => Ok(BTreeMap::new()),
            exported => exported.map_err(|error| BuildError::new(error.to_string())),
        }
    }

    /// Returns metadata that makes image exporters write the cache into the image's config; empty
    /// unless `caches` has one of type `inline` (row CEX-04). To be added to the metadata of the
    /// `ExportInput` before exporting.
    ///
    /// Every step whose result is a part of the image takes part: that costs no blob.
    ///
    /// # Errors
    /// If a step of the result failed.
    pub async fn inline_cache(
        &self,
        result: &BuildResult,
        caches: &[CacheOption],
    ) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
        let mut metadata = BTreeMap::new();
        if !exporters(caches)?.iter().any(CacheExporter::is_inline) {
            return Ok(metadata);
        }
        for (key, reference) in result.refs.iter() {
            let Some(reference) = reference else { continue };
            let image = self.evaluate(reference).await?;
            let graph = self.graph(&[reference], CacheMode::Max).await;
            let records = inline_records(graph, image.stack());
            let records = records.map_err(|error| BuildError::new(error.to_string()))?;
            let name = match key {
                "" => INLINE_CACHE_KEY.to_owned(),
                platform => format!("{INLINE_CACHE_KEY}/{platform}"),
            };
            metadata.extend(records.map(|records| (name, records)));
        }
        Ok(metadata)
    }

    /// Returns what is known of the references' steps.
    async fn graph(&self, references: &[&Reference], mode: CacheMode) -> CacheGraph<LayerStack> {
        let edges: Vec<Edge<Snapshot, BuildContext>> = references
            .iter()
            .filter_map(|reference| reference.edge())
            .collect();
        let overrides = overrides(references);
        let graph = self.0.job.cache_graph(&edges, mode, &overrides).await;
        graph.map(|snapshot| Some(snapshot.stack().clone()))
    }
}

/// Makes the exporters; repeated `inline` ones are one.
fn exporters(caches: &[CacheOption]) -> Result<Vec<CacheExporter>, BuildError> {
    let mut seen = BTreeSet::new();
    let mut duplicates = BTreeSet::new();
    let mut exporters = Vec::new();
    for cache in caches {
        if seen.insert(cache) {
            exporters.push(exporter(cache)?);
        } else if cache.kind != "inline" {
            duplicates.insert(cache.kind.as_str());
        }
    }
    if !duplicates.is_empty() {
        let kinds: Vec<&str> = duplicates.into_iter().collect();
        let kinds = kinds.join(" ");
        return Err(BuildError::new(format!(
            "duplicate cache exports [{kinds}]"
        )));
    }
    Ok(exporters)
}

/// Clients know the words.
fn exporter(cache: &CacheOption) -> Result<CacheExporter, BuildError> {
    CacheExporter::parse(&cache.kind, &cache.attrs).map_err(|error| {
        BuildError::new(match error {
            ExportError::UnknownCacheExporter { .. } => error.to_string(),
            error => format!("failed to configure {} cache exporter: {error}", cache.kind),
        })
    })
}

async fn read(
    cache: &CacheOption,
    context: &ExportContext,
) -> Result<Vec<Import<Snapshot>>, BuildError> {
    let importer = CacheImporter::parse(&cache.kind, &cache.attrs).map_err(|error| {
        BuildError::new(match error {
            ExportError::UnknownCacheImporter { .. } => error.to_string(),
            error => format!("failed to configure {} cache importer: {error}", cache.kind),
        })
    })?;
    let caches = importer.read(context).await;
    let caches = caches.map_err(|error| BuildError::new(error.to_string()))?;
    caches
        .into_iter()
        .map(|cache| import(cache, context))
        .collect()
}

fn import(
    mut cache: ImportedCache,
    context: &ExportContext,
) -> Result<Import<Snapshot>, BuildError> {
    let keys = GraphCache::new(cache.take_keys());
    let keys = keys.map_err(|error| BuildError::new(error.to_string()))?;
    Ok(Import {
        cache: Arc::new(keys),
        results: Arc::new(ImportedResults {
            cache,
            // The step that read the keys is over when layers come.
            context: ExportContext {
                progress: Progress::default(),
                ..context.clone()
            },
        }),
    })
}

/// Names a cache for watchers.
fn import_name(cache: &CacheOption) -> String {
    match (cache.kind.as_str(), cache.attrs.get("ref")) {
        ("registry", Some(reference)) => reference.clone(),
        (kind, _) => {
            let digest = Digest::of(format!("{cache:?}").as_bytes());
            format!("{kind}:{:.16}", digest.hex())
        }
    }
}

/// What definitions say of caching a step's result, whatever the mode.
fn overrides(references: &[&Reference]) -> HashMap<Digest, bool> {
    let definitions = references.iter().map(|reference| reference.definition());
    let metadata = definitions.flat_map(|definition| &definition.metadata);
    let said = metadata.filter_map(|(digest, metadata)| {
        let said = metadata.export_cache.as_ref()?;
        Some((digest.parse().ok()?, said.value))
    });
    said.collect()
}

/// Results of a cache from elsewhere.
struct ImportedResults {
    cache: ImportedCache,
    context: ExportContext,
}

#[async_trait]
impl ResultStore<Snapshot> for ImportedResults {
    async fn save(&self, _: &Snapshot) -> Result<Vec<u8>, OpError> {
        Err(Arc::new(BuildError::new(
            "an imported cache is not written to",
        )))
    }

    async fn load(&self, record: &[u8]) -> Option<Snapshot> {
        match self.cache.load(record, &self.context).await {
            Ok(stack) => Some(stack.into()),
            Err(error) => {
                tracing::warn!(%error, "a result of an imported cache is not used");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(kind: &str, attrs: &[(&str, &str)]) -> CacheOption {
        let attrs = attrs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        CacheOption {
            kind: kind.to_owned(),
            attrs: attrs.collect(),
        }
    }

    #[test]
    fn exports_are_checked_in_the_words_that_clients_know() {
        let local = option("local", &[("dest", "x")]);
        let registry = option("registry", &[("ref", "example.com/x")]);
        let inline = option("inline", &[]);
        for (caches, message) in [
            (
                vec![option("nope", &[])],
                "unknown cache exporter: \"nope\"",
            ),
            (
                vec![option("local", &[])],
                "failed to configure local cache exporter: local cache exporter requires dest",
            ),
            (
                vec![
                    local.clone(),
                    registry.clone(),
                    local.clone(),
                    registry.clone(),
                ],
                "duplicate cache exports [local registry]",
            ),
        ] {
            let error = Build::check_cache_exports(&caches).expect_err(message);
            assert_eq!(error.message, message);
        }
        let fine = [local, registry, inline.clone(), inline];
        assert_eq!(exporters(&fine).expect("is allowed").len(), 3);
    }

    #[test]
    fn imports_are_named_for_watchers() {
        let registry = option("registry", &[("ref", "example.com/x")]);
        assert_eq!(import_name(&registry), "example.com/x");
        assert!(import_name(&option("local", &[("src", "x")])).starts_with("local:"));
    }
}
