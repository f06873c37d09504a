//! `frontend.lint`: which rules the file breaks (rows FDF-30, DFL-12).

use lamina_proto::pb;
use serde::Serialize;

use super::Answer;
use super::excerpt::excerpt;
use super::location::Location;
use super::location::SourceFile;
use crate::error::FrontendError;
use crate::lint::Finding;
use crate::located::Located;

/// What was found, and what ended the search if it did not get to the end.
#[derive(Debug, Serialize)]
pub(crate) struct LintReport<'a> {
    /// `null` if there are none.
    warnings: Option<Vec<Warning>>,
    /// The file.
    sources: [SourceFile; 1],
    /// What a build would fail with.
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip)]
    findings: Vec<Finding>,
    #[serde(skip)]
    file: &'a pb::SourceInfo,
}

#[derive(Debug, Serialize)]
struct Warning {
    #[serde(rename = "ruleName")]
    rule: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    url: &'static str,
    detail: String,
    location: Location,
}

#[derive(Debug, Serialize)]
struct Failure {
    message: String,
    location: Location,
}

impl<'a> LintReport<'a> {
    /// Puts the findings on `file` together, in the order in which they were made.
    pub(crate) fn new(
        file: &'a pb::SourceInfo,
        findings: Vec<Finding>,
        error: Option<&Located<FrontendError>>,
    ) -> Self {
        let warnings: Vec<Warning> = findings.iter().map(Warning::new).collect();
        Self {
            warnings: (!warnings.is_empty()).then_some(warnings),
            sources: [SourceFile::new(file)],
            error: error.map(|error| Failure {
                message: error.to_string(),
                location: Location::of_all(&error.places),
            }),
            findings,
            file,
        }
    }
}

impl Warning {
    fn new(finding: &Finding) -> Self {
        Self {
            rule: finding.rule,
            description: finding.description,
            url: finding.url,
            detail: finding.message.clone(),
            location: Location::of(finding.lines),
        }
    }
}

impl Answer for LintReport<'_> {
    /// Tells the findings in the order of the file. What a build would fail with is only in the JSON.
    fn text(&self) -> String {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.lines.first);
        findings
            .iter()
            .map(|finding| shown(finding, self.file))
            .collect()
    }

    fn status(&self) -> Option<u8> {
        let clean = self.findings.is_empty() && self.error.is_none();
        Some(u8::from(!clean))
    }
}

fn shown(finding: &Finding, file: &pb::SourceInfo) -> String {
    let mut text = format!("\nWARNING: {}", finding.rule);
    if !finding.url.is_empty() {
        text.push_str(" - ");
        text.push_str(finding.url);
    }
    text.push('\n');
    text.push_str(&finding.message);
    text.push('\n');
    text + &excerpt(file, finding.lines)
}
