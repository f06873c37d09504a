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

/// The files of an OCI archive, but for large ones.
struct Archive(BTreeMap<String, Vec<u8>>);

impl Archive {
    fn read(path: &Path) -> Self {
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
        Self(files)
    }

    fn json(&self, name: &str) -> Value {
        let data = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        serde_json::from_slice(data).expect("JSON")
    }

    fn blob(&self, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().expect("a digest");
        self.json(&format!("blobs/{}", digest.replace(':', "/")))
    }

    fn image(&self, manifest: &Value) -> Image {
        Image {
            id: manifest["config"]["digest"].to_string(),
            config: self.blob(&manifest["config"]),
            layers: manifest["layers"].as_array().expect("layers").len(),
        }
    }
}

/// Returns the only image.
pub(crate) fn image(path: &Path) -> Image {
    let archive = Archive::read(path);
    archive.image(&archive.blob(&archive.json("index.json")["manifests"][0]))
}

/// Returns the images by their platforms; one that is in no index has that of its config.
pub(crate) fn images(path: &Path) -> BTreeMap<String, Image> {
    let archive = Archive::read(path);
    let only = archive.blob(&archive.json("index.json")["manifests"][0]);
    let Some(manifests) = only["manifests"].as_array() else {
        let image = archive.image(&only);
        return [(platform(&image.config), image)].into();
    };
    let image = |descriptor: &Value| {
        let image = archive.image(&archive.blob(descriptor));
        (platform(&descriptor["platform"]), image)
    };
    manifests.iter().map(image).collect()
}

fn platform(parts: &Value) -> String {
    let parts = ["os", "architecture", "variant"].map(|name| parts[name].as_str());
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    parts.join("/")
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
