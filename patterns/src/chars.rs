//! Characters of texts that need not be UTF-8, counted as Go counts them.

use std::borrow::Cow;

/// Returns the first character of `text` and its length in bytes.
///
/// A byte that does not begin a valid sequence is U+FFFD and one byte long. An empty text has
/// U+FFFD of length 0.
pub(crate) fn first_char(text: &[u8]) -> (char, usize) {
    let Some(&first) = text.first() else {
        return (char::REPLACEMENT_CHARACTER, 0);
    };
    if first.is_ascii() {
        return (char::from(first), 1);
    }
    let head = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(found) => (found, found.len_utf8()),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// Returns `text` with every byte that is no UTF-8 replaced by U+FFFD, one for one.
pub(crate) fn to_text(text: &[u8]) -> Cow<'_, str> {
    if let Ok(valid) = std::str::from_utf8(text) {
        return Cow::Borrowed(valid);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (found, length) = first_char(rest);
        out.push(found);
        rest = &rest[length..];
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_byte_is_one_character() {
        for (name, text, wanted) in [
            ("ascii", &b"ab"[..], "ab"),
            ("two bytes", "é".as_bytes(), "é"),
            ("cut short", b"\xc3", "\u{fffd}"),
            (
                "four bytes, cut",
                b"\xf0\x9f\x98a",
                "\u{fffd}\u{fffd}\u{fffd}a",
            ),
            ("bad then good", b"\xffx", "\u{fffd}x"),
            ("empty", b"", ""),
        ] {
            assert_eq!(to_text(text), wanted, "{name}");
        }
    }
}
