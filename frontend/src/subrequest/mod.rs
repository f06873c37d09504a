//! Questions about a Dockerfile that are answered without building it (rows FDF-27 to FDF-30).
//!
//! A client asks by the option `requestid`. The answer has no tree, only metadata, which the client
//! prints or parses:
//!
//! | key | |
//! |---|---|
//! | `result.json` | for programs |
//! | `result.txt` | the same for people |
//! | `version` | of the form of both |
//! | `result.statuscode` | of `frontend.lint`: what the client's process ends with |
//!
//! Each question has a module with the form of its answer; where the facts come from is another
//! matter: `convert` finds them on the way to a definition that nobody solves.

mod describe;
mod excerpt;
mod lint;
mod location;
mod outline;
mod table;
mod targets;

use lamina_llb::BuildResult;
use serde::Serialize;

pub(crate) use lint::LintReport;
pub(crate) use outline::Outline;
pub(crate) use outline::OutlineArgument;
pub(crate) use outline::OutlineMount;
pub(crate) use targets::Targets;

use crate::error::FrontendError;
use crate::error::Result;
use crate::options::OptionsError;

/// The version of all answers' forms.
const VERSION: &str = "1.0.0";

/// A question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subrequest {
    /// Which questions there are.
    Describe,
    /// What the target can be given: arguments, secrets, agents.
    Outline,
    /// Which stages can be built.
    Targets,
    /// Which rules the file breaks.
    Lint,
}

impl Subrequest {
    /// Finds the question that a client asks.
    ///
    /// # Errors
    /// [`OptionsError::Request`] if there is none of this name (row ERR-08).
    pub(crate) fn parse(name: &str) -> std::result::Result<Self, OptionsError> {
        match name {
            "frontend.subrequests.describe" => Ok(Self::Describe),
            "frontend.outline" => Ok(Self::Outline),
            "frontend.targets" => Ok(Self::Targets),
            "frontend.lint" => Ok(Self::Lint),
            _ => Err(OptionsError::Request {
                request: name.to_owned(),
            }),
        }
    }
}

/// What a question can be answered with.
pub(crate) trait Answer: Serialize {
    /// Returns the answer as people read it.
    fn text(&self) -> String;

    /// Returns what the client's process is to end with, if that is part of the answer.
    fn status(&self) -> Option<u8> {
        None
    }
}

/// Returns the answer as a result without a tree.
pub(crate) fn result(answer: &impl Answer) -> Result<BuildResult> {
    let json = serde_json::to_vec_pretty(answer).map_err(|error| FrontendError::EncodeAnswer {
        reason: error.to_string(),
    })?;
    let mut result = BuildResult::default();
    let mut add = |key: &str, value: Vec<u8>| result.metadata.insert(key.to_owned(), value);
    add("result.json", json);
    add("result.txt", answer.text().into_bytes());
    add("version", VERSION.to_owned().into_bytes());
    if let Some(status) = answer.status() {
        add("result.statuscode", status.to_string().into_bytes());
    }
    Ok(result)
}

/// Returns the questions that clients are told of. `frontend.lint` is not among them, as it is not
/// among BuildKit's; clients ask it all the same.
pub(crate) fn described() -> impl Answer {
    describe::Requests::all()
}

#[cfg(test)]
mod tests;
