//! Values in the headers of the daemon's calls.
//!
//! Headers hold ASCII only. If a value of some key has other characters, all values of the key are
//! escaped as in a URL's query and `<key>-encoded: 1` says so (row SVC-01).

use tonic::metadata::KeyAndValueRef;
use tonic::metadata::MetadataMap;

/// Returns all values of a key.
pub(super) fn all(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let encoded = raw(metadata, &format!("{key}-encoded"));
    let encoded = encoded.first().is_some_and(|value| is_true(value));
    let values = raw(metadata, key);
    if !encoded {
        return values;
    }
    values.iter().map(|value| unescape(value)).collect()
}

/// Returns the first value of a key; empty if there is none.
pub(super) fn first(metadata: &MetadataMap, key: &str) -> String {
    all(metadata, key).into_iter().next().unwrap_or_default()
}

/// Returns keys and values that begin with a prefix, without it; values of one key are joined.
pub(super) fn with_prefix(
    metadata: &MetadataMap,
    prefix: &str,
) -> std::collections::BTreeMap<String, String> {
    let mut found = std::collections::BTreeMap::<String, String>::new();
    for entry in metadata.iter() {
        let KeyAndValueRef::Ascii(key, value) = entry else {
            continue;
        };
        if let Some(name) = key.as_str().strip_prefix(prefix) {
            let value = String::from_utf8_lossy(value.as_bytes());
            found
                .entry(name.to_owned())
                .and_modify(|known| {
                    known.push(',');
                    known.push_str(&value);
                })
                .or_insert_with(|| value.clone().into_owned());
        }
    }
    found
}

fn raw(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let values = metadata.get_all(key).iter();
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Undoes the escaping of a URL's query; what is not escaped properly stays as it is.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
        match escaped.and_then(hex_byte) {
            Some(value) => {
                plain.push(value);
                at += 3;
            }
            None => {
                plain.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (high, low) = (digit(*digits.first()?)?, digit(*digits.get(1)?)?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_values_are_read() {
        for (name, text, wanted) in [
            ("plain", "a/b", "a/b"),
            ("space", "a+b%20c", "a b c"),
            ("plus", "a%2Bb", "a+b"),
            ("letters", "%C3%A4", "ä"),
            ("cut short", "a%2", "a%2"),
            ("no digits", "%zz%", "%zz%"),
            ("sign", "%+1", "% 1"),
        ] {
            assert_eq!(unescape(text), wanted, "{name}");
        }
    }

    #[test]
    fn only_marked_keys_are_unescaped() {
        let mut metadata = MetadataMap::new();
        for (key, value) in [
            ("followpaths", "a%20b"),
            ("dir-name", "c%20d"),
            ("followpaths-encoded", "1"),
            ("exporter-md-x", "1"),
            ("exporter-md-x", "2"),
        ] {
            metadata.append(key, value.parse().expect("is ASCII"));
        }
        assert_eq!(all(&metadata, "followpaths"), ["a b"]);
        assert_eq!(first(&metadata, "dir-name"), "c%20d");
        assert_eq!(first(&metadata, "missing"), "");
        assert_eq!(with_prefix(&metadata, "exporter-md-")["x"], "1,2");
    }
}
