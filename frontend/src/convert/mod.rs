//! Typed instructions to LLB and an image config.
//!
//! [`convert`] walks through these steps, each in a module of its own:
//!
//! 1. `globals`: the arguments before the first `FROM`, and the platform's own;
//! 2. `stages`: which stage starts from, copies from or mounts which other;
//! 3. `resolve`: what the needed stages start from: images and named contexts, asked of the engine;
//! 4. `dispatch`: each instruction of each needed stage, in the order of the file;
//! 5. the build context, narrowed to the paths that turned out to be used (row FDF-47).
//!
//! [`check`] and [`outline`] stop before the last step: they answer questions about the file.

mod args;
mod checks;
mod config;
mod copy;
mod copy_sources;
mod dispatch;
mod effort;
mod epoch;
mod expose;
mod globals;
mod mounts;
mod named;
mod names;
mod outline;
mod resolve;
mod run;
mod signals;
mod stages;
mod state;
mod triggers;

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_content::ImageConfig;
use lamina_proto::pb;
use lamina_types::Platform;

use crate::client::Client;
use crate::env::Env;
use crate::error::FrontendError;
use crate::error::Result;
use crate::error::lift;
use crate::expand::Lexer;
use crate::graph::Graph;
use crate::graph::LocalSource;
use crate::graph::Output;
use crate::graph::VertexId;
use crate::graph::local;
use crate::ignore::IgnoreFile;
use crate::instructions;
use crate::instructions::FileParts;
use crate::lines::Lines;
use crate::lint::LintOptions;
use crate::lint::Linter;
use crate::lint::Rule;
use crate::located::Located;
use crate::options::OptionMap;
use crate::options::Options;
use crate::subrequest::Outline;
use crate::syntax;
use crate::syntax::SyntaxError;

pub(crate) use self::effort::MAX_CONVERTED_BYTES;
pub use self::epoch::EpochStageError;
use self::outline::Declared;
use self::stages::StageId;
use self::stages::Stages;

/// What a Dockerfile becomes for one platform.
#[derive(Clone, Debug)]
pub(crate) struct Converted {
    pub(crate) definition: pb::Definition,
    pub(crate) image: ImageConfig,
    /// The config of the image that the result starts from.
    pub(crate) base_image: Option<ImageConfig>,
    /// Seconds since 1970 that every time of the result is to be.
    pub(crate) epoch: Option<i64>,
}

/// What stays the same while a Dockerfile is converted.
pub(crate) struct Job<'a> {
    pub(crate) client: &'a Client,
    pub(crate) options: &'a Options,
    /// The file, as errors and definitions show it.
    pub(crate) file: &'a pb::SourceInfo,
    pub(crate) text: &'a str,
    /// `None` if the client did not ask for one.
    pub(crate) platform: Option<Platform>,
    /// Also stages that the target does not need are looked up and run through.
    pub(crate) all_stages: bool,
}

/// Returns the linter with the options of the client or else of the file's `check` directive.
///
/// # Errors
/// If the directive is wrong.
pub(crate) fn linter(text: &str, options: &Options) -> Result<Linter> {
    if let Some(options) = &options.check {
        return Ok(Linter::new(options.clone()));
    }
    let directive = syntax::check_directive(text).unwrap_or_default();
    let options = LintOptions::parse(&directive).map_err(FrontendError::CheckDirective)?;
    Ok(Linter::new(options))
}

/// Converts the Dockerfile; warnings stay with `linter`.
///
/// # Errors
/// At the first thing that is wrong, with its lines.
pub(crate) async fn convert(job: Job<'_>, linter: &Linter) -> Result<Converted> {
    let (converter, target, ignore) = run_through(job, linter).await?;
    converter.finish(target, ignore.patterns())
}

/// Runs through the Dockerfile for the warnings that stay with `linter`.
///
/// # Errors
/// As [`convert`].
pub(crate) async fn check(job: Job<'_>, linter: &Linter) -> Result<()> {
    run_through(job, linter).await.map(drop)
}

/// Returns what the target can be given.
///
/// # Errors
/// As [`convert`].
pub(crate) async fn outline(job: Job<'_>, linter: &Linter) -> Result<Outline> {
    let (converter, target, _) = run_through(job, linter).await?;
    Ok(converter.outline(target))
}

/// Does all but the last step; returns the target too, and the ignore file of the build context.
async fn run_through<'a>(
    job: Job<'a>,
    linter: &Linter,
) -> Result<(Converter<'a>, StageId, Arc<IgnoreFile>)> {
    let (escape, parts) = read(job.text, linter)?;
    let mut converter = Converter::new(job, linter, escape);
    converter.set_globals(&parts)?;
    converter.set_epoch(&parts.stages).await?;
    converter.add_stages(parts.stages)?;
    let target = converter.target()?;
    converter.link_stages()?;
    let needed = converter.resolve_stages(target).await?;
    let ignore = converter.job.client.ignore_file().await?;
    converter.dispatch_stages(&needed, target, &ignore)?;
    converter.add_labels(target);
    match linter.violations() {
        Some(rules) => Err(FrontendError::LintViolations { rules }.into()),
        None => Ok((converter, target, ignore)),
    }
}

