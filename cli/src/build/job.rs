//! What is to be built, whoever builds it.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;

use lamina_engine::BuildSource;
use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use lamina_registry::ImageReference;
use lamina_session::Session;

use crate::args::BuildArgs;
use crate::args::CommonArgs;
use crate::args::ResultArgs;
use crate::args::SolveArgs;
use crate::caches::Caches;
use crate::call::Call;
use crate::context::Context;
use crate::definition;
use crate::error::CliError;
use crate::options;
use crate::output;
use crate::output::Output;
use crate::policy;
use crate::report;
use crate::visible::visible;

/// The name under which the built-in frontend is registered.
const DOCKERFILE: &str = "dockerfile.v0";

/// What who asks for nothing is told.
const NO_RESULT: &str = "the result stays in the cache only; say where it goes with --output, \
                         --tag or --push";

/// What the exporters report.
pub(super) type Response = BTreeMap<String, String>;

/// What makes the result, as requests over a wire have it.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) definition: Option<pb::Definition>,
    /// Empty without one.
    pub(super) frontend: String,
    pub(super) options: BTreeMap<String, String>,
    pub(super) inputs: BTreeMap<String, pb::Definition>,
}

impl Asked {
    pub(super) fn of(source: &BuildSource) -> Self {
        match source.clone() {
            BuildSource::Definition(definition) => Self {
                definition: Some(definition),
                ..Self::default()
            },
            BuildSource::Frontend {
                name,
                options,
                inputs,
            } => Self {
                definition: None,
                frontend: name,
                options,
                inputs,
            },
            // The command line makes none of these.
            BuildSource::Client { .. } => Self::default(),
        }
    }
}

/// A build.
pub(super) struct Job {
    pub(super) source: BuildSource,
    pub(super) outputs: Vec<Output>,
    pub(super) caches: Caches,
    pub(super) policy: Option<Policy>,
    /// Names of entitlements.
    pub(super) allow: Vec<String>,
    pub(super) no_cache: bool,
    pub(super) session: Arc<dyn Session>,
    /// Holds files that came on standard input.
    _context: Context,
}

impl Job {
    /// Reads the user's files for `lamina build`.
    pub(super) fn of_build(args: &BuildArgs) -> Result<Self, CliError> {
        Ok(Self::of_run(args)?.noted(&args.common.results))
    }

    /// Reads the user's files for `lamina run`, which is content with a result in the cache.
    pub(super) fn of_run(args: &BuildArgs) -> Result<Self, CliError> {
        let mut context = Context::open(&args.context, args.file.as_deref())?;
        for named in &args.build_context {
            context.add_named(named)?;
        }
        let mut options = options::frontend_options(args)?;
        options.append(&mut context.options);
        let source = BuildSource::Frontend {
            name: DOCKERFILE.to_owned(),
            options,
            inputs: BTreeMap::new(),
        };
        Self::new(source, context, &args.common)
    }

    /// Reads the user's files for a question about the Dockerfile, which has no result to keep.
    pub(super) fn of_call(args: &BuildArgs, call: &Call) -> Result<Self, CliError> {
        let mut job = Self::of_run(args)?;
        job.outputs.clear();
        job.caches = Caches::default();
        if let BuildSource::Frontend { options, .. } = &mut job.source {
            options.extend(call.options());
        }
        Ok(job)
    }

    /// Reads the definition for `lamina solve`.
    pub(super) fn of_solve(args: &SolveArgs) -> Result<Self, CliError> {
        let context = Context::of_locals(&args.local)?;
        let mut definition = definition::from_stdin()?;
        if args.common.options.no_cache {
            definition::ignore_cache(&mut definition);
        }
        let source = BuildSource::Definition(definition);
        let job = Self::new(source, context, &args.common)?;
        Ok(job.noted(&args.common.results))
    }

    /// Tells the user what to know before the build.
    fn noted(self, results: &ResultArgs) -> Self {
        if results.progress.is_for_people() {
            for note in notes(&self.outputs, &self.caches) {
                report::text(&format!("WARNING: {}\n", visible(note)));
            }
        }
        self
    }

    fn new(source: BuildSource, context: Context, args: &CommonArgs) -> Result<Self, CliError> {
        let (results, options) = (&args.results, &args.options);
        let outputs = outputs(results)?;
        let caches = Caches::parse(&options.cache_from, &options.cache_to)?;
        let policy = options
            .source_policy_file
            .as_deref()
            .map(policy::read)
            .transpose()?;
        let session = options::session(&context, &outputs, &caches, options)?;
        Ok(Self {
            source,
            outputs,
            caches,
            policy,
            allow: options.allow.clone(),
            no_cache: options.no_cache,
            session: Arc::new(session),
            _context: context,
        })
    }
}

/// Returns what the user should know before the build. One without a result is no mistake (row
/// EOT-01), but often not what was meant.
fn notes<'a>(outputs: &[Output], caches: &'a Caches) -> impl Iterator<Item = &'a str> {
    let is_for_nothing = outputs.is_empty() && caches.exports.is_empty();
    let notes = caches.notes().iter().map(String::as_str);
    notes.chain(is_for_nothing.then_some(NO_RESULT))
}

fn outputs(args: &ResultArgs) -> Result<Vec<Output>, CliError> {
    // A name that cannot be used is found out before work is done.
    for tag in &args.tag {
        let bad = |reason| CliError::BadTag(tag.clone(), reason);
        tag.parse::<ImageReference>().map_err(bad)?;
    }
    let outputs = Output::parse_all(&args.output, std::io::stdout().is_terminal())?;
    outputs.iter().try_for_each(Output::check_destination)?;
    let outputs = output::with_names(outputs, &args.tag, args.push);
    let nameless = |output: &Output| output.kind == "image" && !output.attrs.contains_key("name");
    if args.push && outputs.iter().any(nameless) {
        return Err(CliError::PushWithoutName);
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;
    use crate::args::Command;

    fn results(line: &str) -> ResultArgs {
        let words = ["lamina", "build", "."].into_iter();
        let cli = Cli::try_parse_from(words.chain(line.split_whitespace())).expect("valid");
        match cli.command {
            Command::Build(args) => args.common.results,
            _ => panic!("another command"),
        }
    }

    #[test]
    fn names_are_checked_before_the_build() {
        for tag in ["BAD", "a:b:c", "-x"] {
            let line = format!("--tag ok:1 --tag={tag}");
            let error = outputs(&results(&line)).expect_err(tag).to_string();
            assert!(error.starts_with(&format!("--tag {tag:?}: ")), "{error}");
        }
        let named = outputs(&results("--tag localhost:5000/a/b:1")).expect("a name");
        assert_eq!(named.len(), 1);
    }

    #[test]
    fn builds_without_a_result_are_told_of() {
        let told = |line: &str, cache_to: &[&str]| {
            let cache_to: Vec<String> = cache_to.iter().map(|&to| to.to_owned()).collect();
            let caches = Caches::parse(&[], &cache_to).expect("valid");
            let outputs = outputs(&results(line)).expect("valid");
            notes(&outputs, &caches).count()
        };
        assert_eq!(told("", &[]), 1);
        for line in ["--output out", "--tag a", "--tag a --push"] {
            assert_eq!(told(line, &[]), 0, "{line}");
        }
        assert_eq!(told("", &["type=registry,ref=localhost/c"]), 0);
    }
}
