//! Text to syntax tree.
//!
//! [`parse`] cuts a Dockerfile into [`Node`]s: one for each instruction, with its flags, its
//! arguments in the form that the instruction's grammar asks for, its here-documents and its
//! lines. Nothing is expanded, and no instruction is checked beyond its form (rows DFL-01, DFL-02).
//!
//! ```
//! # use lamina_frontend::syntax;
//! let file = syntax::parse("FROM scratch\nENV A=1 \\\n  B=2\n")?;
//! assert_eq!(file.nodes[1].keyword, "ENV");
//! assert_eq!(file.nodes[1].lines.last, 3);
//! # Ok::<(), lamina_frontend::Located<syntax::SyntaxError>>(())
//! ```

mod arguments;
mod directives;
mod error;
mod flags;
mod heredoc;
mod json;
mod parser;
mod source;
mod words;

pub use directives::Directive;
pub use directives::check_directive;
pub use directives::comment_directive;
pub use directives::syntax_directive;
pub use error::SyntaxError;
pub use heredoc::Heredoc;
pub use heredoc::heredoc_word;
pub use heredoc::strip_leading_tabs;
pub use parser::parse;

use crate::lines::Lines;

/// The longest line, its line feed not counted; what BuildKit's scanner takes.
pub const MAX_LINE_BYTES: usize = 65535;

/// The most instructions: the engine takes no more steps in one definition. Each takes a thousand bytes
/// once it is read, however short it is.
pub const MAX_INSTRUCTIONS: usize = 100_000;

/// A Dockerfile, cut into instructions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dockerfile {
    /// The instructions, in order; at least one.
    pub nodes: Vec<Node>,
    /// The character that escapes and continues lines: backslash or backtick.
    pub escape: char,
    /// The last lines of instructions that have an empty line inside a continuation.
    pub empty_continuations: Vec<u32>,
}

/// One instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// The instruction's name as written.
    pub keyword: String,
    /// Words that start with `--`, before the arguments.
    pub flags: Vec<String>,
    /// What follows.
    pub arguments: Arguments,
    /// Here-documents, in the order of their words.
    pub heredocs: Vec<Heredoc>,
    /// The whole instruction on one line, continuations joined and comments left out.
    pub original: String,
    /// Where it stands, here-documents included.
    pub lines: Lines,
    /// The comments right above it, without `#`.
    pub comments: Vec<String>,
}

/// The arguments of an instruction, in the form that its grammar gives them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arguments {
    /// Words, or a single text for the instructions that take a whole line.
    Words(Vec<String>),
    /// A JSON array of strings.
    Json(Vec<String>),
    /// `key=value` pairs, or one of the old form `key value`.
    Pairs(Vec<Pair>),
    /// The instruction inside an `ONBUILD`.
    Trigger(Box<Node>),
}

impl Arguments {
    /// Says whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Words(list) | Self::Json(list) => list.is_empty(),
            Self::Pairs(list) => list.is_empty(),
            Self::Trigger(_) => false,
        }
    }

    /// Says whether they were written as a JSON array.
    #[must_use]
    pub fn is_json(&self) -> bool {
        matches!(self, Self::Json(_))
    }

    /// Returns the words or strings; none for the other forms.
    #[must_use]
    pub fn list(&self) -> &[String] {
        match self {
            Self::Words(list) | Self::Json(list) => list,
            Self::Pairs(_) | Self::Trigger(_) => &[],
        }
    }
}

/// A key and its value, quotes and variables still in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Before the delimiter.
    pub key: String,
    /// After it.
    pub value: String,
    /// Written in the old form, with a blank as the delimiter.
    pub legacy: bool,
}

#[cfg(test)]
mod tests;
