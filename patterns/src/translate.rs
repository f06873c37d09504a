//! Ignore-file patterns translated to what the `regex` crate understands.
//!
//! The reference is a program that writes a regular expression for Go's engine from left to right,
//! without knowing of classes: a star inside brackets still becomes `[^/]*`, which ends the class
//! early. Patterns mean what falls out of that, so the same text is written here first
//! ([`Translation::new`]) and then rewritten from Go's syntax to Rust's ([`from_go`]), which
//! differ inside brackets and in what a backslash before a letter means: `\\f` is a form feed and
//! `\\d` a digit, unlike in `filepath.Match`, where they are the letters.

use std::iter::Peekable;
use std::str::Chars;

/// A pattern in the cheapest form that decides it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Translation {
    /// The path is the pattern.
    Exact,
    /// The path begins with the pattern less its last two characters.
    Prefix,
    /// The path ends with the pattern less its first two characters, or is it less three.
    Suffix,
    /// A regular expression in Go's syntax.
    Regex(String),
}

impl Translation {
    /// Translates a cleaned pattern without its `!`.
    pub(crate) fn new(pattern: &str) -> Self {
        let mut writer = Writer::default();
        let mut rest = pattern
            .strip_prefix('\u{feff}')
            .unwrap_or(pattern)
            .chars()
            .peekable();
        let mut first = true;
        while let Some(next) = rest.next() {
            match next {
                '*' if rest.next_if_eq(&'*').is_some() => writer.double_star(&mut rest, first),
                '*' => writer.special("[^/]*"),
                '?' => writer.special("[^/]"),
                '\\' => writer.escape(rest.next()),
                '[' | ']' => writer.special(next.encode_utf8(&mut [0; 4])),
                '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => {
                    writer.text.extend(['\\', next]);
                }
                other => writer.text.push(other),
            }
            first = false;
        }
        writer.finish()
    }
}

#[derive(Default)]
struct Writer {
    text: String,
    form: Form,
}

#[derive(Default, PartialEq)]
enum Form {
    #[default]
    Exact,
    Prefix,
    Suffix,
    Regex,
}

impl Writer {
    fn special(&mut self, text: &str) {
        self.text.push_str(text);
        self.form = Form::Regex;
    }

    fn escape(&mut self, escaped: Option<char>) {
        self.text.push('\\');
        if let Some(escaped) = escaped {
            self.text.push(escaped);
            self.form = Form::Regex;
        }
    }

    /// `**`, with a `/` behind it as part of it.
    fn double_star(&mut self, rest: &mut Peekable<Chars<'_>>, first: bool) {
        rest.next_if_eq(&'/');
        if rest.peek().is_some() {
            self.special("(.*/)?");
        } else if self.form == Form::Exact {
            self.form = Form::Prefix;
        } else {
            self.special(".*");
        }
        if first {
            self.form = Form::Suffix;
        }
    }

    fn finish(self) -> Translation {
        match self.form {
            Form::Exact => Translation::Exact,
            Form::Prefix => Translation::Prefix,
            Form::Suffix => Translation::Suffix,
            Form::Regex => Translation::Regex(format!("^{}$", self.text)),
        }
    }
}

/// Rewrites a regular expression from Go's syntax to that of the `regex` crate; `None` if Go
/// refuses it.
pub(crate) fn from_go(source: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = source.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => out.push_str(&escaped(rest.next()?)?),
            '[' => push_class(&mut out, &mut rest)?,
            ']' => out.push_str("\\]"),
            other => out.push(other),
        }
    }
    Some(out)
}

/// Returns what a backslash and `letter` mean in Go, in the syntax of the `regex` crate; `None` if
/// they are refused (or deprecated and never meant: `\\Q`, `\\C`, `\\p`, numbers).
fn escaped(letter: char) -> Option<String> {
    Some(match letter {
        'd' => "[0-9]".to_owned(),
        'D' => "[^0-9]".to_owned(),
        's' => "[\\t\\n\\x0c\\r ]".to_owned(),
        'S' => "[^\\t\\n\\x0c\\r ]".to_owned(),
        'w' => "[0-9A-Za-z_]".to_owned(),
        'W' => "[^0-9A-Za-z_]".to_owned(),
        'A' => "^".to_owned(),
        'z' => "$".to_owned(),
        'b' => "(?-u:\\b)".to_owned(),
        'B' => "(?-u:\\B)".to_owned(),
        _ => regex::escape(escaped_char(letter)?.encode_utf8(&mut [0; 4])),
    })
}

