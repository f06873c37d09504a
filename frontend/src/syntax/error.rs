//! What can be wrong with the text of a Dockerfile.

use crate::expand::ExpandError;
use crate::syntax::MAX_INSTRUCTIONS;
use crate::syntax::MAX_LINE_BYTES;

/// Says why a text is not a Dockerfile. The texts are BuildKit's; clients match some of them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxError {
    /// Nothing at all.
    #[error("the Dockerfile cannot be empty")]
    Empty,
    /// Only comments and blank lines.
    #[error("file with no instructions")]
    NoInstructions,
    /// An `escape` directive with something else than backslash or backtick.
    #[error("invalid escape token '{token}' does not match ` or \\")]
    BadEscape {
        /// What was given.
        token: String,
    },
    /// A directive was given twice.
    #[error("only one {name} parser directive can be used")]
    RepeatedDirective {
        /// Which.
        name: String,
    },
    /// A line is longer than is read.
    #[error("dockerfile line greater than max allowed size of {MAX_LINE_BYTES}")]
    LineTooLong,
    /// There are more instructions than are read.
    #[error("more than {MAX_INSTRUCTIONS} instructions")]
    TooManyInstructions,
    /// The file ends inside a here-document.
    #[error("unterminated heredoc")]
    UnterminatedHeredoc,
    /// A here-document's word cannot be read.
    #[error(transparent)]
    HeredocWord(#[from] ExpandError),
    /// A JSON array with something else than strings in it.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotOnlyStrings,
    /// The old form of `ENV` or `LABEL` without a value.
    #[error("{keyword} must have two arguments")]
    MissingValue {
        /// Which of them.
        keyword: &'static str,
    },
    /// A word without `=` where `name=value` is wanted.
    #[error("Syntax error - can't find = in {}. Must be of the form: name=value", crate::quote::quoted(.word))]
    MissingEquals {
        /// The word.
        word: String,
    },
}
