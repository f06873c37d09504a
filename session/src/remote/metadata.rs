//! Metadata that goes with calls: names, patterns, results (rows SVC-01, SVC-09).

use std::fmt::Write as _;

use tonic::metadata::AsciiMetadataKey;
use tonic::metadata::AsciiMetadataValue;
use tonic::metadata::MetadataMap;

/// Adds the values of one key. If one of them is not printable ASCII, all are escaped, and a
/// further key says so.
pub(super) fn append_all<'a>(
    metadata: &mut MetadataMap,
    key: &'static str,
    values: impl IntoIterator<Item = &'a String> + Clone,
) {
    let plain = |value: &String| value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let escaped = !values.clone().into_iter().all(plain);
    for value in values {
        let value = if escaped {
            query_escape(value)
        } else {
            value.clone()
        };
        append(metadata, key, &value);
    }
    if escaped {
        append(metadata, &format!("{key}-encoded"), "1");
    }
}

/// Adds a value if header fields can have that name and that value; others cannot be sent.
pub(super) fn append(metadata: &mut MetadataMap, key: &str, value: &str) {
    let key = AsciiMetadataKey::from_bytes(key.to_ascii_lowercase().as_bytes());
    match (key, AsciiMetadataValue::try_from(value)) {
        (Ok(key), Ok(value)) => {
            metadata.append(key, value);
        }
        _ => tracing::debug!("metadata that is no header field is left out"),
    }
}

/// Escapes as the query of a URL is: a space becomes `+`, and all but letters, digits and `-_.~`
/// becomes `%XX`.
fn query_escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            _ => {
                // Writing to a string does not fail.
                write!(escaped, "%{byte:02X}").expect("a string takes text");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_together_or_not_at_all() {
        for (values, wanted, encoded) in [
            (
                &["a b", "*.go", "!x%2"][..],
                &["a b", "*.go", "!x%2"][..],
                false,
            ),
            (
                &["a b", "ü/x", "a+b%"],
                &["a+b", "%C3%BC%2Fx", "a%2Bb%25"],
                true,
            ),
            (&["tab\there", "-_.~"], &["tab%09here", "-_.~"], true),
            (&[], &[], false),
        ] {
            let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
            let mut metadata = MetadataMap::new();
            append_all(&mut metadata, "exclude-patterns", &values);
            let found: Vec<_> = metadata.get_all("exclude-patterns").iter().collect();
            assert_eq!(found, wanted);
            assert_eq!(metadata.contains_key("exclude-patterns-encoded"), encoded);
        }
    }

    #[test]
    fn what_is_no_header_field_is_left_out() {
        let mut metadata = MetadataMap::new();
        append(&mut metadata, "exporter-md-a b", "value");
        append(&mut metadata, "exporter-md-key", "two\nlines");
        append(&mut metadata, "exporter-md-Good.Key", "value");
        assert_eq!(metadata.len(), 1);
        assert_eq!(
            metadata.get("exporter-md-good.key").expect("there"),
            "value"
        );
    }
}
