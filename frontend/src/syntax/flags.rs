//! The instruction's name and the `--flags` behind it.

use crate::syntax::words::is_separator;

/// An instruction's line in its parts.
pub(crate) struct Split<'a> {
    pub(crate) keyword: &'a str,
    pub(crate) flags: Vec<String>,
    pub(crate) rest: String,
}

/// Cuts a joined line into name, flags and the rest.
pub(crate) fn split_command(line: &str, escape: char) -> Split<'_> {
    let line = line.trim();
    let Some(end) = line.find(is_separator) else {
        return Split {
            keyword: line,
            flags: Vec::new(),
            rest: String::new(),
        };
    };
    let (keyword, rest) = line.split_at(end);
    let (flags, rest) = split_flags(rest.trim_start_matches(is_separator), escape);
    Split {
        keyword,
        flags,
        rest: rest.trim().to_owned(),
    }
}

/// Cuts off the leading words that start with `--`, quotes and escapes resolved; a lone `--` ends
/// them.
///
/// Like BuildKit this reads bytes, not characters: anything beyond ASCII in a flag comes out as one
/// character for each byte.
fn split_flags(line: &str, escape: char) -> (Vec<String>, &str) {
    let bytes = line.as_bytes();
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        while at < bytes.len() && char::from(bytes[at]).is_whitespace() {
            at += 1;
        }
        if !bytes[at..].starts_with(b"--") {
            return (flags, line.get(at..).unwrap_or(""));
        }
        let (word, end) = flag_word(bytes, at, escape);
        at = end;
        match word {
            Some(word) if word == "--" => return (flags, line.get(at..).unwrap_or("")),
            Some(word) => flags.push(word),
            None => {}
        }
    }
}

/// Reads one word; returns it (none if it is empty and not quoted) and where it ends.
fn flag_word(bytes: &[u8], start: usize, escape: char) -> (Option<String>, usize) {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut was_quoted = false;
    let mut at = start;
    while at < bytes.len() {
        let mut ch = char::from(bytes[at]);
        if quote.is_none() && ch.is_whitespace() {
            break;
        }
        at += 1;
        if quote == Some(ch) {
            quote = None;
            continue;
        }
        if quote.is_none() && (ch == '\'' || ch == '"') {
            quote = Some(ch);
            was_quoted = true;
            continue;
        }
        if ch == escape {
            let Some(&next) = bytes.get(at) else { break };
            ch = char::from(next);
            at += 1;
        }
        word.push(ch);
    }
    let kept = was_quoted || !word.is_empty();
    (kept.then_some(word), at)
}
