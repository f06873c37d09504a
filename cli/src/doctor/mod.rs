//! `lamina doctor`: what builds need of this machine, each thing tried for real, with the fix.
//!
//! ```text
//! user namespace   ok       65536 uids and 65536 gids
//! overlayfs        FAILED   mount: operation not permitted
//!                           fix: ...
//! ```
//! Some checks must be made inside the namespaces of a build, some outside before it. What is only
//! nice to have never fails the command.

mod checks;
mod machine;
mod store;

use std::process::ExitCode;

use lamina_executor::userns;

use crate::args::DoctorArgs;
use crate::build;
use crate::error::CliError;
use crate::format;
use crate::report;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// Builds run, but something that some want is missing.
    Missing,
    /// Builds cannot run.
    Failed,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    /// What was found.
    text: String,
    /// What to do about it.
    fix: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, text: impl Into<String>) -> Self {
        let (verdict, text) = (Verdict::Ok, text.into());
        Self {
            what,
            verdict,
            text,
            fix: None,
        }
    }

    fn missing(what: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        let (verdict, text, fix) = (Verdict::Missing, text.into(), Some(fix.into()));
        Self {
            what,
            verdict,
            text,
            fix,
        }
    }

    fn failed(what: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        let (verdict, text, fix) = (Verdict::Failed, text.into(), Some(fix.into()));
        Self {
            what,
            verdict,
            text,
            fix,
        }
    }
}

/// Runs `lamina doctor`. Called with one thread: it enters the namespaces of a build.
pub(crate) fn doctor(args: DoctorArgs) -> Result<ExitCode, CliError> {
    let root = args.root.or_else(build::root_of_environment);
    let mut findings = machine::outside();
    match userns::enter() {
        Ok(ids) => findings.extend(checks::inside(&ids, root, args.check_store)),
        Err(error) => findings.push(checks::no_namespaces(&error)),
    }
    report::text_result(&render(&findings));
    let builds_run = findings
        .iter()
        .all(|finding| finding.verdict != Verdict::Failed);
    if builds_run {
        report::result("builds can run here");
        Ok(ExitCode::SUCCESS)
    } else {
        report::result("builds cannot run here");
        Ok(ExitCode::FAILURE)
    }
}

fn render(findings: &[Finding]) -> String {
    let mut rows = Vec::new();
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Missing => "missing",
            Verdict::Failed => "FAILED",
        };
        rows.push(format::row([finding.what, verdict, &finding.text]));
        if let Some(fix) = &finding.fix {
            rows.push(format::row(["", "", &format!("fix: {fix}")]));
        }
    }
    format::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixes_stand_below_what_they_are_for() {
        let findings = [
            Finding::ok("a", "fine"),
            Finding::failed("bb", "broken", "do this"),
        ];
        assert_eq!(
            render(&findings),
            "a   ok      fine\nbb  FAILED  broken\n            fix: do this\n"
        );
    }

    #[test]
    fn the_machine_is_looked_at_without_panics() {
        let findings = machine::outside();
        assert!(
            findings.iter().all(|finding| !finding.text.is_empty()),
            "{findings:?}"
        );
    }
}
