//! What can be wrong with a substitution.

use crate::expand::MAX_DEPTH;
use crate::expand::MAX_EXPANDED_BYTES;
use crate::quote::quoted;

/// Says why a text cannot be expanded; the texts are BuildKit's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// Wraps any other with the whole text.
    #[error("failed to process {}: {source}", quoted(.text))]
    In {
        /// What was to be expanded.
        text: String,
        /// What is wrong in it.
        source: Box<Self>,
    },
    /// A quote does not end.
    #[error("unexpected end of statement while looking for matching {kind}-quote")]
    OpenQuote {
        /// `single` or `double`.
        kind: &'static str,
    },
    /// A `${` does not end.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// A `${v/p` has no second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}`, `${{`, `${:`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// What follows the name is no known operator.
    #[error("unsupported modifier ({modifier}) in substitution")]
    UnsupportedModifier {
        /// The characters.
        modifier: String,
    },
    /// `${v?message}` or `${v:?message}`.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The user's text, or what is wrong with the value.
        message: String,
    },
    /// The pattern of `#`, `%` or `/`.
    #[error("invalid pattern ({pattern}) in substitution: {reason}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The values that are put in are too long together.
    #[error("the text becomes longer than {MAX_EXPANDED_BYTES} bytes")]
    TooLong,
    /// Too many substitutions inside each other.
    #[error("substitutions nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

impl ExpandError {
    pub(crate) fn while_processing(self, text: &str) -> Self {
        Self::In {
            text: text.to_owned(),
            source: Box::new(self),
        }
    }
}
