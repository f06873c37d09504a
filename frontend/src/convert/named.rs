//! Named contexts: `context:<name>=<kind>:<value>` (rows FDF-22 to FDF-24).

use lamina_content::ImageConfig;
use lamina_llb::ResolveImageOptions;
use lamina_proto::pb;
use lamina_types::Platform;

use crate::context::NamedContext;
use crate::context::input_config;
use crate::context::parse_config;
use crate::convert::Converter;
use crate::convert::stages::StageId;
use crate::error::FrontendError;
use crate::error::Result;
use crate::git::GitRef;
use crate::graph::LocalSource;
use crate::graph::Output;
use crate::graph::Vertex;
use crate::graph::git;
use crate::graph::http;
use crate::graph::image;
use crate::graph::is_url;
use crate::graph::local;
use crate::graph::oci_layout;
use crate::reference::ImageName;

/// What a named context gives: a tree, and a config if it is an image.
pub(super) type Loaded = (Option<Output>, Option<ImageConfig>);

impl Converter<'_> {
    /// Returns the context called `name`, if the client gives one.
    ///
    /// The option with the platform in its name wins.
    pub(super) fn named_context(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<Option<NamedContext>> {
        if ["scratch", "context"].contains(&name.to_lowercase().as_str()) {
            return Ok(None);
        }
        let platform = platform.unwrap_or(&self.platforms.target);
        let options = self.job.client.bridge().options();
        Ok(NamedContext::find(options, name, platform)?)
    }

    /// Loads a context for the stage `id`.
    pub(super) async fn load_context(
        &mut self,
        id: StageId,
        context: &NamedContext,
        platform: &Platform,
    ) -> Result<Loaded> {
        let name = &context.name;
        let (kind, value) = context.split()?;
        match kind {
            "docker-image" => {
                let reference = value.trim_start_matches("//");
                self.load_image_context(name, reference, platform).await
            }
            "oci-layout" => {
                let reference = value.trim_start_matches("//");
                self.load_layout(context, reference, platform).await
            }
            "local" => self.load_local(id, name, value).await,
            "input" => self.load_input(name, value),
            _ => Ok((Some(Output::of(self.graph.add(remote(context)?))), None)),
        }
    }

    async fn load_image_context(
        &mut self,
        name: &str,
        reference: &str,
        platform: &Platform,
    ) -> Result<Loaded> {
        if reference == super::stages::SCRATCH {
            return Ok((None, None));
        }
        let full = ImageName::parse(reference)?.or_latest().to_string();
        let options = ResolveImageOptions {
            platform: Some(platform.clone()),
            mode: self.job.options.resolve_mode.clone(),
            log_name: format!("[context {name}] load metadata for {reference}"),
            ..ResolveImageOptions::default()
        };
        let resolved = self
            .job
            .client
            .bridge()
            .resolve_image_config(&full, options)
            .await?;
        let config = parse_config(&resolved.config)?;
        let pinned = ImageName::parse(&resolved.reference)?;
        let pinned = pinned.with_digest(&resolved.digest.to_string()).to_string();
        let vertex = image(
            &pinned,
            Some(platform.clone()),
            &self.job.options.resolve_mode,
        );
        let vertex = vertex.named(format!("[context {name}] {reference}"));
        Ok((Some(Output::of(self.graph.add(vertex))), Some(config)))
    }

    async fn load_layout(
        &mut self,
        context: &NamedContext,
        reference: &str,
        platform: &Platform,
    ) -> Result<Loaded> {
        let layout = context.layout(reference)?;
        let shown = &layout.shown;
        let options = ResolveImageOptions {
            platform: Some(platform.clone()),
            mode: self.job.options.resolve_mode.clone(),
            log_name: format!("[context {}] load metadata for {shown}", context.name),
            oci_layout: true,
            ..ResolveImageOptions::default()
        };
        let bridge = self.job.client.bridge();
        let resolved = bridge
            .resolve_image_config(&layout.asked(), options)
            .await?;
        let config = parse_config(&resolved.config)?;
        let session = bridge.session_id().to_owned();
        let vertex = oci_layout(shown, &session, layout.store, Some(platform.clone()));
        let vertex = vertex.named(format!("[context {}] OCI load from client", context.name));
        Ok((Some(Output::of(self.graph.add(vertex))), Some(config)))
    }

    /// The context's own ignore file applies; the paths in use are filled in last.
    async fn load_local(&mut self, id: StageId, name: &str, dir: &str) -> Result<Loaded> {
        let client = self.job.client;
        let excludes = client.ignore_file_of(name, dir).await?;
        let shared = client
            .option(&format!("sharedkey:localdir:{name}"))
            .unwrap_or_default();
        let source = LocalSource {
            name: dir.to_owned(),
            session: client.session_of(dir),
            excludes,
            shared_key: format!("context:{name}-{shared}"),
            ..LocalSource::default()
        };
        let shown = format!("[context {name}] load from client");
        let vertex = self.graph.add(local(&source));
        self.local_contexts.insert(vertex, (id, source, shown));
        Ok((Some(Output::of(vertex)), None))
    }

    fn load_input(&mut self, name: &str, input: &str) -> Result<Loaded> {
        let client = self.job.client;
        let definition = self.input(name, input)?.clone();
        let tree = self.graph.import(&definition)?;
        let config = match client.option(&format!("input-metadata:{input}")) {
            Some(text) => input_config(text)?,
            None => None,
        };
        Ok((tree, config))
    }

    /// Returns the definition that the client gives as `input` for the context `name`.
    ///
    /// # Errors
    /// If it gives none.
    pub(super) fn input(&self, name: &str, input: &str) -> Result<&pb::Definition> {
        let missing = || FrontendError::Input {
            input: input.to_owned(),
            name: name.to_owned(),
        };
        let inputs = self.job.client.bridge().inputs();
        Ok(inputs.get(input).ok_or_else(missing)?)
    }
}

/// Returns the source of a context from git or the web.
///
/// # Errors
/// If the context is neither, or its address is malformed.
pub(super) fn remote(context: &NamedContext) -> Result<Vertex> {
    let (kind, _) = context.split()?;
    let value = &context.value;
    let is_web = is_url(value);
    let is_git = ["git", "ssh"].contains(&kind) || kind.starts_with("git@");
    if !is_web && !is_git {
        let (kind, name) = (kind.to_owned(), context.name.clone());
        return Err(FrontendError::ContextKind { kind, name }.into());
    }
    match GitRef::parse(value)? {
        Some(repository) => {
            let shown = format!("[internal] load git source {value}");
            Ok(git(&repository).named(shown))
        }
        None if is_web => {
            let shown = format!("[context {}] {value}", context.name);
            Ok(http(value, "context", "").named(shown))
        }
        None => Err(FrontendError::GitContext {
            value: value.clone(),
        }
        .into()),
    }
}
