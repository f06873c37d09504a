//! What a build warns of, and where in the user's files.

use std::sync::Arc;

/// A warning for the user (row CSTA-13).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Warning {
    /// How serious it is: 1 is a warning, larger is less.
    pub level: i64,
    /// One line.
    pub short: String,
    /// More, in lines.
    pub detail: Vec<String>,
    /// Where it is explained.
    pub url: String,
    /// The file that it is about.
    pub file: Option<Arc<SourceFile>>,
    /// Which lines of the file.
    pub ranges: Vec<SourceRange>,
}

impl Warning {
    /// Makes a warning of one line.
    #[must_use]
    pub fn of(short: impl Into<String>) -> Self {
        Self {
            level: 1,
            short: short.into(),
            ..Self::default()
        }
    }
}

/// One of the user's files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SourceFile {
    /// As the user calls it.
    pub filename: String,
    /// What it is written in.
    pub language: String,
    /// Its content.
    pub data: Vec<u8>,
    /// The encoded definition that it was read from; empty if none.
    pub definition: Vec<u8>,
}

/// A part of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourceRange {
    /// Where it begins.
    pub start: Position,
    /// Where it ends.
    pub end: Position,
}

/// A place in a file; lines count from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the field's own words")]
pub struct Position {
    pub line: i32,
    pub character: i32,
}
