//! What can be wrong with the options.

use crate::instructions::CsvError;
use crate::lint::LintOptionsError;
use crate::platform::PlatformSpecError;
use crate::quote::quoted;

/// Says why an option is refused; the texts are BuildKit's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the messages quote")]
pub enum OptionsError {
    /// `platform`
    #[error("failed to parse target platform {spec}: {source}")]
    Platform {
        spec: String,
        source: PlatformSpecError,
    },
    /// `image-resolve-mode`
    #[error("invalid image-resolve-mode: {mode}")]
    ResolveMode { mode: String },
    /// `force-network-mode`
    #[error("invalid netmode {mode}")]
    Network { mode: String },
    /// `add-hosts`, as a list.
    #[error("failed to parse additional hosts: {0}")]
    HostFields(CsvError),
    /// `add-hosts`, one of them.
    #[error("failed to parse additional hosts: invalid key-value pair {field}")]
    HostPair { field: String },
    /// `add-hosts`, the address.
    #[error("failed to parse additional hosts: failed to parse IP {address}")]
    HostAddress { address: String },
    /// `shm-size`
    #[error("failed to parse shm size: strconv.ParseInt: parsing {}: {reason}", quoted(.text))]
    ShmSize { text: String, reason: &'static str },
    /// `ulimit`, as a list.
    #[error("failed to parse ulimit: {0}")]
    UlimitFields(CsvError),
    /// `ulimit`, the form.
    #[error("failed to parse ulimit: invalid ulimit argument: {text}")]
    Ulimit { text: String },
    /// `ulimit`, the name.
    #[error("failed to parse ulimit: invalid ulimit type: {name}")]
    UlimitName { name: String },
    /// `ulimit`, a number.
    #[error("failed to parse ulimit: strconv.ParseInt: parsing {}: {reason}", quoted(.text))]
    UlimitNumber { text: String, reason: &'static str },
    /// `ulimit`, the order.
    #[error(
        "failed to parse ulimit: ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
    )]
    UlimitOrder { soft: i64, hard: i64 },
    /// A limit that is no number.
    #[error("failed to parse resource limits: invalid {key} value: {text}: strconv.Parse{kind}: parsing {}: {reason}", quoted(.text))]
    ResourceNumber {
        key: &'static str,
        text: String,
        kind: &'static str,
        reason: &'static str,
    },
    /// A limit that is out of range.
    #[error("failed to parse resource limits: invalid {key} value: {text}: must be {wanted}")]
    ResourceRange {
        key: &'static str,
        text: String,
        wanted: &'static str,
    },
    /// A list of processors.
    #[error("failed to parse resource limits: invalid {key} value: {text}: {reason}")]
    CpuSet {
        key: &'static str,
        text: String,
        reason: String,
    },
    /// `multi-platform`
    #[error("invalid boolean value for multi-platform: {value}")]
    MultiPlatform { value: String },
    /// `multi-platform=false` with several platforms.
    #[error("conflicting config: returning multiple target platforms is not allowed")]
    SeveralPlatforms,
    /// `cache-imports`
    #[error("failed to unmarshal cache-imports ({}): {reason}", quoted(.text))]
    CacheImports { text: String, reason: String },
    /// `build-arg:BUILDKIT_DOCKERFILE_CHECK`
    #[error("failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: {0}")]
    Check(LintOptionsError),
    /// `override-copy-image`
    #[error("support for \"override-copy-image\" was removed in BuildKit 0.11")]
    OverrideCopyImage,
    /// `build-arg:BUILDKIT_DISABLE_FILEOP`
    #[error("support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed in BuildKit 0.11")]
    DisableFileOp,
    /// `frontend.caps` with one that is not there (row ERR-07).
    #[error("unsupported frontend capability {cap}")]
    Capability { cap: String },
    /// `requestid` with one that is not there (row ERR-08).
    #[error("unsupported request {request}")]
    Request { request: String },
}