/// Returns the one character that a backslash and `letter` mean in Go.
fn escaped_char(letter: char) -> Option<char> {
    match letter {
        'a' => Some('\x07'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        other => (other.is_ascii() && !other.is_ascii_alphanumeric()).then_some(other),
    }
}

/// Rewrites a class behind its `[`: in Go `[`, `&`, `~` and a further `-` are ordinary inside.
fn push_class(out: &mut String, rest: &mut Chars<'_>) -> Option<()> {
    out.push('[');
    if let Some(after) = rest.as_str().strip_prefix('^') {
        out.push('^');
        *rest = after.chars();
    }
    let mut empty = true;
    loop {
        if let Some(after) = rest.as_str().strip_prefix("[:")
            && let Some((name, after)) = after.split_once(":]")
        {
            push_named(out, name)?;
            *rest = after.chars();
        } else {
            let low = match rest.next()? {
                ']' if !empty => break,
                '\\' => {
                    let letter = rest.next()?;
                    if "dDsSwW".contains(letter) {
                        out.push_str(&escaped(letter)?);
                        empty = false;
                        continue;
                    }
                    escaped_char(letter)?
                }
                other => other,
            };
            push_range(out, low, rest)?;
        }
        empty = false;
    }
    out.push(']');
    Some(())
}

fn push_named(out: &mut String, name: &str) -> Option<()> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
        "space", "upper", "word", "xdigit",
    ];
    if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return None;
    }
    out.push_str("[:");
    out.push_str(name);
    out.push_str(":]");
    Some(())
}

/// Writes `low`, or the range from it if a `-` follows that does not end the class.
fn push_range(out: &mut String, low: char, rest: &mut Chars<'_>) -> Option<()> {
    push_code(out, low);
    let text = rest.as_str();
    if let Some(upper) = text.strip_prefix('-')
        && !upper.starts_with(']')
    {
        let mut upper = upper.chars();
        let high = match upper.next()? {
            '\\' => escaped_char(upper.next()?)?,
            other => other,
        };
        if high < low {
            return None;
        }
        out.push('-');
        push_code(out, high);
        *rest = upper;
    }
    Some(())
}

/// Writes a character by its number, so that it can have no meaning of its own.
fn push_code(out: &mut String, literal: char) {
    out.push_str(&format!("\\u{{{:x}}}", u32::from(literal)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str) -> Translation {
        Translation::Regex(text.to_owned())
    }

    #[test]
    fn forms() {
        for (pattern, wanted) in [
            ("a/b", Translation::Exact),
            ("a.b+c", Translation::Exact),
            ("a/**", Translation::Prefix),
            ("**", Translation::Suffix),
            ("**/a", Translation::Suffix),
            ("a*", regex("^a[^/]*$")),
            ("a/**/b", regex("^a/(.*/)?b$")),
            ("**/a*", regex("^(.*/)?a[^/]*$")),
            ("**/a/**", regex("^(.*/)?a/.*$")),
            ("[*]", regex("^[[^/]*]$")),
            ("\\*.c", regex("^\\*\\.c$")),
        ] {
            assert_eq!(Translation::new(pattern), wanted, "{pattern}");
        }
    }

    #[test]
    fn go_syntax_is_rewritten() {
        for (go, wanted) in [
            ("[a-c]", Some("[\\u{61}-\\u{63}]")),
            ("[[^/]*]", Some("[\\u{5b}\\u{5e}\\u{2f}]*\\]")),
            ("[a-]", Some("[\\u{61}\\u{2d}]")),
            (
                "[:alpha:]",
                Some("[\\u{3a}\\u{61}\\u{6c}\\u{70}\\u{68}\\u{61}\\u{3a}]"),
            ),
            ("[[:alpha:]]", Some("[[:alpha:]]")),
            ("[[:nosuch:]]", None),
            ("[b-a]", None),
            ("\\f\\d", Some("\u{c}[0-9]")),
            ("[\\d]", Some("[[0-9]]")),
            ("\\q", None),
            ("\\\u{fc}", None),
            ("[\\\u{fc}]", None),
            ("\\*\\-", Some("\\*\\-")),
            ("[a", None),
        ] {
            assert_eq!(from_go(go).as_deref(), wanted, "{go}");
        }
    }
}
