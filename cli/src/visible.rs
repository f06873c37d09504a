//! Text of others on the user's terminal.
//!
//! Names of images and steps, messages and labels come from clients, registries and frontends. A
//! terminal obeys what it finds in them, so whatever is no text is written as its escape.

use std::fmt::Write as _;

/// Writes text for one line: `\n` and every other control character as its escape.
pub(crate) fn visible(text: &str) -> String {
    escape(text, |_| false)
}

/// As [`visible`], for text of several lines.
pub(crate) fn visible_lines(text: &str) -> String {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

/// As [`visible_lines`], for JSON, which stays JSON and means the same.
pub(crate) fn visible_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match commands(c) && !matches!(c, '\n' | '\t') {
            true => write!(shown, "\\u{:04x}", u32::from(c)).expect("a string takes everything"),
            false => shown.push(c),
        }
    }
    shown
}

fn escape(text: &str, stays: fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if !commands(c) || stays(c) {
            shown.push(c);
        } else {
            write!(shown, "{}", c.escape_default()).expect("a string takes everything");
        }
    }
    shown
}

/// Says whether a terminal does something else with a character than to show it. The last two
/// ranges turn the order of what follows them around.
fn commands(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_json() {
        let text = "{\n\t\"name\": \"a\u{202e}\u{7f}\"\n}";
        let shown = visible_json(text);
        assert_eq!(shown, "{\n\t\"name\": \"a\\u202e\\u007f\"\n}");
        let (one, other): (serde_json::Value, serde_json::Value) = (
            serde_json::from_str(&shown).expect("JSON"),
            serde_json::from_str(text).expect("JSON"),
        );
        assert_eq!(one, other);
    }

    #[test]
    fn commands_to_the_terminal_are_shown() {
        for (text, line, lines) in [
            ("plain: grün ✓", "plain: grün ✓", "plain: grün ✓"),
            ("\x1b[2J\x07", "\\u{1b}[2J\\u{7}", "\\u{1b}[2J\\u{7}"),
            ("a\n\tb\r", "a\\n\\tb\\r", "a\n\tb\\r"),
            ("\u{9b}31m", "\\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b", "a\\u{202e}b", "a\\u{202e}b"),
            (r"C:\new", r"C:\new", r"C:\new"),
        ] {
            assert_eq!(visible(text), line, "{text:?}");
            assert_eq!(visible_lines(text), lines, "{text:?}");
        }
    }
}
