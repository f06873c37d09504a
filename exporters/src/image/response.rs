//! Response keys of image outputs (row EIM-18).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lamina_content::ContentError;
use lamina_content::Descriptor;
use lamina_content::to_go_json;
use lamina_types::Digest;

use crate::ExportError;

/// Returns the keys that every image output answers with.
pub(crate) fn response(
    descriptor: &Descriptor,
    config: Option<Digest>,
    names: &str,
) -> Result<BTreeMap<String, String>, ExportError> {
    let json = to_go_json(descriptor).map_err(|source| ContentError::Json {
        what: "descriptor".to_owned(),
        source,
    })?;
    let mut keys = BTreeMap::new();
    let mut set = |key: &str, value: String| keys.insert(key.to_owned(), value);
    set("containerimage.digest", descriptor.digest.to_string());
    set("containerimage.descriptor", STANDARD.encode(json));
    if let Some(config) = config {
        set("containerimage.config.digest", config.to_string());
    }
    if !names.is_empty() {
        set("image.name", names.to_owned());
    }
    Ok(keys)
}
