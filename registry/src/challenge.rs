//! The `WWW-Authenticate` header, in which a registry says how it wants to be asked.
//!
//! ```text
//! Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a:pull"
//! Basic realm="Registry"
//! ```

use std::collections::BTreeMap;

use reqwest::header::HeaderMap;
use reqwest::header::WWW_AUTHENTICATE;

/// One way to authenticate that a registry offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: String,
        scope: String,
    },
}

/// Returns the challenge to answer: a token where one is offered, else a password.
pub(crate) fn best(headers: &HeaderMap) -> Option<Challenge> {
    let challenges: Vec<Challenge> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(parse)
        .collect();
    let bearer = challenges.iter().find(|c| **c != Challenge::Basic);
    bearer.or(challenges.first()).cloned()
}

/// Parses one header value, which may hold several challenges; unknown schemes are left out.
fn parse(value: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((scheme, after)) = take_scheme(rest) {
        let (parameters, after) = take_parameters(after);
        found.extend(challenge(scheme, &parameters));
        rest = after;
    }
    found
}

fn challenge(scheme: &str, parameters: &BTreeMap<String, String>) -> Option<Challenge> {
    let get = |key: &str| parameters.get(key).cloned().unwrap_or_default();
    if scheme.eq_ignore_ascii_case("basic") {
        Some(Challenge::Basic)
    } else if scheme.eq_ignore_ascii_case("bearer") && parameters.contains_key("realm") {
        Some(Challenge::Bearer {
            realm: get("realm"),
            service: get("service"),
            scope: get("scope"),
        })
    } else {
        None
    }
}

/// Takes a word off the front; `None` at the end.
fn take_scheme(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', ',', '\t']);
    let end = text.find([' ', ',']).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Takes `key=value` pairs off the front, up to the next scheme.
fn take_parameters(mut text: &str) -> (BTreeMap<String, String>, &str) {
    let mut parameters = BTreeMap::new();
    while let Some((key, value, rest)) = take_parameter(text) {
        parameters.insert(key, value);
        text = rest;
    }
    (parameters, text)
}

fn take_parameter(text: &str) -> Option<(String, String, &str)> {
    let text = text.trim_start_matches([' ', ',', '\t']);
    let (key, rest) = text.split_once('=')?;
    if key.is_empty() || key.contains([' ', ',', '"']) {
        return None;
    }
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => take_quoted(quoted),
        None => {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].trim().to_owned(), &rest[end..])
        }
    };
    Some((key.to_ascii_lowercase(), value, rest))
}

/// Takes the rest of a quoted string; a missing closing quote ends it at the end.
fn take_quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.to_owned(),
            scope: scope.to_owned(),
        }
    }

    #[test]
    fn headers_are_parsed() {
        for (name, value, wanted) in [
            ("basic", r#"Basic realm="x""#, vec![Challenge::Basic]),
            ("bare", "Basic", vec![Challenge::Basic]),
            (
                "bearer",
                r#"Bearer realm="https://a.test/t",service="s",scope="repository:a:pull,push""#,
                vec![bearer("https://a.test/t", "s", "repository:a:pull,push")],
            ),
            (
                "spaces and case",
                r#"bearer Realm="r" , SERVICE=s"#,
                vec![bearer("r", "s", "")],
            ),
            (
                "two in one",
                r#"Basic realm="x", Bearer realm="r",service="s""#,
                vec![Challenge::Basic, bearer("r", "s", "")],
            ),
            (
                "escaped",
                r#"Bearer realm="a\"b""#,
                vec![bearer("a\"b", "", "")],
            ),
            (
                "unknown",
                r#"Negotiate abc=, Basic"#,
                vec![Challenge::Basic],
            ),
            ("no realm", r#"Bearer service="s""#, vec![]),
            (
                "open quote",
                r#"Bearer realm="r"#,
                vec![bearer("r", "", "")],
            ),
            ("empty", "", vec![]),
            ("commas", " , ,", vec![]),
        ] {
            assert_eq!(parse(value), wanted, "{name}");
        }
    }

    #[test]
    fn tokens_are_preferred() {
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, "Basic".parse().expect("a value"))]);
        assert_eq!(best(&headers), Some(Challenge::Basic));
        let mut both = headers;
        both.append(WWW_AUTHENTICATE, "Bearer realm=r".parse().expect("a value"));
        assert_eq!(best(&both), Some(bearer("r", "", "")));
        assert_eq!(best(&HeaderMap::new()), None);
    }
}
