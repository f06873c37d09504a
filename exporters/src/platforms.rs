//! Which platforms a result is for (row RMD-03).

use lamina_content::ImageConfig;
use lamina_types::Platform;
use serde::Deserialize;

use crate::ExportError;
use crate::ExportInput;

/// Metadata that maps ids of refs to platforms.
pub(crate) const PLATFORMS_KEY: &str = "refs.platforms";
/// Metadata that holds image configs.
pub(crate) const CONFIG_KEY: &str = "containerimage.config";

/// One file system of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlatformRef {
    /// Its key in the map, and in metadata keys.
    pub(crate) id: String,
    pub(crate) platform: Platform,
}

#[derive(Deserialize)]
struct Mapping {
    #[serde(rename = "Platforms", default)]
    platforms: Option<Vec<MappedPlatform>>,
}

#[derive(Deserialize)]
struct MappedPlatform {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Platform")]
    platform: RawPlatform,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    #[serde(default, rename = "os.version")]
    os_version: String,
    #[serde(default, rename = "os.features")]
    os_features: Option<Vec<String>>,
}

/// Returns the platforms of a result: as mapped, else the one of its config, else this machine's.
///
/// # Errors
/// If a map has no mapping, or the mapping or the config is malformed.
pub(crate) fn platforms_of(input: &ExportInput) -> Result<Vec<PlatformRef>, ExportError> {
    match input.metadata.get(PLATFORMS_KEY) {
        Some(mapping) => parse_mapping(mapping),
        None if input.is_map() => Err(bad(
            "unable to export multiple refs, missing platforms mapping",
        )),
        None => {
            let platform = config_platform(input)?;
            let id = platform.to_string();
            Ok(vec![PlatformRef { id, platform }])
        }
    }
}

fn bad(reason: impl Into<String>) -> ExportError {
    ExportError::BadResult(reason.into())
}

fn parse_mapping(mapping: &[u8]) -> Result<Vec<PlatformRef>, ExportError> {
    let mapping: Mapping = serde_json::from_slice(mapping)
        .map_err(|error| bad(format!("failed to parse platforms of the result: {error}")))?;
    let platforms = mapping.platforms.unwrap_or_default();
    if platforms.is_empty() {
        return Err(bad("invalid empty platforms index for exporter"));
    }
    platforms.into_iter().map(checked).collect()
}

fn checked(mapped: MappedPlatform) -> Result<PlatformRef, ExportError> {
    let raw = mapped.platform;
    if mapped.id.is_empty() {
        return Err(bad("invalid empty platform key for exporter"));
    }
    if raw.os.is_empty() || raw.architecture.is_empty() {
        let id = mapped.id;
        return Err(bad(format!("invalid platform value for {id} for exporter")));
    }
    let mut platform = Platform::new(&raw.os, &raw.architecture, &raw.variant);
    platform.os_version = raw.os_version;
    platform.os_features = raw.os_features.unwrap_or_default();
    Ok(PlatformRef {
        id: mapped.id,
        platform,
    })
}

fn config_platform(input: &ExportInput) -> Result<Platform, ExportError> {
    let Some(config) = input.metadata.get(CONFIG_KEY) else {
        return Ok(Platform::host());
    };
    let config: ImageConfig = serde_json::from_slice(config)
        .map_err(|error| bad(format!("invalid image config for export: {error}")))?;
    match (config.os.is_empty(), config.architecture.is_empty()) {
        (false, false) => Ok(config.platform()),
        (true, true) => Ok(Platform::host()),
        _ => Err(bad(
            "invalid image config: os and architecture must be specified together",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lamina_snapshotter::LayerStack;

    use super::*;
    use crate::ExportRefs;

    #[test]
    fn mappings_are_checked() {
        let mut input = ExportInput::single(LayerStack::empty());
        for (mapping, reason) in [
            ("{", "failed to parse platforms"),
            ("{\"Platforms\":[]}", "invalid empty platforms index"),
            (
                "{\"Platforms\":[{\"ID\":\"\",\"Platform\":{\"os\":\"a\",\"architecture\":\"b\"}}]}",
                "invalid empty platform key",
            ),
            (
                "{\"Platforms\":[{\"ID\":\"x\",\"Platform\":{\"os\":\"a\"}}]}",
                "invalid platform value",
            ),
        ] {
            input
                .metadata
                .insert(PLATFORMS_KEY.to_owned(), mapping.into());
            let error = platforms_of(&input).expect_err(mapping).to_string();
            assert!(error.starts_with(reason), "{error}");
        }
        input.metadata.clear();
        input.refs = ExportRefs::ByPlatform(BTreeMap::new());
        let error = platforms_of(&input).expect_err("is a map without a mapping");
        assert_eq!(
            error.to_string(),
            "unable to export multiple refs, missing platforms mapping"
        );
    }

    #[test]
    fn a_config_names_its_platform() {
        let mut input = ExportInput::single(LayerStack::empty());
        let config = br#"{"os":"linux","architecture":"arm64","variant":"v8"}"#;
        input
            .metadata
            .insert(CONFIG_KEY.to_owned(), config.to_vec());
        let platforms = platforms_of(&input).expect("is well formed");
        assert_eq!(platforms[0].id, "linux/arm64");
    }
}
