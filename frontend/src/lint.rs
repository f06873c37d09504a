//! Warnings about what is allowed but unwise (row DFL-12).
//!
//! A [`Linter`] is asked at every place where a rule could apply; it knows which rules the user
//! skips and [`Linter::findings`] returns what was found.

mod options;
mod rules;

pub use options::LintOptions;
pub use options::LintOptionsError;
pub use rules::Rule;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::lines::Lines;
use crate::syntax::comment_directive;

/// Findings that are kept; a file that breaks more rules than this is not read to the last of them.
const MAX_FINDINGS: usize = 1000;

/// Lines of one finding that are marked: an instruction may have ten thousands, and as many findings.
const MAX_MARKED_LINES: u32 = 100;

/// A rule that was broken, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// What the rule asks for.
    pub description: &'static str,
    /// Where the rule is explained; empty if nowhere.
    pub url: &'static str,
    /// What was found.
    pub message: String,
    /// Where.
    pub lines: Lines,
}

impl Finding {
    /// Returns the warning in one line, as clients list it.
    #[must_use]
    pub fn short(&self) -> String {
        format!(
            "{}: {} (line {})",
            self.rule, self.message, self.lines.first
        )
    }
}

/// Decides which rules count and collects the findings; clones collect into the same list.
#[derive(Clone, Debug)]
pub struct Linter {
    options: LintOptions,
    findings: Option<Arc<Mutex<Vec<Finding>>>>,
}

impl Linter {
    /// Returns a linter with the user's options.
    #[must_use]
    pub fn new(options: LintOptions) -> Self {
        Self {
            options,
            findings: Some(Arc::default()),
        }
    }

    /// Returns a linter that keeps nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            options: LintOptions::default(),
            findings: None,
        }
    }

    /// Returns a linter that also follows a `check=..` among the comments above an instruction.
    #[must_use]
    pub fn with_comments(&self, comments: &[String]) -> Self {
        let mut linter = self.clone();
        let mut checks = comments
            .iter()
            .filter_map(|line| comment_directive(line, "check"));
        if let Some(Ok(options)) = checks.next().map(|text| LintOptions::parse(&text)) {
            linter.options.merge(options);
        }
        linter
    }

    /// Says whether nothing more is kept, so that nothing needs to be looked for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.findings.as_ref().is_none_or(|findings| {
            let findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
            findings.len() >= MAX_FINDINGS
        })
    }

    /// Notes that `rule` was broken, if it counts.
    pub fn report(&self, rule: Rule<'_>, lines: Lines) {
        let Some(findings) = &self.findings else {
            return;
        };
        if !self.options.applies(rule.name(), rule.is_experimental()) {
            return;
        }
        let finding = Finding {
            rule: rule.name(),
            description: rule.description(),
            url: rule.url(),
            message: rule.to_string(),
            lines: Lines::new(
                lines.first,
                lines.last.min(lines.first + MAX_MARKED_LINES - 1),
            ),
        };
        let mut findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
        if findings.len() < MAX_FINDINGS {
            findings.push(finding);
        }
    }

    /// Returns what was found, in order.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let list = self.findings.as_ref();
        list.map(|list| list.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }

    /// Returns the names of the broken rules if the user wants them to fail the build.
    #[must_use]
    pub fn violations(&self) -> Option<String> {
        let found = self.findings();
        if !self.options.fail || found.is_empty() {
            return None;
        }
        let names: BTreeSet<&str> = found.iter().map(|finding| finding.rule).collect();
        Some(names.into_iter().collect::<Vec<_>>().join(", "))
    }
}
