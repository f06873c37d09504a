//! The answer to `check`, as people read it: each finding with its rule, the page that explains it,
//! and the lines of the file (row FDF-30).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamina_llb::BuildError;
use lamina_llb::SourceExcerpt;
use lamina_proto::pb;
use serde::Deserialize;

use super::Answer;
use crate::progress;
use crate::progress::Steps;

/// What was found. Lists may be absent or `null`; a frontend of another version may say more.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LintAnswer {
    warnings: Option<Vec<Warning>>,
    sources: Option<Vec<Source>>,
    #[serde(rename = "buildError")]
    error: Option<Failure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Warning {
    #[serde(rename = "ruleName")]
    rule: String,
    url: String,
    detail: String,
    location: Location,
}

/// What a build would fail with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    message: String,
    location: Location,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Location {
    /// The file; below 0 for none.
    #[serde(rename = "sourceIndex")]
    source: i64,
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Position {
    line: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Source {
    filename: String,
    /// In base64.
    data: String,
}

impl LintAnswer {
    /// Reads the answer; `None` if it has another form, so that its own text is the one to show.
    pub(super) fn read(answer: &Answer) -> Option<Self> {
        serde_json::from_slice(answer.get("result.json")?).ok()
    }

    /// Returns the findings in the order of the file, `file` being its name.
    pub(super) fn shown(&self, file: Option<&str>) -> String {
        let mut warnings: Vec<&Warning> = self.warnings.iter().flatten().collect();
        warnings.sort_by_key(|warning| warning.location.first_line());
        let mut text = match (warnings.len(), &self.error) {
            (0, Some(_)) => return String::new(),
            (0, None) => return "Check complete, no warnings found.\n".to_owned(),
            (1, _) => "Check complete, 1 warning has been found!\n".to_owned(),
            (count, _) => format!("Check complete, {count} warnings have been found!\n"),
        };
        let sources = self.sources.as_deref().unwrap_or_default();
        let files: Vec<String> = sources.iter().map(Source::text).collect();
        let files: Vec<Vec<&str>> = files.iter().map(|text| text.lines().collect()).collect();
        for warning in warnings {
            text.push_str(&warning.heading());
            if let Some((index, source)) = self.source(&warning.location) {
                let name = file.unwrap_or(&source.filename);
                let ranges = warning.location.to_wire();
                progress::marked_lines(&mut text, name, &files[index], &ranges);
            }
        }
        text
    }

    /// Returns the report of what a build would fail with.
    pub(super) fn failure(&self, file: Option<&str>) -> Option<String> {
        let failure = self.error.as_ref()?;
        let error = BuildError {
            sources: self.excerpt(&failure.location, file).into_iter().collect(),
            ..BuildError::new(failure.message.clone())
        };
        Some(progress::report_failure(&error, &Steps::default()))
    }

    fn excerpt(&self, location: &Location, file: Option<&str>) -> Option<SourceExcerpt> {
        let (_, source) = self.source(location)?;
        let info = pb::SourceInfo {
            filename: file.unwrap_or(&source.filename).to_owned(),
            data: source.text().into_bytes(),
            ..pb::SourceInfo::default()
        };
        Some(SourceExcerpt {
            info,
            ranges: location.to_wire(),
        })
    }

    /// Returns the file that a place is in, and its index.
    fn source(&self, location: &Location) -> Option<(usize, &Source)> {
        let index = usize::try_from(location.source).ok()?;
        let sources = self.sources.as_deref().unwrap_or_default();
        sources.get(index).map(|source| (index, source))
    }
}

impl Source {
    fn text(&self) -> String {
        let data = STANDARD.decode(&self.data).unwrap_or_default();
        String::from_utf8_lossy(&data).into_owned()
    }
}

impl Warning {
    fn heading(&self) -> String {
        let address = match self.url.as_str() {
            "" => String::new(),
            url => format!(" - {url}"),
        };
        format!("\nWARNING: {}{address}\n{}\n", self.rule, self.detail)
    }
}

impl Location {
    fn first_line(&self) -> i32 {
        let lines = self.ranges.iter().map(|range| range.start.line);
        lines.min().unwrap_or_default()
    }

    fn to_wire(&self) -> Vec<pb::Range> {
        self.ranges.iter().map(|range| range.to_wire()).collect()
    }
}

impl Range {
    fn to_wire(self) -> pb::Range {
        let position = |at: Position| {
            Some(pb::Position {
                line: at.line,
                character: 0,
            })
        };
        pb::Range {
            start: position(self.start),
            end: position(self.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn answer(json: &Value) -> LintAnswer {
        let bytes = serde_json::to_vec(json).expect("encodes");
        LintAnswer::read(&Answer::from([("result.json".to_owned(), bytes)])).expect("reads")
    }

    fn at(line: i32) -> Value {
        json!({"ranges": [{"start": {"line": line}, "end": {"line": line}}]})
    }

    fn source() -> Value {
        let data = STANDARD.encode("FROM scratch AS A\nENV A b\n");
        json!([{"filename": "Dockerfile", "data": data}])
    }

    #[test]
    fn findings_are_shown_in_the_order_of_the_file() {
        let answer = answer(&json!({
            "warnings": [
                {"ruleName": "Second", "detail": "two", "location": at(2)},
                {"ruleName": "First", "url": "https://h.test/", "detail": "one", "location": at(1)},
            ],
            "sources": source(),
        }));
        let expected = "Check complete, 2 warnings have been found!\n\n\
                        WARNING: First - https://h.test/\none\nsub/D:1\n--------------------\n   \
                        1 | >>> FROM scratch AS A\n   2 |     ENV A b\n--------------------\n\n\
                        WARNING: Second\ntwo\nsub/D:2\n--------------------\n   \
                        1 |     FROM scratch AS A\n   2 | >>> ENV A b\n--------------------\n";
        assert_eq!(answer.shown(Some("sub/D")), expected);
        assert_eq!(answer.failure(None), None);
    }

    #[test]
    fn nothing_found_is_said() {
        let clean = answer(&json!({"warnings": null, "sources": source()}));
        assert_eq!(clean.shown(None), "Check complete, no warnings found.\n");
    }

    #[test]
    fn what_a_build_would_fail_with_is_told_like_its_failure() {
        let broken = answer(&json!({
            "warnings": null,
            "sources": source(),
            "buildError": {"message": "no", "location": at(2)},
        }));
        assert_eq!(broken.shown(None), "");
        let failure = broken.failure(None).expect("an error");
        assert!(failure.starts_with("Dockerfile:2\n"), "{failure}");
        assert!(
            failure.ends_with("ERROR: failed to solve: no\n"),
            "{failure}"
        );
    }

    /// Frontends in images may send anything.
    #[test]
    fn strange_answers_do_no_harm() {
        for location in [
            json!({"sourceIndex": -1}),
            json!({"sourceIndex": 7}),
            at(i32::MIN),
        ] {
            let warnings = json!([{"detail": "x", "location": location}]);
            let strange = answer(&json!({"warnings": warnings, "sources": source()}));
            assert!(
                strange.shown(None).contains("\nWARNING: \nx\n"),
                "{location}"
            );
        }
        let other = Answer::from([("result.json".to_owned(), b"7".to_vec())]);
        assert!(LintAnswer::read(&other).is_none());
    }
}
