//! Configurations of networks: a list of plugins, or a single one.
//!
//! ```json
//! { "cniVersion": "1.0.0", "name": "steps", "plugins": [ { "type": "bridge", "bridge": "br0" } ] }
//! { "cniVersion": "1.0.0", "name": "steps", "type": "bridge", "bridge": "br0" }
//! ```

use std::path::Path;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use super::CniError;

/// Most bytes of a file.
const MAX_BYTES: usize = 1024 * 1024;

/// What every plugin of a network is told, and what each is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NetworkList {
    #[serde(rename = "cniVersion", skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// The network's name, by which plugins tell their notes apart.
    pub(super) name: String,
    /// In the order of `ADD`.
    pub(super) plugins: Vec<Map<String, Value>>,
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<NetworkList, CniError> {
    let refuse = |reason| CniError::Config {
        path: path.display().to_string(),
        reason,
    };
    let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    if text.len() > MAX_BYTES {
        return Err(refuse("the file is too long".to_owned()));
    }
    parse(&text).map_err(refuse)
}

impl NetworkList {
    /// Returns what `plugin`, one of the list, gets to read.
    pub(super) fn config_of(&self, plugin: &Map<String, Value>, previous: Option<&Value>) -> Value {
        let mut config = plugin.clone();
        config.insert("name".to_owned(), self.name.clone().into());
        if let Some(version) = &self.version {
            config.insert("cniVersion".to_owned(), version.clone().into());
        }
        if let Some(previous) = previous {
            config.insert("prevResult".to_owned(), previous.clone());
        }
        Value::Object(config)
    }
}

fn parse(text: &[u8]) -> Result<NetworkList, String> {
    let file: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let list = if file.contains_key("plugins") {
        serde_json::from_value(Value::Object(file)).map_err(|error| error.to_string())?
    } else {
        let text = |key| file.get(key).and_then(Value::as_str).map(str::to_owned);
        NetworkList {
            version: text("cniVersion"),
            name: text("name").ok_or("missing field `name`")?,
            plugins: vec![file],
        }
    };
    check(&list)?;
    Ok(list)
}

fn check(list: &NetworkList) -> Result<(), String> {
    if list.name.is_empty() {
        return Err("the network has no name".to_owned());
    }
    if list.plugins.is_empty() {
        return Err("there is no plugin".to_owned());
    }
    for plugin in &list.plugins {
        let kind = plugin.get("type").and_then(Value::as_str);
        let kind = kind.ok_or("a plugin has no type")?;
        if kind.is_empty() || kind.contains('/') || kind.starts_with('.') {
            return Err(format!("{kind:?} is not the name of a program"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(config: &Value) -> String {
        match parse(config.to_string().as_bytes()) {
            Ok(list) => {
                let configs = list
                    .plugins
                    .iter()
                    .map(|one| list.config_of(one, None).to_string());
                configs.collect::<Vec<_>>().join(" ")
            }
            Err(reason) => reason,
        }
    }

    #[test]
    fn lists_and_single_plugins_are_read() {
        for (config, expected) in [
            (
                json!({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "a"}, {"type": "b"}]}),
                r#"{"type":"a","name":"n","cniVersion":"1.0.0"} {"type":"b","name":"n","cniVersion":"1.0.0"}"#,
            ),
            (
                json!({"type": "a", "name": "n", "x": 1}),
                r#"{"type":"a","name":"n","x":1}"#,
            ),
            (json!({"type": "a"}), "missing field `name`"),
            (json!({"name": "", "type": "a"}), "the network has no name"),
            (json!({"name": "n", "plugins": []}), "there is no plugin"),
            (json!({"name": "n"}), "a plugin has no type"),
            (
                json!({"name": "n", "type": "../sh"}),
                "\"../sh\" is not the name of a program",
            ),
        ] {
            assert_eq!(shown(&config), expected);
        }
    }

    #[test]
    fn the_result_before_is_passed_on() {
        let list = parse(br#"{"name": "n", "type": "a"}"#).expect("valid");
        let config = list.config_of(&list.plugins[0], Some(&json!({"ips": []})));
        assert_eq!(config["prevResult"], json!({"ips": []}));
    }
}
