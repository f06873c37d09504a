//! `lamina build --call` and `--check`: questions about a Dockerfile instead of a build.
//!
//! The frontend answers (row FDF-27); what `docker buildx build` calls a method is one of its
//! requests:
//!
//! | method | request | |
//! |---|---|---|
//! | `check` | `frontend.lint` | which rules the file breaks |
//! | `outline` | `frontend.outline` | arguments, secrets and agents of the target |
//! | `targets` | `frontend.targets` | the stages |
//! | `describe` | `frontend.subrequests.describe` | what the frontend can be asked |
//! | other | `frontend.` and the method | what only other frontends know |
//!
//! The answer goes to standard output, and the command ends with the status that it has: 1 if a rule
//! is broken.

mod lint;

use std::collections::BTreeMap;
use std::path::Path;

use crate::csv;
use crate::csv::CsvError;
use crate::report;
use crate::visible::visible_json;
use crate::visible::visible_lines;
use lint::LintAnswer;

/// The answer: metadata of a result without a tree.
pub(crate) type Answer = BTreeMap<String, Vec<u8>>;

/// What a frontend has to be able to do; one that comes later in the chain may be the one.
const NEEDED_CAP: &str = "moby.buildkit.frontend.subrequests+forward";

/// The request whose answer is shown with the lines of the file.
const LINT: &str = "lint";

/// A question, and how its answer is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The request without `frontend.`
    request: String,
    json: bool,
    ignore_status: bool,
    /// The Dockerfile as the user knows it, if that is known.
    file: Option<String>,
}

/// Says why `--call` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CallError {
    #[error("--call: {0}")]
    Csv(#[from] CsvError),
    #[error("--call {text:?}: {field:?}: expected format=json or ignorestatus=true")]
    Field { text: String, field: String },
    #[error("--call {text:?}: expected one of check, outline, targets and describe")]
    Method { text: String },
}

