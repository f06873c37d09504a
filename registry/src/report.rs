//! Words for what went wrong on the wire.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::Method;
use reqwest::Response;
use reqwest::Url;
use serde::Deserialize;

use crate::bounded;

/// How much of an unstructured error is shown.
const MAX_SHOWN: usize = 300;

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Returns what the registry says in the body of an error, on one line.
pub(crate) async fn message_of(response: Response, patience: Duration) -> String {
    let status = response.status();
    let body = bounded::read(response, bounded::MAX_ERROR_BYTES, patience).await;
    let said = body.map_or_else(|_| String::new(), |body| message_in(&body));
    if said.is_empty() {
        return status
            .canonical_reason()
            .unwrap_or("no message")
            .to_lowercase();
    }
    said
}

fn message_in(body: &[u8]) -> String {
    if let Ok(parsed) = serde_json::from_slice::<ErrorBody>(body) {
        let entries: Vec<String> = parsed
            .errors
            .iter()
            .map(
                |entry| match (entry.code.as_str(), entry.message.as_str()) {
                    ("", message) => message.to_owned(),
                    (code, "") => code.to_owned(),
                    (code, message) => format!("{code}: {message}"),
                },
            )
            .collect();
        return one_line(&entries.join("; "));
    }
    one_line(&String::from_utf8_lossy(body))
}

/// Control characters could rewrite the user's terminal.
fn one_line(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SHOWN)
        .collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Says why a request got no answer: the innermost reason, without the layers around it and without
/// the URL, which may hold secrets.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() && error.is_connect() {
        return "connection timed out".to_owned();
    }
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    if let Some(io) = io_cause(error) {
        return io_reason(io);
    }
    let text = innermost(error).to_string();
    match error.url() {
        Some(url) => text.replace(&format!(" for url ({url})"), ""),
        None => text,
    }
}

/// Says why a request to `url` got no answer, in the words of Go's `net` package: clients of
/// BuildKit know these, and look for them.
#[must_use]
pub fn transport_reason(url: &Url, error: &reqwest::Error) -> String {
    let reason = reason(error);
    if !error.is_connect() {
        return reason;
    }
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    if error.is_timeout() {
        return format!("dial tcp {host}:{port}: i/o timeout");
    }
    match io_cause(error) {
        Some(io) if io.raw_os_error().is_some() => {
            format!("dial tcp {host}:{port}: connect: {reason}")
        }
        Some(io) if io.to_string().contains("lookup address") => {
            format!("dial tcp: lookup {host}: no such host")
        }
        _ => reason,
    }
}

/// Spells a method as Go's errors do: `Get`, `Head`.
#[must_use]
pub(crate) fn method_name(method: &Method) -> String {
    let mut name = method.as_str().to_ascii_lowercase();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    name
}

fn io_reason(error: &io::Error) -> String {
    let text = innermost(error).to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}

fn io_cause(error: &reqwest::Error) -> Option<&io::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = error.source();
    }
    None
}

/// Says whether the certificate of the other end was refused, so that it does speak https.
pub(crate) fn is_certificate_problem(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if text.contains("certificate") || text.contains("UnknownIssuer") {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_become_one_line() {
        for (name, body, wanted) in [
            (
                "structured",
                r#"{"errors":[{"code":"DENIED","message":"no","detail":{"x":1}}]}"#,
                "DENIED: no",
            ),
            (
                "two",
                r#"{"errors":[{"code":"A"},{"message":"b"}]}"#,
                "A; b",
            ),
            ("none", r#"{"errors":[]}"#, ""),
            ("text", "  gateway\r\n  broken ", "gateway broken"),
            ("escape codes", "a\u{1b}[2Jb", "a [2Jb"),
            ("other json", r#"{"x":1}"#, r#"{"x":1}"#),
        ] {
            assert_eq!(message_in(body.as_bytes()), wanted, "{name}");
        }
        assert_eq!(message_in(&[b'x'; 1000]).len(), MAX_SHOWN);
        assert_eq!(message_in(&[0xff, b'a']), "\u{fffd}a");
    }
}
