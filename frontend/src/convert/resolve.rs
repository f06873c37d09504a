//! What the needed stages start from.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use lamina_content::ImageConfig;
use lamina_llb::ResolveImageOptions;
use lamina_llb::ResolvedImage;
use lamina_types::Platform;

use crate::context::NamedContext;
use crate::context::parse_config;
use crate::convert::Converter;
use crate::convert::checks;
use crate::convert::stages::SCRATCH;
use crate::convert::stages::StageId;
use crate::convert::stages::at_lines;
use crate::error::FrontendError;
use crate::error::Result;
use crate::graph::Output;
use crate::graph::image;
use crate::image;
use crate::platform::format_all;
use crate::reference::ImageName;
use crate::suggest::Case;
use crate::suggest::Suggestion;

/// Looked-up images by reference and platform, so that none is asked for twice.
pub(super) type ImageLookups = BTreeMap<(String, String), ResolvedImage>;

/// Names that a mistyped image is compared with.
const COMMON_IMAGES: [&str; 7] = [
    "alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora",
];

impl Converter<'_> {
    /// Resolves the stages that `target` needs, until triggers bring in no new ones.
    pub(super) async fn resolve_stages(&mut self, target: StageId) -> Result<BTreeSet<StageId>> {
        let mut lookups = ImageLookups::new();
        self.load_remote_context()?;
        loop {
            let needed = self.stages.needed(target);
            for id in self.stages.ids() {
                let is_needed = needed.contains(&id) || self.job.all_stages;
                self.resolve_stage(id, is_needed, &mut lookups).await?;
            }
            let mut more = false;
            for &id in &needed {
                self.inherit(id)?;
                more |= self.run_triggers(id)?;
            }
            if !more {
                return Ok(self.stages.needed(target));
            }
        }
    }

    /// Brings in the build context if it is no directory of the client.
    fn load_remote_context(&mut self) -> Result<()> {
        if let Some(definition) = self.job.client.main_context() {
            self.remote_context = self.graph.import(definition)?;
        }
        Ok(())
    }

    async fn resolve_stage(
        &mut self,
        id: StageId,
        needed: bool,
        lookups: &mut ImageLookups,
    ) -> Result<()> {
        let stage = &mut self.stages[id];
        if stage.base.is_some() || stage.dispatched || stage.resolved {
            return Ok(());
        }
        stage.resolved = needed;
        if stage.base_name == SCRATCH && stage.named_context.is_none() {
            let target = self.platforms.target.clone();
            stage.image = ImageConfig::default_for(&target);
            stage.platform = Some(target);
            stage.dispatched = stage.unregistered;
            return Ok(());
        }
        let lines = stage.lines;
        let result = self.resolve_base(id, needed, lookups).await;
        let stage = &mut self.stages[id];
        stage.dispatched |= stage.unregistered;
        at_lines(result, lines)
    }

    async fn resolve_base(
        &mut self,
        id: StageId,
        needed: bool,
        lookups: &mut ImageLookups,
    ) -> Result<()> {
        let name = self.stages[id].base_name.clone();
        let reference = ImageName::parse(&name)
            .map_err(|source| FrontendError::StageReference {
                name: name.clone(),
                source,
            })?
            .or_latest();
        if !needed {
            return Ok(());
        }
        let target = self.platforms.target.clone();
        let platform = self.stages[id].platform.clone().unwrap_or(target);
        if let Some(context) = self.stages[id].named_context.clone() {
            return self.replace_stage(id, &context, &platform).await;
        }
        if let Some(context) = self.named_context(&reference.to_string(), Some(&platform))? {
            return self.replace_base(id, &context, platform).await;
        }
        self.use_image(id, &name, reference, platform, lookups)
            .await
    }

    /// A context of the stage's name stands for the whole stage.
    async fn replace_stage(
        &mut self,
        id: StageId,
        context: &NamedContext,
        platform: &Platform,
    ) -> Result<()> {
        let (output, config) = self.load_context(id, context, platform).await?;
        let stage = &mut self.stages[id];
        stage.dispatched = true;
        stage.state.output = output;
        if let Some(mut config) = config {
            config.created = None;
            if !config.architecture.is_empty() && !config.os.is_empty() {
                stage.platform = Some(config.platform());
            }
            stage.image = config;
        }
        Ok(())
    }

    /// A context of the base's name stands for the base.
    async fn replace_base(
        &mut self,
        id: StageId,
        context: &NamedContext,
        platform: Platform,
    ) -> Result<()> {
        let (output, config) = self.load_context(id, context, &platform).await?;
        let mut config = config.unwrap_or_else(|| ImageConfig::default_for(&platform));
        let stage = &mut self.stages[id];
        stage.base_image = Some(config.clone());
        config.created = None;
        stage.image = config;
        stage.state.output = output;
        stage.platform = Some(platform);
        Ok(())
    }

    async fn use_image(
        &mut self,
        id: StageId,
        name: &str,
        reference: ImageName,
        platform: Platform,
        lookups: &mut ImageLookups,
    ) -> Result<()> {
        let resolved = self.look_up(name, &reference, &platform, lookups).await?;
        let config = parse_config(&resolved.config)?;
        let reference = match ImageName::parse(&resolved.reference) {
            Ok(changed) if changed.name() != reference.name() => changed.or_latest(),
            _ => reference,
        };
        let reference = reference
            .with_digest(&resolved.digest.to_string())
            .to_string();
        let platform = self.detected_platform(id, &config, platform);
        let lines = self.stages[id].lines;
        let actual = config.platform();
        checks::base_platform(name, &platform, &actual, lines, &self.linter);
        let step = self.step_name(id, &format!("FROM {reference}"), false);
        let output = (!image::has_no_layers(&config)).then(|| {
            let mode = &self.job.options.resolve_mode;
            let mut vertex = image(&reference, Some(platform.clone()), mode)
                .named(step)
                .at(lines);
            let code = &self.stages[id].code;
            vertex.describe("com.docker.dockerfile.v1.command", code);
            Output::of(self.graph.add(vertex))
        });
        let stage = &mut self.stages[id];
        stage.base_image = Some(config.clone());
        stage.image = config;
        stage.image.created = None;
        stage.state.output = output;
        stage.platform = Some(platform);
        Ok(())
    }

    async fn look_up(
        &self,
        name: &str,
        reference: &ImageName,
        platform: &Platform,
        lookups: &mut ImageLookups,
    ) -> Result<ResolvedImage> {
        let full = reference.to_string();
        let key = (full.clone(), platform.to_string());
        if let Some(known) = lookups.get(&key) {
            return Ok(known.clone());
        }
        let prefix = if self.job.options.multi_platform {
            format!("[{} internal]", format_all(platform))
        } else {
            "[internal]".to_owned()
        };
        let options = ResolveImageOptions {
            platform: Some(platform.clone()),
            mode: self.job.options.resolve_mode.clone(),
            log_name: format!("{prefix} load metadata for {full}"),
            ..ResolveImageOptions::default()
        };
        let answer = self
            .job
            .client
            .bridge()
            .resolve_image_config(&full, options)
            .await;
        let resolved = answer.map_err(|mut error| {
            let suggestion = self.image_suggestion(name);
            error.message = format!("{name}: {}{suggestion}", error.message);
            FrontendError::Engine(error)
        })?;
        lookups.insert(key, resolved.clone());
        Ok(resolved)
    }

    fn image_suggestion(&self, name: &str) -> Suggestion {
        let common = COMMON_IMAGES
            .iter()
            .flat_map(|image| [(*image).to_owned(), format!("{image}:latest")]);
        let known: Vec<String> = self
            .stages
            .shown_names()
            .map(str::to_owned)
            .chain(common)
            .collect();
        Suggestion::nearest(name, known.iter().map(String::as_str), Case::Sensitive)
    }

    /// If nobody asked for a platform, an image for one that the engine can run decides.
    fn detected_platform(&self, id: StageId, config: &ImageConfig, wanted: Platform) -> Platform {
        let asked = self.stages[id].platform.is_some() || !self.platforms.implicit;
        let same =
            |known: &Platform| known.os == config.os && known.architecture == config.architecture;
        if asked || same(&wanted) {
            return wanted;
        }
        let supported = self.job.client.bridge().worker_platforms();
        supported.into_iter().find(same).unwrap_or(wanted)
    }
}
