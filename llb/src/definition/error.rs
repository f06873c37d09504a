//! Why a definition is refused.

use lamina_types::Digest;

use crate::model::SpecError;

/// A definition that cannot be run. The messages name what is wrong in the client's terms.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Too few ops for a step and the terminal vertex (row LLB-01).
    #[error("invalid LLB with {count} vertexes")]
    TooFew {
        /// How many there are.
        count: usize,
    },
    /// More ops or bytes than any real build has.
    #[error("invalid LLB: {what} exceeds the limit of {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The most that is taken.
        limit: usize,
    },
    /// The bytes are no op.
    #[error("failed to parse llb proto op: {}", malformed(.source))]
    Decode {
        /// What is wrong with the bytes.
        source: prost::DecodeError,
    },
    /// An input asks for an output with a negative number (row LLB-03).
    #[error("invalid input {input} output index {output}")]
    NegativeOutput {
        /// Which input.
        input: usize,
        /// The number.
        output: i64,
    },
    /// The terminal vertex names no result (row LLB-01).
    #[error("invalid LLB with no inputs on last vertex")]
    NoResult,
    /// An input names an op that is not in the definition.
    #[error("invalid missing input digest {digest}")]
    MissingInput {
        /// As received.
        digest: String,
    },
    /// An input names an output that the op does not have.
    #[error("invalid output index {output} of {digest}: it has {outputs}")]
    NoSuchOutput {
        /// The op.
        digest: Digest,
        /// The number asked for.
        output: usize,
        /// How many there are.
        outputs: usize,
    },
    /// The metadata needs a capability that is not offered (row LLB-10).
    #[error("requested feature {cap:?} is not supported by this version of lamina")]
    UnknownCap {
        /// The op.
        digest: Digest,
        /// The capability.
        cap: String,
    },
    /// One op makes no sense (row LLB-04).
    #[error("{source}")]
    Invalid {
        /// The op.
        digest: Digest,
        /// What is wrong.
        source: SpecError,
    },
}

/// What clients know to be said of malformed bytes.
fn malformed(error: &prost::DecodeError) -> String {
    const WIRE_TYPE: &str = "invalid wire type value: ";
    let text = error.to_string();
    match text.split_once(WIRE_TYPE) {
        Some((_, number)) => format!("proto: illegal wireType {number}"),
        None => format!("proto: {text}"),
    }
}

impl LoadError {
    /// Returns the vertex that is wrong, if one is to blame.
    #[must_use]
    pub fn vertex(&self) -> Option<Digest> {
        match self {
            Self::NoSuchOutput { digest, .. }
            | Self::UnknownCap { digest, .. }
            | Self::Invalid { digest, .. } => Some(*digest),
            _ => None,
        }
    }
}
