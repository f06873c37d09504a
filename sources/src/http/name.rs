//! The name of a downloaded file (rows SRC-27, SRC-29).

use reqwest::Url;

use crate::percent::percent_decode;

/// Where nothing gives a name that can be used.
const DEFAULT_NAME: &str = "download";

/// Chooses the name: the build's, else the server's, else the last part of the URL.
pub(super) fn of(url: &str, wanted: Option<&str>, disposition: Option<&str>) -> String {
    if let Some(wanted) = wanted {
        return safe(wanted);
    }
    if let Some(given) = disposition.and_then(from_disposition)
        && !given.is_empty()
        && !given.ends_with('/')
    {
        return safe(&given);
    }
    let path = Url::parse(url).map_or_else(|_| String::new(), |url| percent_decode(url.path()));
    safe(&path)
}

/// Returns the last component, or the default for what is no name.
fn safe(text: &str) -> String {
    let text = text.trim().trim_end_matches('/');
    let name = text.rsplit('/').next().unwrap_or_default();
    let usable = !matches!(name, "" | "." | "..") && !name.contains(char::is_control);
    if usable { name } else { DEFAULT_NAME }.to_owned()
}

/// Returns the parameter `filename` of a `Content-Disposition`; the extended form is preferred.
fn from_disposition(header: &str) -> Option<String> {
    let mut plain = None;
    for (name, value) in parameters(header) {
        if name.eq_ignore_ascii_case("filename*") {
            let encoded = value.splitn(3, '\'').nth(2)?;
            return Some(percent_decode(encoded));
        }
        if name.eq_ignore_ascii_case("filename") {
            plain = Some(value);
        }
    }
    plain
}

/// Splits `type; name=value; name="va\"lue"` into its parameters.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name.trim().to_owned(), value));
        rest = after.split_once(';').map_or("", |(_, rest)| rest);
    }
    found
}

/// Reads up to the closing quote; returns the text and what follows.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
            other => text.push(other),
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_chosen_in_order() {
        for (url, wanted, disposition, name) in [
            ("http://h/a/b.txt", None, None, "b.txt"),
            ("http://h/a/b.txt?x=1#y", None, None, "b.txt"),
            ("http://h/a/b/", None, None, "b"),
            ("http://h/a%20b", None, None, "a b"),
            ("http://h/..%2f..%2fetc", None, None, "etc"),
            ("http://h/", None, None, "download"),
            ("http://h", None, None, "download"),
            ("http://h/a%0ab", None, None, "download"),
            ("http://h/a", Some("x"), Some("attachment; filename=y"), "x"),
            ("http://h/a", Some("../../x"), None, "x"),
            ("http://h/a", Some(".."), None, "download"),
            ("http://h/a", None, Some("attachment; filename=y"), "y"),
            (
                "http://h/a",
                None,
                Some("attachment; a=b; filename=\"y z\""),
                "y z",
            ),
            (
                "http://h/a",
                None,
                Some("attachment; filename=\"y\\\"z\"; b=c"),
                "y\"z",
            ),
            (
                "http://h/a",
                None,
                Some("attachment; filename=y; filename*=UTF-8''%c3%a4"),
                "ä",
            ),
            (
                "http://h/a",
                None,
                Some("attachment; filename=\"../../y\""),
                "y",
            ),
            ("http://h/a", None, Some("attachment; filename=\"y/\""), "a"),
            (
                "http://h/a",
                None,
                Some("attachment; filename=\"open"),
                "open",
            ),
            ("http://h/a", None, Some("inline"), "a"),
            ("http://h/a", None, Some(""), "a"),
        ] {
            assert_eq!(
                of(url, wanted, disposition),
                name,
                "{url} {wanted:?} {disposition:?}"
            );
        }
    }
}
