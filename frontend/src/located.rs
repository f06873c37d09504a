//! Errors with the lines that they are about.

use std::fmt;

use crate::lines::Lines;

/// An error and where in the Dockerfile it is, innermost place first; no place where the problem
/// is not in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located<E> {
    /// What is wrong.
    pub error: Box<E>,
    /// Where.
    pub places: Vec<Lines>,
}

impl<E> Located<E> {
    /// Wraps an error that has no place.
    pub fn nowhere(error: E) -> Self {
        Self {
            error: Box::new(error),
            places: Vec::new(),
        }
    }

    /// Wraps an error at `lines`.
    pub fn at(error: E, lines: Lines) -> Self {
        Self {
            error: Box::new(error),
            places: vec![lines],
        }
    }

    /// Adds a further place.
    #[must_use]
    pub fn also_at(mut self, lines: Lines) -> Self {
        self.places.push(lines);
        self
    }

    /// Turns the error into another type, at the same place.
    pub fn map<F>(self, into: impl FnOnce(E) -> F) -> Located<F> {
        Located {
            error: Box::new(into(*self.error)),
            places: self.places,
        }
    }
}

impl<E: fmt::Display> fmt::Display for Located<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<E: std::error::Error> std::error::Error for Located<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
