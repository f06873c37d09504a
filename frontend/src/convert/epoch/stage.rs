//! Stages that `SOURCE_DATE_EPOCH` may name: `FROM scratch`, any `ARG`s, and one `ADD` of a URL or a
//! repository (row FDF-41).

use lamina_proto::pb;

use super::VARIABLE;
use crate::convert::Converter;
use crate::convert::copy_sources::check_digest;
use crate::convert::copy_sources::url_file_name;
use crate::convert::stages::SCRATCH;
use crate::env::Env;
use crate::error::FrontendError;
use crate::expand::ExpandError;
use crate::git::GitRef;
use crate::graph::Vertex;
use crate::graph::git;
use crate::graph::http;
use crate::graph::is_url;
use crate::instructions::Action;
use crate::instructions::Argument;
use crate::instructions::Copy;
use crate::instructions::Stage;
use crate::quote::quoted;

type Result<T> = std::result::Result<T, FrontendError>;

/// Says why `SOURCE_DATE_EPOCH` cannot be the time of a stage.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpochStageError {
    /// The name of its base has no value.
    #[error("failed to process source stage base name {}: {source}", quoted(.name))]
    BaseName {
        /// As written.
        name: String,
        /// What is wrong with it.
        source: ExpandError,
    },
    /// It starts from something.
    #[error("SOURCE_DATE_EPOCH stage must use FROM scratch")]
    Base,
    /// It does something else too.
    #[error(
        "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported {keyword} instruction"
    )]
    Instruction {
        /// As written.
        keyword: String,
    },
    /// It adds nothing, or twice.
    #[error("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD")]
    Count,
    /// Its `ADD` has several sources, or a here-document.
    #[error("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD source")]
    Sources,
    /// Its `ADD` is of a file of the context.
    #[error("SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD")]
    NotRemote,
}

impl Converter<'_> {
    /// Returns what a stage adds that does nothing else.
    ///
    /// # Errors
    /// If it is no such stage, or a word of it cannot be expanded.
    pub(super) fn source_of_stage(&self, stage: &Stage) -> Result<pb::SourceOp> {
        let mut env = self.globals.clone();
        env.remove(VARIABLE);
        let base = self.lexer.expand(&stage.base, &env).text;
        let base = base.map_err(|source| EpochStageError::BaseName {
            name: stage.base.clone(),
            source,
        })?;
        if base != SCRATCH {
            return Err(EpochStageError::Base.into());
        }
        let mut added = None;
        for instruction in &stage.instructions {
            match &instruction.action {
                Action::Arg(arguments) => self.declare(arguments, &mut env)?,
                Action::Add(_) if added.is_some() => return Err(EpochStageError::Count.into()),
                Action::Add(copy) => added = Some(self.added(copy, &env)?),
                _ => {
                    let keyword = instruction.origin.keyword.clone();
                    return Err(EpochStageError::Instruction { keyword }.into());
                }
            }
        }
        let source = added.as_ref().and_then(Vertex::source);
        Ok(source.cloned().ok_or(EpochStageError::Count)?)
    }

    fn declare(&self, arguments: &[Argument], env: &mut Env) -> Result<()> {
        for argument in arguments {
            let value = match (self.build_args.get(&argument.name), &argument.value) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => self.lexer.expand(default, env).text?,
                (None, None) => continue,
            };
            env.set(&argument.name, value);
        }
        Ok(())
    }

    fn added(&self, copy: &Copy, env: &Env) -> Result<Vertex> {
        let ([address], []) = (&copy.sources[..], &copy.inline[..]) else {
            return Err(EpochStageError::Sources.into());
        };
        let address = self.lexer.expand(address, env).text?;
        let repository = GitRef::parse(&address)?;
        if repository.is_none() && !is_url(&address) {
            return Err(EpochStageError::NotRemote.into());
        }
        let checksum = self.lexer.expand(&copy.checksum, env).text?;
        let Some(mut repository) = repository else {
            check_digest(&checksum)?;
            return Ok(http(&address, &url_file_name(&address), &checksum));
        };
        if !checksum.is_empty() {
            repository.checksum = checksum;
        }
        repository.keep_git_dir = repository.keep_git_dir.or(copy.keep_git_dir);
        Ok(git(&repository))
    }
}
