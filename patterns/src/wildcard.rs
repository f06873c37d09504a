//! Single patterns with the rules of Go's `filepath.Match` (row FIL-14).

use globset::GlobBuilder;
use globset::GlobMatcher;

use crate::PatternError;
use crate::program::Program;

/// Says whether `text` has any of `*`, `?`, `[` behind no backslash, so that it is a pattern.
///
/// A text with nothing but backslash escapes is a plain name that is taken as it stands.
#[must_use]
pub fn is_wildcard(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// One pattern with the rules of Go's `filepath.Match`: it matches the whole text, and `*` and `?`
/// never match `/`.
///
/// ```
/// use lamina_patterns::Wildcard;
///
/// let pattern = Wildcard::new(b"img-[0-9]?.{png}")?;
/// assert!(pattern.matches(b"img-4x.{png}"));
/// assert!(Wildcard::new(b"[a-").is_err());
/// # Ok::<(), lamina_patterns::PatternError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Wildcard(Matcher);

#[derive(Clone, Debug)]
enum Matcher {
    /// Literals and stars, as one automaton by way of globset.
    Glob(GlobMatcher),
    /// All others.
    Program(Program),
}

impl Wildcard {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// [`PatternError::Syntax`] wherever Go has `ErrBadPattern`: `[`, `[]a]`, `[a-]`, a `\` at the
    /// end.
    pub fn new(pattern: &[u8]) -> Result<Self, PatternError> {
        let program = Program::new(pattern)?;
        let glob = program.to_glob().and_then(|glob| {
            GlobBuilder::new(&glob)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .ok()
        });
        Ok(Self(match glob {
            Some(glob) => Matcher::Glob(glob.compile_matcher()),
            None => Matcher::Program(program),
        }))
    }

    /// Says whether all of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.0 {
            Matcher::Glob(glob) => glob.is_match(as_path(text)),
            Matcher::Program(program) => program.matches(text),
        }
    }
}

fn as_path(text: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(text))
}
