//! Texts as the clients' language writes them: quoted strings and lists.

/// Returns `text` in double quotes, with the escapes of Go's `%q`.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for ch in text.chars() {
        match ch {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            ch if u32::from(ch) < 0x20 || ch == '\u{7f}' => push_hex(&mut out, ch),
            ch if is_unprintable(ch) => push_unicode(&mut out, ch),
            ch => out.push(ch),
        }
    }
    out.push('"');
    out
}

fn push_hex(out: &mut String, ch: char) {
    out.push_str(&format!("\\x{:02x}", u32::from(ch)));
}

fn push_unicode(out: &mut String, ch: char) {
    let code = u32::from(ch);
    if code > 0xffff {
        out.push_str(&format!("\\U{code:08x}"));
    } else {
        out.push_str(&format!("\\u{code:04x}"));
    }
}

/// Blanks other than the ASCII one, controls, and the invisible format characters.
fn is_unprintable(ch: char) -> bool {
    ch.is_control()
        || (ch.is_whitespace() && ch != ' ')
        || matches!(ch, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(ch, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}')
}

/// Returns a list in the form `["a" "b"]`, with which history entries show exec forms.
#[must_use]
pub fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        for (text, shown) in [
            ("a b", r#""a b""#),
            ("a\"b\\", r#""a\"b\\""#),
            ("\n\t\u{1}", r#""\n\t\x01""#),
            ("hé\u{feff}", "\"hé\\ufeff\""),
        ] {
            assert_eq!(quoted(text), shown);
        }
        assert_eq!(
            quoted_list(&["a".to_owned(), "b c".to_owned()]),
            r#"["a" "b c"]"#
        );
    }
}
