//! What can be wrong with an instruction's flags and arguments.

use crate::expand::ExpandError;
use crate::instructions::CsvError;
use crate::instructions::DurationError;
use crate::quote::quoted;
use crate::suggest::Suggestion;

/// Says why an instruction is refused; the texts are BuildKit's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the messages quote")]
pub enum InstructionError {
    /// No such instruction.
    #[error("unknown instruction: {keyword}{suggestion}")]
    UnknownInstruction {
        keyword: String,
        suggestion: Suggestion,
    },
    /// No arguments at all.
    #[error("{keyword} requires at least one argument")]
    NeedsArguments { keyword: &'static str },
    /// None or several arguments.
    #[error("{keyword} requires exactly one argument")]
    NeedsOneArgument { keyword: &'static str },
    /// `COPY` or `ADD` without a destination.
    #[error(
        "{keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NeedsDestination { keyword: &'static str },
    /// A here-document as the destination.
    #[error("{keyword} cannot accept a heredoc as a destination")]
    HeredocDestination { keyword: &'static str },
    /// `=value`.
    #[error("{keyword} names can not be blank")]
    BlankName { keyword: &'static str },
    /// `SHELL` with plain words.
    #[error("{keyword} requires the arguments to be in JSON form")]
    NeedsJson { keyword: &'static str },
    /// A word among the flags that is none.
    #[error("arg should start with -- : {word}")]
    NotAFlag { word: String },
    /// No such flag.
    #[error("unknown flag: --{name}{suggestion}")]
    UnknownFlag {
        name: String,
        suggestion: Suggestion,
    },
    /// A flag twice.
    #[error("duplicate flag specified: --{name}")]
    RepeatedFlag { name: String },
    /// A flag without its value.
    #[error("missing a value on flag: --{name}")]
    MissingFlagValue { name: String },
    /// A switch with something else than true or false.
    #[error("expecting boolean value for flag --{name}, not: {value}")]
    NotBoolean { name: String, value: String },
    /// `FROM` with a wrong number of words.
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    /// A stage's name.
    #[error("invalid name for build stage: {}, name can't start with a number or contain symbols", quoted(.name))]
    StageName { name: String },
    /// `ONBUILD ONBUILD`.
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    ChainedTrigger,
    /// An instruction that cannot be a trigger.
    #[error("{keyword} isn't allowed as an ONBUILD trigger")]
    ForbiddenTrigger { keyword: String },
    /// `RUN --network`.
    #[error("invalid network mode {}", quoted(.mode))]
    NetworkMode { mode: String },
    /// `RUN --security`.
    #[error("security {} is not valid", quoted(.mode))]
    SecurityMode { mode: String },
    /// `HEALTHCHECK NONE` with more.
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNone,
    /// `HEALTHCHECK CMD` without more.
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthcheckCommand,
    /// Neither `NONE` nor `CMD`.
    #[error("Unknown type {} in HEALTHCHECK (try CMD)", quoted(.kind))]
    HealthcheckKind { kind: String },
    /// A time that cannot be read.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// A time that is too short.
    #[error("Interval {} cannot be less than 1ms", quoted(.flag))]
    ShortInterval { flag: &'static str },
    /// `--retries` that is no number.
    #[error("strconv.ParseInt: parsing {}: {reason}", quoted(.text))]
    Retries { text: String, reason: &'static str },
    /// `--retries` below zero.
    #[error("--retries cannot be negative ({count})")]
    NegativeRetries { count: i64 },
    /// An empty path.
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    /// `FROM` where a command is wanted.
    #[error("{keyword} is not a command type")]
    NotACommand { keyword: String },
    /// An instruction before the first `FROM`.
    #[error("no build stage in current context")]
    NoStage,
    /// A mount's list of fields.
    #[error("failed to parse csv mounts: {0}")]
    MountFields(CsvError),
    /// A device's list of fields.
    #[error("failed to parse csv devices: {0}")]
    DeviceFields(CsvError),
    /// A mount's field without a value.
    #[error("invalid field '{field}' must be a key=value pair")]
    FieldWithoutValue { field: String },
    /// A variable where none can be.
    #[error("'{key}' doesn't support variable expansion, define alias stage instead")]
    NoVariables { key: String },
    /// A mount's type.
    #[error("unsupported mount type {}{suggestion}", quoted(.kind))]
    MountType {
        kind: String,
        suggestion: Suggestion,
    },
    /// How a cache is shared.
    #[error("unsupported sharing value {}{suggestion}", quoted(.value))]
    Sharing {
        value: String,
        suggestion: Suggestion,
    },
    /// A field's value.
    #[error("invalid value for {key}: {value}")]
    FieldValue { key: String, value: String },
    /// A number among the fields.
    #[error("invalid value {value} for {key}")]
    FieldNumber { key: &'static str, value: String },
    /// A field that this type of mount does not have.
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    FieldForType { key: String, kind: &'static str },
    /// No such field.
    #[error("unexpected key '{key}' in '{field}'{suggestion}")]
    UnknownField {
        key: String,
        field: String,
        suggestion: Suggestion,
    },
    /// Owner or mode where they make no sense.
    #[error("{key} not allowed for \"{kind}\" type mounts")]
    OwnerForType {
        key: &'static str,
        kind: &'static str,
    },
    /// A secret from a stage.
    #[error("secret mount should not have a from")]
    SecretFrom,
    /// A secret with a sharing mode.
    #[error("secret mount should not define sharing")]
    SecretSharing,
    /// A secret without a name.
    #[error("invalid secret mount. one of source, target required")]
    SecretName,
    /// A secret with two names.
    #[error("both source and id can't be set")]
    SecretTwoNames,
    /// Sharing of something that is no cache.
    #[error("invalid cache sharing set for {kind} mount")]
    SharingForType { kind: &'static str },
    /// `RUN --device` twice named.
    #[error("device name already set to {name}")]
    DeviceName { name: String },
    /// A word that cannot be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
}
