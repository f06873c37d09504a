//! Images, as the OCI exporter gives them and as the data describes them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use serde_json::json;

/// The image inside an OCI archive.
pub(crate) struct Image {
    /// The digest of its config.
    pub(crate) id: String,
    config: Value,
    layers: usize,
}

pub(crate) fn image(path: &Path) -> Image {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(fs::File::open(path).expect("exported"));
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // Layers are large and not looked at.
        if entry.size() < 1 << 20 {
            let mut data = Vec::new();
            entry.read_to_end(&mut data).expect("data");
            files.insert(name, data);
        }
    }
    let json = |name: &str| -> Value {
        serde_json::from_slice(files.get(name).unwrap_or_else(|| panic!("no {name}")))
            .expect("JSON")
    };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        json(&format!("blobs/{}", digest.replace(':', "/")))
    };
    let manifest = blob(&json("index.json")["manifests"][0]);
    Image {
        id: manifest["config"]["digest"].to_string(),
        config: blob(&manifest["config"]),
        layers: manifest["layers"].as_array().expect("layers").len(),
    }
}

/// Compares the image's config without what the data leaves out.
pub(crate) fn compare_config(expected: &Value, image: Image) -> Result<(), String> {
    let mut config = image.config;
    let fields = config.as_object_mut().expect("an object");
    fields.remove("created");
    fields.remove("rootfs");
    let mut history = fields.remove("history").unwrap_or_default();
    for entry in history.as_array_mut().into_iter().flatten() {
        entry.as_object_mut().map(|fields| fields.remove("created"));
    }
    if config != expected["config"] {
        return Err(format!(
            "config: expected {}, found {config}",
            expected["config"]
        ));
    }
    // Nothing is `null` there and a list of nothing here: docs/differences.md.
    let wanted = match &expected["history"] {
        Value::Null => json!([]),
        entries => entries.clone(),
    };
    if history != wanted {
        return Err(format!(
            "history: expected {}, found {history}",
            expected["history"]
        ));
    }
    if expected["layers"] != image.layers {
        return Err(format!(
            "layers: expected {}, found {}",
            expected["layers"], image.layers
        ));
    }
    Ok(())
}
