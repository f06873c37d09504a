//! Ordered lists of ignore-file patterns (rows FIL-16, SRC-11, FDF-47).

use regex::Regex;

use crate::PatternError;
use crate::chars::to_text;
use crate::clean::clean;
use crate::program::Program;
use crate::translate::Translation;
use crate::translate::from_go;

/// An ordered list of ignore-file patterns.
///
/// A later pattern wins over an earlier one, `!` takes back what was matched before, a match of a
/// parent directory counts for all below it, and `**` crosses `/`. Paths are relative, cleaned and
/// without a `/` at either end.
///
/// A walk hands the [`ParentMatch`] of a directory to the look-ups of its children, so that
/// each pattern is tried once per name:
///
/// ```
/// use lamina_patterns::ParentMatch;
/// use lamina_patterns::PatternList;
///
/// let list = PatternList::new(&["a", "!a/b"])?;
/// let (matched, parent) = list.matches(b"a", &ParentMatch::default());
/// assert!(matched);
/// assert!(list.matches(b"a/x", &parent).0);
/// assert!(!list.matches(b"a/b", &parent).0);
/// # Ok::<(), lamina_patterns::PatternError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PatternList {
    patterns: Vec<Pattern>,
}

/// What was found for a directory, to be handed to the look-ups of its children.
///
/// The default one knows nothing of the parents: the look-up then tries them all.
#[derive(Clone, Debug, Default)]
pub struct ParentMatch(Vec<bool>);

#[derive(Clone, Debug)]
struct Pattern {
    /// Cleaned, without `!`.
    text: String,
    /// Begins with `!`.
    exclusion: bool,
    /// Where it stands among those that were given.
    index: usize,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Exact,
    Prefix,
    Suffix,
    Regex(Regex),
}

impl PatternList {
    /// Compiles `patterns`; blank ones are left out, the others are trimmed and cleaned.
    ///
    /// # Errors
    /// [`PatternError`], with the pattern, if one is malformed.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PatternError> {
        let patterns = patterns
            .iter()
            .enumerate()
            .map(|(index, text)| (index, text.as_ref().trim()))
            .filter(|(_, text)| !text.is_empty())
            .map(|(index, text)| Pattern::new(index, text))
            .collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// Says whether there is no pattern: then nothing matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Says whether some pattern begins with `!`.
    #[must_use]
    pub fn has_exclusions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exclusion)
    }

    /// Says whether `path` matches, given the result for its parent directory, and returns the
    /// result for its own children.
    #[must_use]
    pub fn matches(&self, path: &[u8], parent: &ParentMatch) -> (bool, ParentMatch) {
        let (decided, found) = self.evaluate(path, parent);
        let matched = decided.is_some_and(|at| !self.patterns[at].exclusion);
        (matched, ParentMatch(found))
    }

    /// Says whether `path` or one of its parents matches, from the path alone.
    #[must_use]
    pub fn matches_path(&self, path: &[u8]) -> bool {
        self.matches(path, &ParentMatch::default()).0
    }

    /// Says whether something below the directory `path` may match, so that it must be walked.
    ///
    /// It may say yes where nothing does, never no where something would.
    #[must_use]
    pub fn may_match_below(&self, path: &[u8]) -> bool {
        self.reaches_below(path, false)
    }

    /// Says whether a pattern with `!` may take back something below the directory `path`, so
    /// that it must be walked although it matches.
    #[must_use]
    pub fn may_take_back_below(&self, path: &[u8]) -> bool {
        self.reaches_below(path, true)
    }

    /// Returns the index, among the patterns given to [`PatternList::new`], of the last one that
    /// decided for `path`, for messages; `None` if none applied.
    #[must_use]
    pub fn deciding(&self, path: &[u8]) -> Option<usize> {
        let (decided, _) = self.evaluate(path, &ParentMatch::default());
        decided.map(|at| self.patterns[at].index)
    }

    /// Returns which pattern decided, and for each whether it matched.
    ///
    /// A pattern that could not change the state (a plain one when matched already, an exclusion
    /// when not) is not tried and counts as not matched for the children too.
    fn evaluate(&self, path: &[u8], parent: &ParentMatch) -> (Option<usize>, Vec<bool>) {
        let mut found = vec![false; self.patterns.len()];
        let mut decided: Option<usize> = None;
        let text = to_text(path);
        for (at, pattern) in self.patterns.iter().enumerate() {
            let inherited = parent.0.get(at).copied().unwrap_or(false);
            let matched = decided.is_some_and(|at| !self.patterns[at].exclusion);
            if !inherited && pattern.exclusion != matched {
                continue;
            }
            found[at] = inherited
                || pattern.matches(&text, path)
                || parent.0.is_empty() && pattern.matches_parent(path);
            if found[at] {
                decided = Some(at);
            }
        }
        (decided, found)
    }

    fn reaches_below(&self, path: &[u8], exclusion: bool) -> bool {
        self.patterns
            .iter()
            .filter(|pattern| pattern.exclusion == exclusion)
            .any(|pattern| pattern.reaches_below(path))
    }
}

impl Pattern {
    fn new(index: usize, text: &str) -> Result<Self, PatternError> {
        let cleaned = clean(text);
        let (exclusion, text) = match cleaned.strip_prefix('!') {
            Some("") => return Err(PatternError::LoneExclusion),
            Some(rest) => (true, rest),
            None => (false, cleaned.as_str()),
        };
        // The same syntax check as Go's, whatever the translation would make of it.
        Program::new(text.as_bytes())?;
        let matcher = match Translation::new(text) {
            Translation::Exact => Matcher::Exact,
            Translation::Prefix => Matcher::Prefix,
            Translation::Suffix => Matcher::Suffix,
            Translation::Regex(go) => Matcher::Regex(
                from_go(&go)
                    .and_then(|rust| Regex::new(&rust).ok())
                    .ok_or_else(|| PatternError::syntax(text))?,
            ),
        };
        Ok(Self {
            text: text.to_owned(),
            exclusion,
            index,
            matcher,
        })
    }

    /// Says whether the path itself matches; `text` is `path` with bad bytes replaced.
    fn matches(&self, text: &str, path: &[u8]) -> bool {
        let pattern = self.text.as_bytes();
        match &self.matcher {
            Matcher::Exact => path == pattern,
            Matcher::Prefix => path.starts_with(&pattern[..pattern.len() - 2]),
            Matcher::Suffix => {
                let suffix = &pattern[2..];
                path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
            }
            Matcher::Regex(regex) => regex.is_match(text),
        }
    }

    fn matches_parent(&self, path: &[u8]) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes
            .map(|(at, _)| &path[..at])
            .any(|parent| self.matches(&to_text(parent), parent))
    }

    /// Compares the components that have no special character with those of `path`.
    fn reaches_below(&self, path: &[u8]) -> bool {
        let special = |part: &[u8]| part.iter().any(|byte| b"*?[]\\^".contains(byte));
        let mut wanted = self.text.as_bytes().split(|&byte| byte == b'/');
        for part in path
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
        {
            match wanted.next() {
                Some(plain) if special(plain) => return true,
                Some(plain) if plain != part => return false,
                // The pattern names the directory itself or one above it.
                None => return true,
                Some(_) => {}
            }
        }
        true
    }
}
