//! `frontend.outline`: what the target can be given (row FDF-28).

use serde::Serialize;

use super::Answer;
use super::location::Bytes;
use super::location::Location;
use super::table::Table;
use crate::lines::Lines;

/// The target's parameters, those of the stages that it needs included.
#[derive(Debug, Serialize)]
pub(crate) struct Outline {
    /// The target's name; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// What a comment above says of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// In the order of the file, as are the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<OutlineArgument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) secrets: Vec<OutlineMount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ssh: Vec<OutlineMount>,
    sources: [Bytes; 1],
}

/// An `ARG`.
#[derive(Debug, Serialize)]
pub(crate) struct OutlineArgument {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
    location: Location,
}

/// A secret or an agent, where it is asked for first.
#[derive(Debug, Serialize)]
pub(crate) struct OutlineMount {
    name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

impl Outline {
    /// Returns an outline without parameters.
    pub(crate) fn new(name: &str, description: &str, file: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            args: Vec::new(),
            secrets: Vec::new(),
            ssh: Vec::new(),
            sources: [Bytes::new(file)],
        }
    }

    fn header(&self) -> String {
        if self.name.is_empty() && self.description.is_empty() {
            return String::new();
        }
        let name = match self.name.as_str() {
            "" => "(default)",
            name => name,
        };
        let mut table = Table::new(1);
        table.row(["TARGET:", name]);
        if !self.description.is_empty() {
            table.row(["DESCRIPTION:", &self.description]);
        }
        format!("{table}\n")
    }

    fn arguments(&self) -> String {
        if self.args.is_empty() {
            return String::new();
        }
        let mut table = Table::new(3);
        table.row(["BUILD ARG", "VALUE", "DESCRIPTION"]);
        for argument in &self.args {
            table.row([
                argument.name.as_str(),
                &argument.value,
                &argument.description,
            ]);
        }
        format!("{table}\n")
    }
}

impl OutlineArgument {
    pub(crate) fn new(name: &str, value: &str, description: &str, lines: Lines) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            value: value.to_owned(),
            location: Location::of(lines),
        }
    }
}

impl OutlineMount {
    pub(crate) fn new(name: &str, required: bool, lines: Lines) -> Self {
        Self {
            name: name.to_owned(),
            required,
            location: Location::of(lines),
        }
    }
}

fn mounts(title: &str, mounts: &[OutlineMount]) -> String {
    if mounts.is_empty() {
        return String::new();
    }
    let mut table = Table::new(3);
    table.row([title, "REQUIRED"]);
    for mount in mounts {
        let required = if mount.required { "true" } else { "" };
        table.row([mount.name.as_str(), required]);
    }
    format!("{table}\n")
}

impl Answer for Outline {
    fn text(&self) -> String {
        let secrets = mounts("SECRET", &self.secrets);
        let agents = mounts("SSH", &self.ssh);
        [self.header(), self.arguments(), secrets, agents].concat()
    }
}
