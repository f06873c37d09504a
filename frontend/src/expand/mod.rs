//! Variables and quotes in words (row DFL-03).
//!
//! A [`Lexer`] resolves quotes and escapes as a shell does and puts in the values of `$v`, `${v}`
//! and the forms `${v:-w}`, `${v-w}`, `${v:+w}`, `${v+w}`, `${v:?w}`, `${v?w}`, `${v#p}`,
//! `${v##p}`, `${v%p}`, `${v%%p}`, `${v/p/r}` and `${v//p/r}`.
//!
//! ```
//! # use lamina_frontend::expand::Lexer;
//! # use lamina_frontend::env::Env;
//! let env: Env = [("v", "1.2.3")].into_iter().collect();
//! let result = Lexer::new('\\').expand("'$v' ${v%.*}", &env);
//! assert_eq!(result.text?, "$v 1.2");
//! # Ok::<(), lamina_frontend::expand::ExpandError>(())
//! ```

mod error;
mod pattern;
mod scan;
mod substitute;
mod words;

use std::collections::BTreeSet;

pub use error::ExpandError;

use crate::env::Env;
use crate::expand::scan::Scan;

/// Substitutions inside substitutions deeper than this are refused.
pub const MAX_DEPTH: u32 = 100;

/// Texts that become longer than this are refused: values can be put in many times over.
pub const MAX_EXPANDED_BYTES: usize = 16 << 20;

/// How words are read. Options are set by chaining.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lexer {
    escape: char,
    raw_quotes: bool,
    raw_escapes: bool,
    ignore_quotes: bool,
    keep_unset: bool,
}

/// The outcome of an expansion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expansion {
    /// The text with everything put in.
    pub text: Result<String, ExpandError>,
    /// The text cut at blanks outside of quotes.
    pub words: Vec<String>,
    /// Variables that were used and are set.
    pub found: BTreeSet<String>,
    /// Variables that were used and are not, up to the error if there is one.
    pub missing: BTreeSet<String>,
}

impl Lexer {
    /// Returns a lexer with the given escape character, backslash or backtick.
    #[must_use]
    pub fn new(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            ignore_quotes: false,
            keep_unset: false,
        }
    }

    /// Leaves quotes in the text.
    #[must_use]
    pub fn raw_quotes(mut self) -> Self {
        self.raw_quotes = true;
        self
    }

    /// Leaves escape characters in the text.
    #[must_use]
    pub fn raw_escapes(mut self) -> Self {
        self.raw_escapes = true;
        self
    }

    /// Gives quotes no meaning, as inside here-documents.
    #[must_use]
    pub fn ignore_quotes(mut self) -> Self {
        self.ignore_quotes = true;
        self
    }

    /// Leaves variables that are not set as they are written.
    #[must_use]
    pub fn keep_unset(mut self) -> Self {
        self.keep_unset = true;
        self
    }

    /// Expands `text` with the variables of `env`.
    #[must_use]
    pub fn expand(&self, text: &str, env: &Env) -> Expansion {
        let mut scan = Scan::new(text, self, env);
        let result = scan.until(None, self.raw_escapes);
        let (text, words) = match result {
            Ok((text, words)) => (Ok(text), words),
            Err(error) => (Err(error.while_processing(text)), Vec::new()),
        };
        Expansion {
            text,
            words,
            found: scan.found,
            missing: scan.missing,
        }
    }

    /// Expands `text` and returns its words.
    ///
    /// # Errors
    /// As [`Self::expand`].
    pub fn words(&self, text: &str, env: &Env) -> Result<Vec<String>, ExpandError> {
        let expansion = self.expand(text, env);
        expansion.text.map(|_| expansion.words)
    }
}

#[cfg(test)]
mod tests;
