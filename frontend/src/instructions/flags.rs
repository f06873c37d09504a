//! Reading an instruction's flags against those that it has (row DFL-06).

use std::collections::BTreeMap;

use crate::instructions::InstructionError;
use crate::suggest::Case;
use crate::suggest::Suggestion;

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlagKind {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// A value.
    Value,
    /// A value, any number of times.
    List,
}

/// The flags that were given.
#[derive(Debug, Default)]
pub(crate) struct Flags(BTreeMap<String, Vec<String>>);

impl Flags {
    /// Reads `words` against the `known` flags.
    pub(crate) fn parse(
        words: &[String],
        known: &[(&'static str, FlagKind)],
    ) -> Result<Self, InstructionError> {
        let mut flags = Self::default();
        for word in words {
            if word == "--" {
                break;
            }
            flags.add(word, known)?;
        }
        Ok(flags)
    }

    fn add(
        &mut self,
        word: &str,
        known: &[(&'static str, FlagKind)],
    ) -> Result<(), InstructionError> {
        let Some(flag) = word.strip_prefix("--") else {
            return Err(InstructionError::NotAFlag {
                word: word.to_owned(),
            });
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let Some((_, kind)) = known.iter().find(|(known, _)| *known == name) else {
            let names = known.iter().map(|(name, _)| *name);
            return Err(InstructionError::UnknownFlag {
                name: name.to_owned(),
                suggestion: Suggestion::nearest(name, names, Case::Sensitive),
            });
        };
        if *kind != FlagKind::List && self.0.contains_key(name) {
            return Err(InstructionError::RepeatedFlag {
                name: name.to_owned(),
            });
        }
        let value = checked(name, value, *kind)?;
        self.0.entry(name.to_owned()).or_default().push(value);
        Ok(())
    }

    /// Returns the value of a flag; `None` if it was not given.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    /// Returns the value of a flag, empty if it was not given.
    pub(crate) fn text(&self, name: &str) -> String {
        self.value(name).unwrap_or_default().to_owned()
    }

    /// Returns the state of a switch; `None` if it was not given.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        self.value(name).map(|value| value == "true")
    }

    /// Returns the values of a list.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }
}

fn checked(name: &str, value: Option<&str>, kind: FlagKind) -> Result<String, InstructionError> {
    let missing = || InstructionError::MissingFlagValue {
        name: name.to_owned(),
    };
    if kind != FlagKind::Switch {
        return value.map(str::to_owned).ok_or_else(missing);
    }
    match value.map(str::to_lowercase).as_deref() {
        Some("") => Err(missing()),
        None | Some("true") => Ok("true".to_owned()),
        Some("false") => Ok("false".to_owned()),
        Some(_) => Err(InstructionError::NotBoolean {
            name: name.to_owned(),
            value: value.unwrap_or_default().to_owned(),
        }),
    }
}
