//! Every reason for which a build fails in the frontend.

use lamina_llb::BuildError;
use lamina_llb::SourceExcerpt;
use lamina_proto::pb;

use crate::convert::EpochStageError;
use crate::convert::MAX_CONVERTED_BYTES;
use crate::expand::ExpandError;
use crate::git::GitRefError;
use crate::instructions::InstructionError;
use crate::instructions::StageError;
use crate::lint::LintOptionsError;
use crate::located::Located;
use crate::options::OptionsError;
use crate::paths::ImagePathError;
use crate::platform::PlatformSpecError;
use crate::quote::quoted;
use crate::reference::ReferenceError;
use crate::suggest::Suggestion;
use crate::syntax::SyntaxError;

/// The largest Dockerfile that is read.
pub const MAX_DOCKERFILE_BYTES: u64 = 10 * 1024 * 1024;

/// What the warnings of a build, or the places of an error, may take: each carries the whole file, as
/// clients expect.
pub(crate) const MAX_SHOWN_BYTES: usize = 64 << 20;

/// Says why a Dockerfile cannot be turned into LLB; the texts are BuildKit's where it has one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the messages quote")]
pub enum FrontendError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Instruction(#[from] InstructionError),
    #[error(transparent)]
    Expand(#[from] ExpandError),
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Path(#[from] ImagePathError),
    #[error(transparent)]
    Git(#[from] GitRefError),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] BuildError),
    #[error("dockerfile contains no stages to build")]
    NoStages,
    #[error("the Dockerfile is larger than {MAX_DOCKERFILE_BYTES} bytes")]
    DockerfileTooLarge,
    #[error("the Dockerfile makes more than {MAX_CONVERTED_BYTES} bytes of steps and variables")]
    TooMuch,
    #[error("failed to parse check options: {0}")]
    CheckDirective(LintOptionsError),
    #[error("lint violation found for rules: {rules}")]
    LintViolations { rules: String },
    #[error("base name ({base}) should not be blank")]
    BlankBase { base: String },
    #[error("failed to process arguments for platform {text}: {source}")]
    PlatformArguments { text: String, source: ExpandError },
    #[error("empty platform value from expression {expression}{suggestion}")]
    EmptyPlatform {
        expression: String,
        suggestion: Suggestion,
    },
    #[error("failed to parse platform {expression}: {source}{suggestion}")]
    Platform {
        expression: String,
        source: PlatformSpecError,
        suggestion: Suggestion,
    },
    #[error("failed to parse stage name {}: {source}", quoted(.name))]
    StageReference {
        name: String,
        source: ReferenceError,
    },
    #[error("target stage {} could not be found{suggestion}", quoted(.target))]
    UnknownTarget {
        target: String,
        suggestion: Suggestion,
    },
    #[error("circular dependency detected on stage: {stage}")]
    Circular { stage: String },
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround"
    )]
    VariableInFrom,
    #[error("invalid stage index {index}")]
    StageIndex { index: i64 },
    #[error("cannot copy from stage {}, it needs to be defined before current stage {}", quoted(.from), quoted(.stage))]
    LaterStage { from: String, stage: String },
    #[error("cannot mount from stage {} to {}, stage needs to be defined before current command", quoted(.from), quoted(.target))]
    LaterMount { from: String, target: String },
    #[error("onbuild trigger should be a single expression")]
    TriggerCount,
    #[error("invalid SOURCE_DATE_EPOCH: {value}")]
    Epoch { value: String },
    #[error(transparent)]
    EpochStage(#[from] EpochStageError),
    #[error("invalid signal: {signal}")]
    Signal { signal: String },
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error("invalid port: {}: {reason}", quoted(.port))]
    Port { port: String, reason: String },
    #[error("invalid containerPort: {port}")]
    ContainerPort { port: String },
    #[error("invalid hostPort: {port}")]
    HostPort { port: String },
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    PortRanges { container: String, host: String },
    #[error("invalid IP address: {address}")]
    Address { address: String },
    #[error("invalid mount target {}", quoted(.target))]
    MountTarget { target: String },
    #[error("ssh does not support source")]
    SshSource,
    #[error("device feature is only supported in Dockerfile frontend 1.14.0-labs or later")]
    Device,
    #[error("parsing produced an invalid run command: {words:?}")]
    HeredocCommand { words: Vec<String> },
    #[error("failed to marshal LLB definition: arguments are required")]
    NoArguments,
    #[error("invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777")]
    Chmod { mode: String },
    #[error("invalid syntax")]
    SymbolicChmod,
    #[error("checksum can't be specified for multiple sources")]
    ChecksumSources,
    #[error("checksum requires HTTP(S) or Git sources")]
    ChecksumLocal,
    #[error("invalid checksum digest format")]
    ChecksumFormat,
    #[error("unsupported digest algorithm")]
    ChecksumAlgorithm,
    #[error("invalid checksum digest length")]
    ChecksumLength,
    #[error("checksum mismatch {} != {}", quoted(.given), quoted(.in_address))]
    ChecksumConflict { given: String, in_address: String },
    #[error("inconsistent keep-git-dir configuration")]
    KeepGitDir,
    #[error("source can't be a git ref for COPY")]
    CopyGit,
    #[error("source can't be a URL for COPY")]
    CopyUrl,
    #[error("invalid context name {name}: {source}")]
    ContextName {
        name: String,
        source: ReferenceError,
    },
    #[error("no source specified for gateway")]
    NoGatewaySource,
    #[error("development gateway is no longer supported")]
    DevelopmentGateway,
    #[error("invalid context specifier {value} for {name}")]
    ContextSpecifier { value: String, name: String },
    #[error("unsupported context source {kind} for {name}")]
    ContextKind { kind: String, name: String },
    #[error("invalid git context {value}")]
    GitContext { value: String },
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("could not parse oci-layout reference {}: {source}", quoted(.reference))]
    LayoutReference {
        reference: String,
        source: ReferenceError,
    },
    #[error("oci-layout reference {} has no digest", quoted(.reference))]
    LayoutDigest { reference: String },
    #[error("invalid input {input} for {name}")]
    Input { input: String, name: String },
    #[error("failed to parse input metadata {text}")]
    InputMetadata { text: String },
    #[error("failed to parse image config: {reason}")]
    ImageConfig { reason: String },
    #[error("failed to encode image config: {reason}")]
    EncodeConfig { reason: String },
    #[error("failed to encode the answer: {reason}")]
    EncodeAnswer { reason: String },
    #[error("syntax error in pattern")]
    IgnorePattern,
    #[error("LLB of the frontend input cannot be read: {reason}")]
    BadInput { reason: String },
    #[error("{feature} is not supported by this engine")]
    Unsupported { feature: &'static str },
}

/// The result of everything that can fail at a place in the file.
pub(crate) type Result<T> = std::result::Result<T, Located<FrontendError>>;

impl<E: Into<FrontendError>> From<E> for Located<FrontendError> {
    fn from(error: E) -> Self {
        Self::nowhere(error.into())
    }
}

/// Turns an error of one stage of the frontend into the common one.
pub(crate) fn lift<E: Into<FrontendError>>(error: Located<E>) -> Located<FrontendError> {
    error.map(Into::into)
}

impl Located<FrontendError> {
    /// Puts what was being done in front of the engine's message.
    pub(crate) fn while_doing(self, what: &str) -> Self {
        self.map(|error| {
            let mut engine = match error {
                FrontendError::Engine(engine) => engine,
                other => BuildError::new(other.to_string()),
            };
            engine.message = format!("{what}: {}", engine.message);
            FrontendError::Engine(engine)
        })
    }

    /// Returns the error for the client, with the excerpts of `file` (row ERR-02).
    pub(crate) fn into_build_error(self, file: Option<&pb::SourceInfo>) -> BuildError {
        let mut error = match *self.error {
            FrontendError::Engine(error) => error,
            FrontendError::Options(error) => options_error(error),
            other => BuildError::new(other.to_string()),
        };
        if let Some(info) = file {
            let excerpt = |lines: &crate::lines::Lines| SourceExcerpt {
                info: info.clone(),
                ranges: lines.to_ranges(),
            };
            let most = (MAX_SHOWN_BYTES / info.data.len().max(1)).max(1);
            error
                .sources
                .extend(self.places.iter().take(most).map(excerpt));
        }
        error
    }
}

/// Says what clients look for in details, not in the text (rows ERR-07, ERR-08).
fn options_error(error: OptionsError) -> BuildError {
    let mut build_error = BuildError::new(error.to_string());
    match error {
        OptionsError::Capability { cap } => build_error.frontend_cap = Some(cap),
        OptionsError::Request { request } => build_error.subrequest = Some(request),
        _ => {}
    }
    build_error
}