impl Call {
    /// Reads `METHOD[,format=json][,ignorestatus=true]`; `None` is a build.
    ///
    /// # Errors
    /// If there is no method or are two, and for other fields.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, CallError> {
        let mut method = None;
        let (mut json, mut ignore_status) = (false, false);
        for field in csv::fields(text)? {
            match field.split_once('=') {
                None if method.is_none() => method = Some(field),
                Some(("format", "json")) => json = true,
                Some(("format", "text" | "")) => json = false,
                Some(("ignorestatus", "true" | "1")) => ignore_status = true,
                Some(("ignorestatus", "false" | "0")) => ignore_status = false,
                None => {
                    return Err(CallError::Method {
                        text: text.to_owned(),
                    });
                }
                Some(_) => {
                    let text = text.to_owned();
                    return Err(CallError::Field { text, field });
                }
            }
        }
        let request = match method.as_deref() {
            None | Some("") => {
                return Err(CallError::Method {
                    text: text.to_owned(),
                });
            }
            Some("build") => return Ok(None),
            Some("check") => LINT,
            Some("describe") => "subrequests.describe",
            Some(other) => other,
        };
        Ok(Some(Self {
            request: request.to_owned(),
            json,
            ignore_status,
            file: None,
        }))
    }

    /// Shows places in the file under the name by which the user knows it: `file`, or the one in the
    /// directory `context`.
    pub(crate) fn on(self, context: &str, file: Option<&str>) -> Self {
        let in_context = || {
            let path = Path::new(context).join("Dockerfile");
            let shown = path
                .strip_prefix(".")
                .unwrap_or(&path)
                .display()
                .to_string();
            path.is_file().then_some(shown)
        };
        let file = match file {
            Some("-") => None,
            Some(file) => Some(file.to_owned()),
            None => in_context(),
        };
        Self { file, ..self }
    }

    /// Returns the options that make a frontend answer.
    pub(crate) fn options(&self) -> [(String, String); 2] {
        [
            ("requestid", format!("frontend.{}", self.request)),
            ("frontend.caps", NEEDED_CAP.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
    }

    /// Returns what the command ends with when a frontend says `status`: no failure may pass for success.
    fn exit_code(&self, status: &str) -> u8 {
        match status.trim().parse::<i64>() {
            _ if self.ignore_status => 0,
            Ok(code) => u8::try_from(code).unwrap_or(1),
            Err(_) => 1,
        }
    }

    /// Prints the answer; returns what the command ends with.
    pub(crate) fn show(&self, answer: &Answer) -> u8 {
        let lint = (self.request == LINT)
            .then(|| LintAnswer::read(answer))
            .flatten();
        if !answer.keys().any(|key| key.starts_with("result.")) {
            let request = &self.request;
            report::text(&format!(
                "lamina: the frontend did not answer frontend.{request}\n"
            ));
            return 1;
        }
        let text = |key| answer.get(key).map(|text| String::from_utf8_lossy(text));
        let json = text("result.json").filter(|_| self.json);
        let printed = match (&json, &lint) {
            (Some(json), _) => visible_json(&format!("{json}\n")),
            (None, Some(lint)) => visible_lines(&lint.shown(self.file.as_deref())),
            (None, None) => visible_lines(&text("result.txt").unwrap_or_default()),
        };
        report::text_result(&printed);
        if let Some(failure) = lint.and_then(|lint| lint.failure(self.file.as_deref())) {
            report::text(&failure);
            return 1;
        }
        text("result.statuscode").map_or(0, |status| self.exit_code(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(text: &str) -> Result<Option<Call>, String> {
        Call::parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn methods_are_requests() {
        for (text, request, json, ignore_status) in [
            ("check", "frontend.lint", false, false),
            ("lint,format=json", "frontend.lint", true, false),
            ("format=json,outline", "frontend.outline", true, false),
            ("targets,ignorestatus=true", "frontend.targets", false, true),
            ("describe", "frontend.subrequests.describe", false, false),
            (
                "subrequests.describe,format=text",
                "frontend.subrequests.describe",
                false,
                false,
            ),
            ("other,ignorestatus=0", "frontend.other", false, false),
        ] {
            let call = call(text).expect(text).expect(text);
            let [(key, name), _] = call.options();
            assert_eq!(
                (key.as_str(), name.as_str()),
                ("requestid", request),
                "{text}"
            );
            assert_eq!(
                (call.json, call.ignore_status),
                (json, ignore_status),
                "{text}"
            );
        }
        assert_eq!(call("build"), Ok(None));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "expected one of check"),
            ("format=json", "expected one of check"),
            ("check,outline", "expected one of check"),
            ("check,format=xml", "\"format=xml\": expected format=json"),
            ("check,ignorestatus=maybe", "\"ignorestatus=maybe\""),
            ("check,x=y", "\"x=y\""),
            ("\"check", "a quote is not closed"),
        ] {
            let message = call(text).expect_err(text);
            assert!(
                message.starts_with("--call") && message.contains(part),
                "{message}"
            );
        }
    }

    #[test]
    fn the_file_has_the_users_name() {
        let named = |context: &str, file| {
            let call = Call::parse("check").expect("valid").expect("a call");
            call.on(context, file).file
        };
        assert_eq!(named("x", Some("a/b")).as_deref(), Some("a/b"));
        assert_eq!(named("x", Some("-")), None);
        assert_eq!(named("/no/such", None), None);
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("Dockerfile"), "").expect("written");
        let context = dir.path().display().to_string();
        assert_eq!(named(&context, None), Some(format!("{context}/Dockerfile")));
    }

    #[test]
    fn the_status_counts_unless_it_is_ignored() {
        let answer = Answer::from([("result.statuscode".to_owned(), b"3".to_vec())]);
        let ends_with = |text: &str| call(text).expect(text).expect(text).show(&answer);
        let other = call("other").expect("valid").expect("a call");
        for (status, code) in [("0", 0), ("255", 255), ("256", 1), ("-1", 1), ("x", 1)] {
            assert_eq!(other.exit_code(status), code, "{status}");
        }
        assert_eq!(ends_with("other"), 3);
        assert_eq!(ends_with("other,ignorestatus=true"), 0);
        assert_eq!(
            call("other")
                .expect("valid")
                .expect("a call")
                .show(&Answer::new()),
            1
        );
    }
}
