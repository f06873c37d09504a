//! Words of a line, quotes kept.

use crate::syntax::Pair;
use crate::syntax::SyntaxError;

/// Says whether `ch` separates words where no quotes are looked at.
pub(crate) fn is_separator(ch: char) -> bool {
    matches!(ch, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Cuts at blanks, without regard for quotes.
pub(crate) fn plain_words(rest: &str) -> Vec<String> {
    if rest.is_empty() {
        return Vec::new();
    }
    let mut words = Vec::new();
    let mut left = rest;
    while let Some(at) = left.find(is_separator) {
        words.push(left[..at].to_owned());
        left = left[at..].trim_start_matches(is_separator);
    }
    words.push(left.to_owned());
    words
}

/// Cuts at blanks outside of quotes; quotes and escapes stay in the words.
pub(crate) fn quoted_words(rest: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = rest.chars().peekable();
    while chars.peek().is_some() {
        if chars.next_if(|ch| ch.is_whitespace()).is_some() {
            continue;
        }
        let word = quoted_word(&mut chars, escape);
        if !word.is_empty() {
            words.push(word);
        }
    }
    words
}

fn quoted_word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, escape: char) -> String {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    while let Some(ch) = chars.next_if(|ch| quote.is_some() || !ch.is_whitespace()) {
        match quote {
            None if ch == '\'' || ch == '"' => quote = Some(ch),
            Some(open) if ch == open => quote = None,
            _ => {}
        }
        // An escape takes the next character along, except inside single quotes.
        if ch == escape && quote != Some('\'') {
            let Some(next) = chars.next() else { break };
            word.push(ch);
            word.push(next);
        } else {
            word.push(ch);
        }
    }
    word
}

/// Reads `name=value ...`, or the old form `name value`.
pub(crate) fn pairs(
    rest: &str,
    keyword: &'static str,
    escape: char,
) -> Result<Vec<Pair>, SyntaxError> {
    let words = quoted_words(rest, escape);
    let Some(first) = words.first() else {
        return Ok(Vec::new());
    };
    if !first.contains('=') {
        let at = rest
            .find(is_separator)
            .ok_or(SyntaxError::MissingValue { keyword })?;
        return Ok(vec![Pair {
            key: rest[..at].to_owned(),
            value: rest[at..].trim_start_matches(is_separator).to_owned(),
            legacy: true,
        }]);
    }
    words.into_iter().map(pair).collect()
}

fn pair(word: String) -> Result<Pair, SyntaxError> {
    match word.split_once('=') {
        Some((key, value)) => Ok(Pair {
            key: key.to_owned(),
            value: value.to_owned(),
            legacy: false,
        }),
        None => Err(SyntaxError::MissingEquals { word }),
    }
}
