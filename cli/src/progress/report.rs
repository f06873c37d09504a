//! What is printed after a failure: the step's log, the marked lines of the user's file, the error,
//! and what to do about it.

use lamina_llb::BuildError;
use lamina_llb::SourceExcerpt;
use lamina_proto::pb;

use super::hint::hint;
use super::model::Step;
use super::model::Steps;
use crate::visible::visible_lines;

/// Lines of the file shown around the marked ones.
const CONTEXT_LINES: i32 = 3;

/// Lines of a failed step's log that are repeated at most.
const LOG_LINES: usize = 500;

/// Returns the report of a failed build.
pub(crate) fn report_failure(error: &BuildError, steps: &Steps) -> String {
    let mut text = String::new();
    if let Some(step) = error.vertex.as_ref().and_then(|vertex| steps.find(vertex)) {
        step_log(&mut text, step);
    }
    for source in &error.sources {
        excerpt(&mut text, source);
    }
    let message = &error.message;
    let prefix = if message.starts_with("failed to solve") {
        ""
    } else {
        "failed to solve: "
    };
    line(&mut text, &format!("ERROR: {prefix}{message}"));
    if let Some(hint) = hint(message) {
        line(&mut text, &format!("hint: {hint}"));
    }
    text
}

fn step_log(text: &mut String, step: &Step) {
    let count = step.log.lines().count();
    if count == 0 {
        return;
    }
    line(text, "------");
    line(text, &format!(" > {}:", step.name));
    if count > LOG_LINES {
        line(
            text,
            &format!("[... {} lines left out ...]", count - LOG_LINES),
        );
    }
    for entry in step.log.tail(LOG_LINES) {
        let at = step
            .started
            .and_then(|start| entry.time.duration_since(start).ok());
        line(
            text,
            &format!("{:.3} {}", at.unwrap_or_default().as_secs_f64(), entry.text),
        );
    }
    line(text, "------");
}

/// Adds the lines that the ranges name, marked, with some around them (row ERR-02).
fn excerpt(text: &mut String, source: &SourceExcerpt) {
    let file = String::from_utf8_lossy(&source.info.data);
    let lines: Vec<&str> = file.lines().collect();
    marked_lines(text, &source.info.filename, &lines, &source.ranges);
}

/// Adds the lines of a file that the ranges name, marked, with some around them (row ERR-02).
pub(crate) fn marked_lines(text: &mut String, name: &str, lines: &[&str], ranges: &[pb::Range]) {
    let mut marks = Marks::of(ranges);
    let Some((first, last)) = marks.ends() else {
        return;
    };
    line(text, &format!("{name}:{first}"));
    line(text, "--------------------");
    for number in first.saturating_sub(CONTEXT_LINES).max(1)..=last.saturating_add(CONTEXT_LINES) {
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let Some(content) = lines.get(index) else {
            break;
        };
        let mark = if marks.reach(number) { ">>>" } else { "   " };
        line(text, &format!("{number:>4} | {mark} {content}"));
    }
    line(text, "--------------------");
}

/// Says of one line after the other whether it is marked. An instruction may have as many ranges as
/// lines, so they are gone through once.
struct Marks {
    /// First and last lines, the last ones in front.
    open: Vec<(i32, i32)>,
    /// The last line of those that began.
    until: Option<i32>,
}

impl Marks {
    fn of(ranges: &[pb::Range]) -> Self {
        let ends = |range: &pb::Range| {
            let first = range.start.as_ref()?.line;
            Some((first, range.end.as_ref().map_or(first, |end| end.line)))
        };
        let mut open: Vec<_> = ranges.iter().filter_map(ends).collect();
        open.sort_unstable_by(|a, b| b.cmp(a));
        Self { open, until: None }
    }

    /// Returns the first and the last line of all; none if nothing is marked.
    fn ends(&self) -> Option<(i32, i32)> {
        let (first, _) = self.open.last()?;
        let last = self.open.iter().map(|(_, last)| *last).max()?;
        Some((*first, last))
    }

    /// Says whether line `number` is marked, which is not before that of the last call.
    fn reach(&mut self, number: i32) -> bool {
        while let Some((_, last)) = self.open.pop_if(|(first, _)| *first <= number) {
            self.until = self.until.max(Some(last));
        }
        self.until.is_some_and(|last| last >= number)
    }
}

fn line(text: &mut String, content: &str) {
    text.push_str(&visible_lines(content));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_line_is_marked() {
        let position = |line| Some(pb::Position { line, character: 0 });
        let source = SourceExcerpt {
            info: pb::SourceInfo {
                filename: "Dockerfile".to_owned(),
                data: b"FROM a\nRUN b\nRUN c\nRUN d\nRUN e\nRUN f\n".to_vec(),
                ..pb::SourceInfo::default()
            },
            ranges: vec![pb::Range {
                start: position(2),
                end: position(2),
            }],
        };
        let error = BuildError {
            message: "it broke".to_owned(),
            vertex: None,
            sources: vec![source],
            exit_code: None,
            cancelled: false,
            ..BuildError::default()
        };
        let expected = "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> RUN b\n   \
                        3 |     RUN c\n   4 |     RUN d\n   5 |     RUN e\n--------------------\n\
                        ERROR: failed to solve: it broke\n";
        assert_eq!(report_failure(&error, &Steps::default()), expected);
    }

    #[test]
    fn the_last_line_may_say_what_to_do() {
        let error = BuildError::new("secret token: not found");
        let expected = "ERROR: failed to solve: secret token: not found\n\
                        hint: --secret id=token,src=FILE gives it\n";
        assert_eq!(report_failure(&error, &Steps::default()), expected);
    }

    #[test]
    fn ranges_may_overlap_in_any_order() {
        let position = |line| Some(pb::Position { line, character: 0 });
        let range = |(start, end)| pb::Range {
            start: position(start),
            end: position(end),
        };
        let ranges = [(4, 4), (1, 2), (2, 2), (6, 3)].map(range);
        let mut text = String::new();
        marked_lines(
            &mut text,
            "f",
            &["a", "b", "c", "d", "e", "f", "g"],
            &ranges,
        );
        let marks = text
            .lines()
            .filter(|line| line.contains(" | "))
            .map(|line| line.contains(">>>"));
        let marks: Vec<bool> = marks.collect();
        assert_eq!(
            marks,
            [true, true, false, true, false, false, false],
            "{text}"
        );
    }

    #[test]
    fn hostile_ranges_do_no_harm() {
        let position = |line| Some(pb::Position { line, character: 0 });
        for (start, end) in [(0, 0), (-5, i32::MAX), (i32::MAX, i32::MAX), (i32::MIN, 1)] {
            let source = SourceExcerpt {
                info: pb::SourceInfo {
                    data: b"a\n".to_vec(),
                    ..pb::SourceInfo::default()
                },
                ranges: vec![pb::Range {
                    start: position(start),
                    end: position(end),
                }],
            };
            let mut text = String::new();
            excerpt(&mut text, &source);
            assert!(text.lines().count() < 5, "{text}");
        }
    }
}
