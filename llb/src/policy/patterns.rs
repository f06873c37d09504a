//! Patterns of rules, compiled once for all the sources of a definition.
//!
//! Compiling costs far more than matching, and a definition may have as many sources as rules look
//! at. But what is compiled takes memory, and rules come from anybody: only so many are kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex::Regex;
use regex::RegexBuilder;

use super::PolicyError;

/// Patterns that are kept; further ones are compiled whenever they are needed.
const MAX_KEPT: usize = 256;
/// Bytes that one compiled pattern may take.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// A compiled pattern; copies share it.
pub(super) type Pattern = Rc<Regex>;

/// The patterns that were needed so far, by the regular expression that each is.
#[derive(Default)]
pub(super) struct Patterns(RefCell<HashMap<String, Pattern>>);

impl Patterns {
    /// Compiles a regular expression.
    pub(super) fn regex(&self, text: &str) -> Result<Pattern, PolicyError> {
        self.compile(text, text)
    }

    /// Compiles a wildcard: `*` matches anything, and what it matched is a group; everything else
    /// is literal.
    pub(super) fn wildcard(&self, text: &str) -> Result<Pattern, PolicyError> {
        if text.contains("**") {
            return Err(PolicyError::Pattern {
                pattern: text.to_owned(),
                reason: "invalid wildcard: \"**\"".to_owned(),
            });
        }
        let literals: Vec<String> = text.split('*').map(regex::escape).collect();
        self.compile(text, &format!("(?s)^{}$", literals.join("(.*)")))
    }

    fn compile(&self, text: &str, expression: &str) -> Result<Pattern, PolicyError> {
        if let Some(known) = self.0.borrow().get(expression) {
            return Ok(Rc::clone(known));
        }
        let compiled = RegexBuilder::new(expression)
            .size_limit(MAX_COMPILED_BYTES)
            .dfa_size_limit(MAX_COMPILED_BYTES)
            .build();
        let compiled = compiled.map_err(|error| PolicyError::Pattern {
            pattern: text.to_owned(),
            reason: error.to_string(),
        })?;
        let compiled = Rc::new(compiled);
        let mut kept = self.0.borrow_mut();
        if kept.len() < MAX_KEPT {
            kept.insert(expression.to_owned(), Rc::clone(&compiled));
        }
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_compiled_once_and_few_are_kept() {
        let patterns = Patterns::default();
        let first = patterns.regex("^a$").expect("a pattern");
        let again = patterns.regex("^a$").expect("a pattern");
        assert!(Rc::ptr_eq(&first, &again));
        for at in 0..2 * MAX_KEPT {
            let pattern = patterns.wildcard(&format!("{at}*")).expect("a pattern");
            assert!(pattern.is_match(&format!("{at} and more")));
        }
        assert_eq!(patterns.0.borrow().len(), MAX_KEPT);
    }

    #[test]
    fn patterns_that_take_too_much_memory_are_refused() {
        let error = Patterns::default().regex(r"(\w{1000}){1000}");
        let error = error.expect_err("too large").to_string();
        assert!(error.contains("size limit"), "{error}");
    }

    #[test]
    fn wildcards_match_any_text() {
        let all = Patterns::default().wildcard("*").expect("a pattern");
        assert!(all.is_match("docker-image://a\nb"));
    }
}
