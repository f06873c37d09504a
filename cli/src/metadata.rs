//! `--metadata-file`: what the exporters report, as JSON (row CLI-10).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;
use serde_json::Value;

/// Returns the response as a JSON object; values that are JSON in base64, such as the descriptor,
/// are shown as JSON.
pub(crate) fn render(response: &BTreeMap<String, String>) -> String {
    let fields: Map<String, Value> = response
        .iter()
        .map(|(key, value)| (key.clone(), decode(value)))
        .collect();
    format!("{:#}\n", Value::Object(fields))
}

fn decode(value: &str) -> Value {
    STANDARD
        .decode(value)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .filter(Value::is_object)
        .unwrap_or_else(|| Value::String(value.to_owned()))
}

/// Returns one value of the response on one line, decoded as [`render`] decodes it.
pub(crate) fn readable(value: &str) -> String {
    match decode(value) {
        Value::String(text) => text,
        json => json.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_decoded() {
        let response = BTreeMap::from([
            (
                "containerimage.descriptor".to_owned(),
                STANDARD.encode("{\"size\":1}"),
            ),
            ("image.name".to_owned(), "a".to_owned()),
        ]);
        let json: Value = serde_json::from_str(&render(&response)).expect("JSON");
        assert_eq!(json["containerimage.descriptor"]["size"], 1);
        assert_eq!(json["image.name"], "a");
        assert_eq!(readable(&STANDARD.encode("{\"size\":1}")), "{\"size\":1}");
        assert_eq!(readable("a"), "a");
    }
}