/// Reads the text, and warns of what can be seen without values; returns the escape character too.
fn read(text: &str, linter: &Linter) -> Result<(char, FileParts)> {
    if text.is_empty() {
        return Err(SyntaxError::Empty.into());
    }
    let file = syntax::parse(text).map_err(lift)?;
    for &line in &file.empty_continuations {
        linter.report(Rule::NoEmptyContinuation, Lines::new(line, line));
    }
    let parts = instructions::stages(&file, linter).map_err(lift)?;
    if parts.stages.is_empty() {
        return Err(FrontendError::NoStages.into());
    }
    checks::stage_names(&parts.stages, linter);
    checks::keyword_casing(&parts.stages, linter);
    Ok((file.escape, parts))
}

/// The state of a conversion.
struct Converter<'a> {
    job: Job<'a>,
    linter: Linter,
    lexer: Lexer,
    platforms: Platforms,
    build_args: OptionMap,
    globals: Env,
    /// The global arguments that the file declares, with their values.
    declared: Declared,
    epoch: Option<i64>,
    /// What was made so far, beside the graph, in bytes.
    spent: usize,
    graph: Graph,
    /// The build context; its source is filled in last.
    context: VertexId,
    stages: Stages,
    /// Local named contexts, whose sources are filled in last, by the stage whose paths they hold.
    local_contexts: BTreeMap<VertexId, (StageId, LocalSource, String)>,
    /// The build context, if it is no directory of the client.
    remote_context: Option<Output>,
}

/// Which platform is built for, and on which.
struct Platforms {
    target: Platform,
    build: Platform,
    /// The client did not name one.
    implicit: bool,
}

impl<'a> Converter<'a> {
    fn new(job: Job<'a>, linter: &Linter, escape: char) -> Self {
        let build = job.client.build_platform();
        let platforms = Platforms {
            target: job.platform.clone().unwrap_or_else(|| build.clone()),
            implicit: job.platform.is_none(),
            build,
        };
        let mut graph = Graph::default();
        let context = graph.add(local(&LocalSource::default()));
        Self {
            build_args: job.options.build_args.clone(),
            linter: linter.clone(),
            lexer: Lexer::new(escape),
            platforms,
            globals: Env::default(),
            declared: Declared::new(),
            epoch: None,
            spent: 0,
            graph,
            context,
            stages: Stages::default(),
            local_contexts: BTreeMap::new(),
            remote_context: None,
            job,
        }
    }

    /// Returns the stage to build.
    fn target(&self) -> Result<StageId> {
        match self.job.options.target.as_str() {
            "" => Ok(self.stages.last()),
            name => self.stages.find_target(name),
        }
    }

    /// Adds the labels that the client gives.
    fn add_labels(&mut self, target: StageId) {
        let labels = self.job.options.labels.clone();
        self.stages[target].image.config.labels.extend(labels);
    }

    /// Fills in the sources that were waiting for the paths in use, and marshals.
    fn finish(mut self, target: StageId, ignore: &[String]) -> Result<Converted> {
        let used = self.stages.context_paths();
        let result = self.place_context(&used, ignore, target);
        self.place_local_contexts();
        if self.graph.lacks_command(result) {
            return Err(FrontendError::NoArguments.into());
        }
        let definition = self.graph.into_definition(result, Some(self.job.file));
        let stage = &mut self.stages[target];
        let mut image = std::mem::take(&mut stage.image);
        if !self.platforms.implicit {
            set_platform(&mut image, &self.platforms.target);
        }
        normalise_platform(&mut image);
        Ok(Converted {
            definition,
            image,
            base_image: stage.base_image.take(),
            epoch: self.epoch,
        })
    }

    /// Puts the build context where its place was kept; returns the result.
    fn place_context(
        &mut self,
        used: &[String],
        ignore: &[String],
        target: StageId,
    ) -> Option<Output> {
        let result = self.stages[target].state.output;
        match self.job.client.main_context() {
            None => {
                let source = self.job.client.context_source(used, ignore);
                let vertex = local(&source).named("[internal] load build context");
                self.graph.replace(self.context, vertex);
                result
            }
            Some(_) => result,
        }
    }

    /// Refuses `feature` if the engine lacks the capability that it needs.
    fn require(&self, cap: &str, feature: &'static str) -> std::result::Result<(), FrontendError> {
        if self.job.client.has_cap(cap) {
            return Ok(());
        }
        Err(FrontendError::Unsupported { feature })
    }

    fn place_local_contexts(&mut self) {
        for (vertex, (stage, source, name)) in std::mem::take(&mut self.local_contexts) {
            let source = LocalSource {
                follow: self.stages.paths(stage).to_follow(),
                ..source
            };
            self.graph.replace(vertex, local(&source).named(name));
        }
    }
}

/// The client's platform wins over what the base image's config says.
fn set_platform(image: &mut ImageConfig, platform: &Platform) {
    let same = platform.os == image.os && platform.architecture == image.architecture;
    image.os.clone_from(&platform.os);
    image.architecture.clone_from(&platform.architecture);
    if !platform.variant.is_empty() || !same {
        image.variant.clone_from(&platform.variant);
    }
    if !platform.os_version.is_empty() || !same {
        image.os_version.clone_from(&platform.os_version);
    }
    if !platform.os_features.is_empty() {
        image.os_features.clone_from(&platform.os_features);
    }
}

fn normalise_platform(image: &mut ImageConfig) {
    let platform = image.platform();
    image.os = platform.os;
    image.architecture = platform.architecture;
    image.variant = platform.variant;
}

/// Adds the lines of an instruction to an error.
fn at<T, E: Into<FrontendError>>(result: std::result::Result<T, E>, lines: Lines) -> Result<T> {
    result.map_err(|error| Located::at(error.into(), lines))
}
