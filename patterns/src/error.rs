//! What can be wrong with a pattern.

/// A pattern cannot be used; quotes what the user wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// An unfinished or empty class, a reversed range, or a backslash at the end.
    #[error("syntax error in pattern {pattern:?}")]
    Syntax {
        /// The pattern as written.
        pattern: String,
    },
    /// `!` alone takes nothing back.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclusion,
}

impl PatternError {
    /// Returns the syntax error of `pattern`.
    pub(crate) fn syntax(pattern: impl AsRef<[u8]>) -> Self {
        Self::Syntax {
            pattern: String::from_utf8_lossy(pattern.as_ref()).into_owned(),
        }
    }
}
