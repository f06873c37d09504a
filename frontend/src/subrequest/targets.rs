//! `frontend.targets`: which stages can be built (row FDF-29).

use serde::Serialize;

use super::Answer;
use super::location::Bytes;
use super::location::Location;
use super::table::Table;
use crate::error::Result;
use crate::error::lift;
use crate::instructions;
use crate::instructions::Stage;
use crate::lint::Linter;
use crate::syntax;

/// The stages, in the order of the file; variables are still in their bases and platforms.
#[derive(Debug, Serialize)]
pub(crate) struct Targets {
    /// `null` if the file has none.
    targets: Option<Vec<Target>>,
    /// The file.
    sources: [Bytes; 1],
}

#[derive(Debug, Serialize)]
struct Target {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    /// It is what is built if no stage is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    base: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    platform: String,
    location: Location,
}

impl Targets {
    /// Lists the stages of a Dockerfile.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn of(text: &str) -> Result<Self> {
        let file = syntax::parse(text).map_err(lift)?;
        let parts = instructions::stages(&file, &Linter::silent()).map_err(lift)?;
        let last = parts.stages.len().saturating_sub(1);
        let target = |(index, stage)| Target::new(stage, index == last);
        let targets: Vec<_> = parts.stages.into_iter().enumerate().map(target).collect();
        Ok(Self {
            targets: (!targets.is_empty()).then_some(targets),
            sources: [Bytes::new(text.as_bytes())],
        })
    }
}

impl Target {
    fn new(stage: Stage, default: bool) -> Self {
        Self {
            default,
            description: stage.description,
            base: stage.base,
            platform: stage.platform,
            location: Location::of(stage.origin.lines),
            name: stage.name,
        }
    }

    /// Returns the name as people read it.
    fn shown_name(&self) -> String {
        match (self.name.as_str(), self.default) {
            (name, false) => name.to_owned(),
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
        }
    }
}

impl Answer for Targets {
    fn text(&self) -> String {
        let mut table = Table::new(1);
        table.row(["TARGET", "DESCRIPTION"]);
        for target in self.targets.iter().flatten() {
            table.row([target.shown_name().as_str(), &target.description]);
        }
        table.to_string()
    }
}
