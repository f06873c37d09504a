//! The rules that need more than one node (row DFL-12).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use lamina_types::Platform;
use regex::Regex;

use crate::convert::args::Arguments;
use crate::env::Env;
use crate::expand::Lexer;
use crate::instructions::Origin;
use crate::instructions::Stage;
use crate::lines::Lines;
use crate::lint::Linter;
use crate::lint::Rule;
use crate::platform::format_all;
use crate::reference::ImageName;
use crate::suggest::Case;
use crate::suggest::Suggestion;

/// Remembers the last instruction of a kind that only counts once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tracker(Option<Lines>);

impl Tracker {
    /// Says whether there was one.
    pub(crate) fn is_set(self) -> bool {
        self.0.is_some()
    }

    /// Takes the next one, and reports the one before.
    pub(crate) fn mark(&mut self, origin: &Origin, linter: &Linter) {
        if let Some(lines) = self.0.replace(origin.lines) {
            let keyword = &origin.keyword;
            linter.report(Rule::MultipleInstructionsDisallowed { keyword }, lines);
        }
    }
}

/// Reports reserved and repeated stage names.
pub(super) fn stage_names(stages: &[Stage], linter: &Linter) {
    let mut seen = BTreeSet::new();
    for stage in stages.iter().filter(|stage| !stage.name.is_empty()) {
        let name = &stage.name;
        if ["context", "scratch"].contains(&name.as_str()) {
            linter.report(Rule::ReservedStageName { name }, stage.origin.lines);
        }
        if !seen.insert(name) {
            linter.report(Rule::DuplicateStageName { name }, stage.origin.lines);
        }
    }
}

/// Reports instructions that are not written as most are: in lower or upper case.
pub(super) fn keyword_casing(stages: &[Stage], linter: &Linter) {
    let origins: Vec<&Origin> = stages.iter().flat_map(origins).collect();
    let is_lower = |word: &str| word == word.to_lowercase();
    let is_upper = |word: &str| word == word.to_uppercase();
    let lower = origins
        .iter()
        .filter(|origin| is_lower(&origin.keyword))
        .count();
    let upper = origins
        .iter()
        .filter(|origin| is_upper(&origin.keyword) && !is_lower(&origin.keyword))
        .count();
    let mostly_lower = lower > upper;
    for origin in origins {
        let keyword = &origin.keyword;
        let wanted = match mostly_lower {
            true if !is_lower(keyword) => "lowercase",
            false if !is_upper(keyword) => "uppercase",
            _ => continue,
        };
        linter.report(
            Rule::ConsistentInstructionCasing { keyword, wanted },
            origin.lines,
        );
    }
}

fn origins(stage: &Stage) -> impl Iterator<Item = &Origin> {
    let rest = stage
        .instructions
        .iter()
        .map(|instruction| &instruction.origin);
    std::iter::once(&stage.origin).chain(rest)
}

/// Reports bases that are no image name if no build argument is given.
pub(super) fn default_bases(stages: &[Stage], lexer: &Lexer, env: &Env, linter: &Linter) {
    for stage in stages {
        let Ok(base) = lexer.expand(&stage.base, env).text else {
            return;
        };
        if ImageName::parse(&base).is_err() {
            let base = &stage.base;
            linter.report(Rule::InvalidDefaultArgInFrom { base }, stage.origin.lines);
        }
    }
}

/// Reports variables that are not set, except arguments without a value.
pub(super) fn undefined_variables(
    missing: &BTreeSet<String>,
    declared: &Arguments,
    env: &Env,
    lines: Lines,
    linter: &Linter,
) {
    if linter.is_full() {
        return;
    }
    for name in missing {
        if declared.contains(name) || super::args::is_hidden(name) {
            continue;
        }
        let nearest = Suggestion::nearest(name, env.names(), Case::Sensitive);
        let suggestion = nearest.word();
        linter.report(Rule::UndefinedVar { name, suggestion }, lines);
    }
}

/// Reports a base image for another platform (row DFL-13).
pub(super) fn base_platform(
    image: &str,
    expected: &Platform,
    actual: &Platform,
    lines: Option<Lines>,
    linter: &Linter,
) {
    let same = expected.os == actual.os && expected.architecture == actual.architecture;
    let Some(lines) = lines.filter(|_| !same) else {
        return;
    };
    let (expected, actual) = (format_all(expected), format_all(actual));
    let (expected, actual) = (expected.as_str(), actual.as_str());
    linter.report(
        Rule::InvalidBaseImagePlatform {
            image,
            expected,
            actual,
        },
        lines,
    );
}

static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    let words = "apikey|auth|credential|credentials|key|password|pword|passwd|secret|token";
    Regex::new(&format!("(?i)(?:_|^)(?:{words})(?:_|$)")).expect("the pattern is constant")
});

static NOT_SECRET: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("(?i)(?:_|^)(?:public|file|version)(?:_|$)").expect("the pattern is constant")
});

/// Reports names that promise a secret, which everyone who has the image could read.
pub(super) fn secret_name(keyword: &str, name: &str, lines: Lines, linter: &Linter) {
    if SECRET.is_match(name) && !NOT_SECRET.is_match(name) {
        linter.report(Rule::SecretsUsedInArgOrEnv { keyword, name }, lines);
    }
}
