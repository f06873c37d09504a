//! The patterns of `#`, `%` and `/`: `*`, `?` and escapes; no brackets.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;

use regex::Regex;

use crate::expand::ExpandError;

/// The last patterns that were compiled, which takes longer than all else in an instruction: each is
/// expanded several times, and a file tends to have the same ones again.
static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

/// Patterns that are remembered at once.
const REMEMBERED: usize = 64;

/// Longer ones are not remembered: compiled, they can take a thousand times as much.
const REMEMBERED_BYTES: usize = 128;

/// A pattern, ready to be matched.
pub(crate) struct ShellPattern(Regex);

impl ShellPattern {
    /// Returns a pattern that matches at the start, as little or as much as it can.
    pub(crate) fn prefix(pattern: &str, greedy: bool) -> Result<Self, ExpandError> {
        Self::compile(pattern, "^", if greedy { ".*" } else { ".*?" })
    }

    /// Returns a pattern that matches anywhere, as much as it can.
    pub(crate) fn anywhere(pattern: &str) -> Result<Self, ExpandError> {
        Self::compile(pattern, "", ".*")
    }

    fn compile(pattern: &str, anchor: &str, star: &str) -> Result<Self, ExpandError> {
        let bad = |reason: String| ExpandError::BadPattern {
            pattern: pattern.to_owned(),
            reason,
        };
        let source = translate(pattern, anchor, star).map_err(bad)?;
        let regex = compiled(source).map_err(|error| bad(error.to_string()))?;
        Ok(Self(regex))
    }

    /// Returns `value` without the match at its start.
    pub(crate) fn cut<'a>(&self, value: &'a str) -> &'a str {
        self.0
            .find(value)
            .map_or(value, |found| &value[found.end()..])
    }

    /// Puts `replacement` in for the first match, or for all.
    ///
    /// In "all" `$1` and the like in the replacement are empty, as there are no groups.
    pub(crate) fn replace(&self, value: &str, replacement: &str, all: bool) -> String {
        if all {
            return self.0.replace_all(value, replacement).into_owned();
        }
        self.0
            .replacen(value, 1, regex::NoExpand(replacement))
            .into_owned()
    }
}

fn compiled(source: String) -> Result<Regex, regex::Error> {
    if source.len() > REMEMBERED_BYTES {
        return Regex::new(&source);
    }
    let lock = || COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = lock().get(&source).cloned();
    if let Some(regex) = known {
        return Ok(regex);
    }
    let regex = Regex::new(&source)?;
    let mut known = lock();
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(source, regex.clone());
    Ok(regex)
}

fn translate(pattern: &str, anchor: &str, star: &str) -> Result<String, String> {
    let mut out = anchor.to_owned();
    let mut chars = pattern.chars().peekable();
    while let Some(ch) = chars.next() {
        match ch {
            '*' => out.push_str(star),
            '?' => out.push('.'),
            // The brace and the slash are escaped for the sake of `${}`, not of the pattern.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
            '\\' => out.push_str(&escaped(chars.next())?),
            ch => out.push_str(&regex::escape(ch.encode_utf8(&mut [0; 4]))),
        }
    }
    Ok(out)
}

fn escaped(ch: Option<char>) -> Result<String, String> {
    match ch {
        Some(ch @ ('*' | '?' | '\\')) => Ok(format!("\\{ch}")),
        other => Err(format!(
            "invalid escape '\\{}'",
            other.unwrap_or('\u{fffd}')
        )),
    }
}
