//! `check=skip=A,B;error=true;experimental=all` (rows DFL-01, FDF-37).

use std::collections::BTreeSet;

use crate::instructions::parse_bool;
use crate::quote::quoted;

/// Which rules count, and whether a broken one fails the build.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LintOptions {
    skip: Selection,
    experimental: Selection,
    /// Broken rules fail the build.
    pub fail: bool,
}

/// Some rules, or all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Selection {
    all: bool,
    names: BTreeSet<String>,
}

/// Says why options are refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LintOptionsError {
    /// No such option.
    #[error("invalid check option {}", quoted(.option))]
    Unknown {
        /// What was given.
        option: String,
    },
    /// `error` with something else than true or false.
    #[error("failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax", quoted(.option), quoted(.value))]
    NotBoolean {
        /// The whole option.
        option: String,
        /// Its value.
        value: String,
    },
}

impl LintOptions {
    /// Reads options; an empty text gives the default ones.
    ///
    /// # Errors
    /// For unknown options and bad values.
    pub fn parse(text: &str) -> Result<Self, LintOptionsError> {
        let mut options = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(options);
        }
        for option in text.splitn(3, ';') {
            let Some((key, value)) = option.split_once('=') else {
                return Err(unknown(option));
            };
            let value = value.trim();
            match key.trim() {
                "skip" => options.skip = Selection::parse(value),
                "experimental" => options.experimental = Selection::parse(value),
                "error" => {
                    options.fail =
                        parse_bool(value).ok_or_else(|| LintOptionsError::NotBoolean {
                            option: option.to_owned(),
                            value: value.to_owned(),
                        })?;
                }
                key => return Err(unknown(key)),
            }
        }
        Ok(options)
    }

    /// Adds the rules that `other` names.
    pub(crate) fn merge(&mut self, other: Self) {
        self.skip.merge(other.skip);
        self.experimental.merge(other.experimental);
    }

    pub(crate) fn applies(&self, rule: &str, experimental: bool) -> bool {
        if experimental {
            self.experimental.contains(rule)
        } else {
            !self.skip.contains(rule)
        }
    }
}

fn unknown(option: &str) -> LintOptionsError {
    LintOptionsError::Unknown {
        option: option.to_owned(),
    }
}

impl Selection {
    fn parse(value: &str) -> Self {
        if value == "all" {
            return Self {
                all: true,
                names: BTreeSet::new(),
            };
        }
        Self {
            all: false,
            names: value
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect(),
        }
    }

    fn contains(&self, rule: &str) -> bool {
        self.all || self.names.contains(rule)
    }

    fn merge(&mut self, other: Self) {
        self.all |= other.all;
        self.names.extend(other.names);
    }
}
