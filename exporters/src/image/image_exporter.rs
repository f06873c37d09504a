//! `type=image`: kept in the content store by name, and pushed (rows EIM-01 to EIM-21).

use std::collections::BTreeMap;

use async_trait::async_trait;
use lamina_registry::HostConfig;
use lamina_registry::ImageReference;
use lamina_registry::RegistryClient;
use lamina_registry::RegistryConfig;
use lamina_registry::RegistryError;

use super::commit::Committed;
use super::commit::commit;
use super::names::parse_name;
use super::names::parse_names;
use super::options::CommitOptions;
use super::push::push;
use super::push::untagged;
use super::response::response;
use crate::ExportContext;
use crate::ExportError;
use crate::ExportInput;
use crate::Exporter;
use crate::attrs::Attrs;
use crate::steps::Step;

/// Commits an image, names it, and pushes it if asked.
pub(crate) struct ImageExporter {
    options: CommitOptions,
    push: bool,
    push_by_digest: bool,
    insecure: bool,
    store: bool,
    name_canonical: bool,
    dangling_prefix: String,
    dangling_empty_only: bool,
    /// Attributes that nobody knows: metadata of the result (row EIM-17).
    metadata: BTreeMap<String, Vec<u8>>,
}

impl ImageExporter {
    /// Reads the attributes.
    pub(crate) fn parse(attrs: &BTreeMap<String, String>) -> Result<Self, ExportError> {
        let mut attrs = Attrs::new(attrs);
        attrs.refuse_switch("unpack")?;
        Ok(Self {
            options: CommitOptions::take(&mut attrs)?,
            push: attrs.take_switch("push")?,
            push_by_digest: attrs.take_switch("push-by-digest")?,
            insecure: attrs.take_switch("registry.insecure")?,
            store: attrs.take_bool("store", Some(true))?.unwrap_or(true),
            name_canonical: attrs.take_switch("name-canonical")?,
            dangling_prefix: attrs.take("dangling-name-prefix").unwrap_or_default(),
            // The key is misspelt upstream, so it is here (row EIM-11).
            dangling_empty_only: attrs.take_switch("danging-name-empty-only")?,
            metadata: metadata_of(attrs),
        })
    }

    /// Returns the names to give, as the response shows them, and whether names with a digest are
    /// wanted too.
    fn names(&self, wanted: &str, image: &Committed) -> (String, bool) {
        let dangling =
            !self.dangling_prefix.is_empty() && (!self.dangling_empty_only || wanted.is_empty());
        if !dangling {
            return (wanted.to_owned(), self.name_canonical);
        }
        let dangling = format!("{}@{}", self.dangling_prefix, image.descriptor.digest);
        if wanted.is_empty() {
            return (dangling, false);
        }
        (format!("{wanted},{dangling}"), self.name_canonical)
    }

    fn store(
        &self,
        names: &str,
        canonical: bool,
        image: &Committed,
        context: &ExportContext,
    ) -> Result<(), ExportError> {
        for name in names.split(',').filter(|name| !name.is_empty()) {
            let _step = Step::start(&context.progress, format!("naming to {name}"));
            let full = stored_name(name)?;
            if canonical && !name.contains('@') {
                let with_digest = format!("{full}@{}", image.descriptor.digest);
                context
                    .content
                    .tag(&with_digest, image.descriptor.clone())?;
            }
            context.content.tag(&full, image.descriptor.clone())?;
        }
        Ok(())
    }

    async fn push(
        &self,
        names: &str,
        image: &Committed,
        context: &ExportContext,
    ) -> Result<(), ExportError> {
        for name in names.split(',').filter(|name| !name.is_empty()) {
            let parsed = parse_name(name)?;
            let to = if self.push_by_digest {
                untagged(&parsed)
            } else {
                parsed
            };
            let failed = |source: Box<RegistryError>| ExportError::Push {
                name: name.to_owned(),
                source,
            };
            let registry = registry_for(self.insecure, &to, context).map_err(failed)?;
            push(image, &to, &registry, context).await.map_err(failed)?;
        }
        Ok(())
    }
}

/// Returns the client for a registry; `insecure` = also without TLS.
pub(crate) fn registry_for(
    insecure: bool,
    to: &ImageReference,
    context: &ExportContext,
) -> Result<RegistryClient, Box<RegistryError>> {
    if !insecure {
        return Ok(context.registry.clone());
    }
    let settings = HostConfig {
        insecure: true,
        ..HostConfig::default()
    };
    let hosts = BTreeMap::from([(to.host.clone(), settings)]);
    Ok(RegistryClient::new(RegistryConfig {
        hosts,
        ..RegistryConfig::default()
    })?)
}

/// Names with a digest (`prefix@sha256:..`) are stored as they are.
fn stored_name(name: &str) -> Result<String, ExportError> {
    if name.contains('@') {
        return Ok(name.to_owned());
    }
    Ok(parse_name(name)?.to_string())
}

/// What nobody took of the attributes, as metadata.
pub(crate) fn metadata_of(attrs: Attrs) -> BTreeMap<String, Vec<u8>> {
    let rest = attrs.into_rest().into_iter();
    rest.map(|(key, value)| (key, value.into_bytes())).collect()
}

/// Returns the result with attributes as further metadata.
pub(crate) fn with_metadata(
    input: &ExportInput,
    metadata: &BTreeMap<String, Vec<u8>>,
) -> ExportInput {
    let mut input = input.clone();
    let added = metadata
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()));
    input.metadata.extend(added);
    input
}

#[async_trait]
impl Exporter for ImageExporter {
    fn name(&self) -> &'static str {
        "exporting to image"
    }

    async fn export(
        &self,
        input: &ExportInput,
        context: &ExportContext,
    ) -> Result<BTreeMap<String, String>, ExportError> {
        let input = with_metadata(input, &self.metadata);
        let options = self.options.for_result(&input)?;
        // A name that cannot be used is found out before work is done.
        if options.name != "*" {
            parse_names(options.names())?;
        }
        let image = commit(&input, &options, context).await?;
        let (names, canonical) = self.names(&options.name, &image);
        if self.store {
            self.store(&names, canonical, &image, context)?;
        }
        if self.push {
            self.push(&names, &image, context).await?;
        }
        response(&image.descriptor, image.config_digest(), &names)
    }
}
