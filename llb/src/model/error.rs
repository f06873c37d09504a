//! Why an op makes no sense.

use crate::entitlements::EntitlementError;

/// An op that is refused before anything runs (row LLB-04).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The op has none of the known kinds.
    #[error("invalid op: no kind that is known here")]
    NoOp,
    /// A part without which the op has no meaning is missing.
    #[error("invalid {op} op with no {part}")]
    Missing {
        /// The kind of op.
        op: &'static str,
        /// What is missing.
        part: &'static str,
    },
    /// An index names an input that the op does not have.
    #[error("invalid input index {index}: the op has {inputs} inputs")]
    BadInput {
        /// The index.
        index: i64,
        /// How many inputs there are.
        inputs: usize,
    },
    /// An index of a file action names neither an input nor an action.
    #[error(
        "invalid input index {index} of action {action}: {inputs} inputs and {actions} actions"
    )]
    BadActionInput {
        /// The action.
        action: usize,
        /// The index.
        index: i64,
        /// How many inputs the op has.
        inputs: usize,
        /// How many actions the op has.
        actions: usize,
    },
    /// Actions of a file op need each other's results.
    #[error("loop from action {action}")]
    ActionLoop {
        /// One action of the loop.
        action: usize,
    },
    /// Two actions give the same output.
    #[error("duplicate output {index}")]
    DuplicateOutput {
        /// The output.
        index: i64,
    },
    /// Outputs are not numbered from 0 without gaps.
    #[error("missing output index {index}")]
    MissingOutput {
        /// The first that nothing gives.
        index: usize,
    },
    /// An enum has a value that is unknown here; never taken as harmless.
    #[error("unknown {what} {value}")]
    UnknownValue {
        /// The enum.
        what: &'static str,
        /// The number received.
        value: i32,
    },
    /// A text that should be an address is none.
    #[error("failed to parse IP {ip:?} of extra host {host:?}")]
    BadAddress {
        /// The host.
        host: String,
        /// What was given as its address.
        ip: String,
    },
    /// The root must be an ordinary mount.
    #[error("invalid mount type {kind} for /")]
    BadRootMount {
        /// The kind that was asked for.
        kind: &'static str,
    },
    /// More than one mount claims to be the root.
    #[error("invalid exec op with more than one rootfs")]
    TwoRoots,
    /// A mount cannot be made from nothing.
    #[error("mount {dest} has no input")]
    NoMountInput {
        /// Where it was to be.
        dest: String,
    },
    /// Content keys were forced where they would give wrong hits (row EXC-28).
    #[error("invalid mount cache content for {dest}: the step writes to a part of its input")]
    UnsafeContentCache {
        /// The mount.
        dest: String,
    },
    /// An id that secrets and caches need is empty.
    #[error("secret ID missing for {what}")]
    NoSecretId {
        /// The mount or variable.
        what: String,
    },
    /// The feature is known, but not in this version.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// The feature.
        what: &'static str,
    },
    /// A value that no platform has.
    #[error("only LLB builder is currently allowed")]
    ForeignBuilder,
    /// Text of a mode that chmod would not take.
    #[error("invalid mode {text:?}: {reason}")]
    BadMode {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The step needs more than the build was granted.
    #[error(transparent)]
    Entitlement(#[from] EntitlementError),
}

impl SpecError {
    /// Turns an absent part into an error.
    pub(crate) fn missing(op: &'static str, part: &'static str) -> Self {
        Self::Missing { op, part }
    }
}
