//! Parser directives: `# name=value` lines at the top (rows DFL-01, FDF-46).
//!
//! They stand before any comment, blank line or instruction, each at most once. `escape` is the
//! only one that changes how the text is read; `syntax` and `check` are looked up by others, with
//! the functions below.

use std::collections::BTreeSet;

use crate::lines::Lines;
use crate::located::Located;
use crate::syntax::SyntaxError;
use crate::syntax::source::LineReader;
use crate::syntax::source::without_newline;

const KNOWN: [&str; 3] = ["syntax", "escape", "check"];

/// A directive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directive {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, trimmed.
    pub value: String,
    /// Where it stands.
    pub lines: Lines,
}

/// Reads directives line by line until something else comes.
pub(crate) struct DirectiveReader {
    marker: &'static str,
    line: u32,
    seen: BTreeSet<String>,
    done: bool,
}

impl DirectiveReader {
    pub(crate) fn new(marker: &'static str, lines_before: u32) -> Self {
        Self {
            marker,
            line: lines_before,
            seen: BTreeSet::new(),
            done: false,
        }
    }

    /// Takes the next line; `None` once the directives are over.
    pub(crate) fn read(&mut self, line: &str) -> Result<Option<Directive>, SyntaxError> {
        self.line += 1;
        if self.done {
            return Ok(None);
        }
        let Some((name, value)) = line.strip_prefix(self.marker).and_then(split_directive) else {
            self.done = true;
            return Ok(None);
        };
        if !self.seen.insert(name.clone()) {
            return Err(SyntaxError::RepeatedDirective { name });
        }
        Ok(Some(Directive {
            name,
            value,
            lines: Lines::new(self.line, self.line),
        }))
    }
}

fn split_directive(text: &str) -> Option<(String, String)> {
    let (name, value) = text.trim_start().split_once('=')?;
    let name = name.trim_end_matches(is_ascii_space).to_lowercase();
    let value = value.trim_matches(is_ascii_space);
    let known = KNOWN.contains(&name.as_str()) && !value.is_empty();
    known.then(|| (name, value.to_owned()))
}

fn is_ascii_space(ch: char) -> bool {
    matches!(ch, '\t' | '\n' | '\u{c}' | '\r' | ' ')
}

/// Returns the value of the `check` directive.
#[must_use]
pub fn check_directive(text: &str) -> Option<String> {
    let (body, skipped) = without_preamble(text);
    let found = find("check", "#", body, skipped)?;
    Some(first_word(&found.value).to_owned())
}

/// Returns the `syntax` directive: `# syntax=`, `// syntax=`, or the member of that name if the
/// whole file is a JSON object.
#[must_use]
pub fn syntax_directive(text: &str) -> Option<Directive> {
    let (body, skipped) = without_preamble(text);
    find("syntax", "#", body, skipped)
        .or_else(|| find("syntax", "//", body, skipped))
        .or_else(|| json_member(body, skipped))
}

/// Reads a comment (without its `#`) as a directive of the given name.
///
/// This is how `# check=skip=..` above an instruction is found.
#[must_use]
pub fn comment_directive(comment: &str, name: &str) -> Option<String> {
    let directive = DirectiveReader::new("", 0).read(comment).ok().flatten()?;
    (directive.name == name).then(|| first_word(&directive.value).to_owned())
}

fn first_word(value: &str) -> &str {
    value.split(' ').next().unwrap_or(value)
}

/// Cuts off a byte order mark and a `#!` line; says how many lines that were.
fn without_preamble(text: &str) -> (&str, u32) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.starts_with("#!") {
        return (text.split_once('\n').map_or("", |(_, rest)| rest), 1);
    }
    (text, 0)
}

fn find(name: &str, marker: &'static str, text: &str, skipped: u32) -> Option<Directive> {
    let mut reader = DirectiveReader::new(marker, skipped);
    for line in LineReader::new(text) {
        let directive = reader.read(without_newline(line)).ok()??;
        if directive.name == name {
            return Some(directive);
        }
    }
    None
}

fn json_member(text: &str, skipped: u32) -> Option<Directive> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    Some(Directive {
        name: "syntax".to_owned(),
        value: object.get("syntax")?.as_str()?.to_owned(),
        lines: Lines::new(skipped, skipped),
    })
}

/// Sets the escape character from an `escape` directive.
///
/// # Errors
/// For anything but backslash and backtick, at the line *before* the directive, as clients expect.
pub(crate) fn escape_of(
    directive: &Directive,
    line_before: u32,
) -> Result<Option<char>, Located<SyntaxError>> {
    if directive.name != "escape" {
        return Ok(None);
    }
    match directive.value.as_str() {
        "\\" => Ok(Some('\\')),
        "`" => Ok(Some('`')),
        token => Err(Located::at(
            SyntaxError::BadEscape {
                token: token.to_owned(),
            },
            Lines::new(line_before, line_before),
        )),
    }
}
