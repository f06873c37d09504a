//! The lines of an ignore file (row FDF-47).

use crate::clean::clean;

/// Returns the patterns of an ignore file, each with the number of its line, from 1.
///
/// A byte order mark is dropped, lines that begin with `#` and blank lines are left out, white
/// space around a pattern is removed, and paths are cleaned and made relative. The patterns may
/// still be malformed; [`PatternList::new`](crate::PatternList::new) says so.
///
/// ```
/// let found = lamina_patterns::parse_ignore_file(b"# all but\n/dist/\n\n! dist/keep\n");
/// assert_eq!(found, [(2, "dist".to_owned()), (4, "!dist/keep".to_owned())]);
/// ```
#[must_use]
pub fn parse_ignore_file(text: &[u8]) -> Vec<(usize, String)> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    text.split(|&byte| byte == b'\n')
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, parse_line(&String::from_utf8_lossy(line))?)))
        .collect()
}

fn parse_line(line: &str) -> Option<String> {
    let pattern = line.trim();
    if line.starts_with('#') || pattern.is_empty() {
        return None;
    }
    Some(match pattern.strip_prefix('!') {
        Some(taken_back) => format!("!{}", relative(taken_back.trim())),
        None => relative(pattern),
    })
}

fn relative(pattern: &str) -> String {
    if pattern.is_empty() {
        return String::new();
    }
    let cleaned = clean(pattern);
    match cleaned.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => cleaned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (name, text, wanted) in [
            ("empty", "", &[][..]),
            ("comment", "#a", &[]),
            ("hash behind blank", " #a", &[(1, "#a")]),
            ("byte order mark", "\u{feff}#x\na", &[(2, "a")]),
            ("carriage returns", "a\r\nb\r\n", &[(1, "a"), (2, "b")]),
            ("rooted", "/a/b/", &[(1, "a/b")]),
            ("root", "/", &[(1, "/")]),
            ("taken back", "!  /a", &[(1, "!a")]),
            ("nothing taken back", "!", &[(1, "!")]),
            ("dots", "./a/../b", &[(1, "b")]),
            ("dot", ".", &[(1, ".")]),
            ("blanks inside", "\ta b\t", &[(1, "a b")]),
        ] {
            let found = parse_ignore_file(text.as_bytes());
            let found: Vec<_> = found.iter().map(|(n, p)| (*n, p.as_str())).collect();
            assert_eq!(found, wanted, "{name}");
        }
    }
}
