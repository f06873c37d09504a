//! Lines of text with their line feeds, up to a length.

use crate::syntax::MAX_LINE_BYTES;

/// Reads lines one by one and stops at one that is too long.
pub(crate) struct LineReader<'a> {
    rest: &'a str,
    too_long: bool,
}

impl<'a> LineReader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            too_long: false,
        }
    }

    /// Says whether reading ended because of a line that is too long.
    pub(crate) fn stopped_at_long_line(&self) -> bool {
        self.too_long
    }
}

impl<'a> Iterator for LineReader<'a> {
    type Item = &'a str;

    /// Returns the next line with its line feed.
    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() || self.too_long {
            return None;
        }
        let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at(end);
        if line.strip_suffix('\n').unwrap_or(line).len() > MAX_LINE_BYTES {
            self.too_long = true;
            return None;
        }
        self.rest = rest;
        Some(line)
    }
}

/// Returns the line without its line feed and carriage return.
pub(crate) fn without_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Says whether the line is a comment.
pub(crate) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}
