//! Builds that are no builds: the client only asks about the Dockerfile (rows FDF-27 to FDF-30).

use lamina_llb::BuildResult;

use super::Build;
use crate::convert;
use crate::convert::Job;
use crate::error::Result;
use crate::located::Located;
use crate::subrequest;
use crate::subrequest::LintReport;
use crate::subrequest::Outline;
use crate::subrequest::Subrequest;
use crate::subrequest::Targets;

impl Build {
    /// Answers the question `request`. Platforms that the client asks for do not matter, and errors
    /// have no lines, as clients know it.
    pub(super) async fn answer(&self, request: &str) -> Result<BuildResult> {
        let answered = match Subrequest::parse(request)? {
            Subrequest::Describe => subrequest::result(&subrequest::described()),
            Subrequest::Targets => {
                Targets::of(&self.source.text).and_then(|targets| subrequest::result(&targets))
            }
            Subrequest::Outline => self
                .outline()
                .await
                .and_then(|outline| subrequest::result(&outline)),
            Subrequest::Lint => self.lint().await,
        };
        answered.map_err(|error| Located::nowhere(*error.error))
    }

    /// Runs through the file; warnings are given as in a build.
    async fn outline(&self) -> Result<Outline> {
        let linter = convert::linter(&self.source.text, &self.options)?;
        let outline = convert::outline(self.job(None), &linter).await;
        self.warn(&linter);
        outline
    }

    /// Looks for broken rules, in all stages unless the client names one. An error of the file is
    /// part of the answer.
    async fn lint(&self) -> Result<BuildResult> {
        let (findings, checked) = match convert::linter(&self.source.text, &self.options) {
            Ok(linter) => {
                let checked = convert::check(self.whole_file(), &linter).await;
                (linter.findings(), checked)
            }
            Err(error) => (Vec::new(), Err(error)),
        };
        let file = &self.source.info;
        let report = LintReport::new(file, findings, checked.as_ref().err());
        subrequest::result(&report)
    }

    fn whole_file(&self) -> Job<'_> {
        Job {
            all_stages: self.options.target.is_empty(),
            ..self.job(None)
        }
    }
}
