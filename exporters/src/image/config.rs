//! The image config as it is exported: diff ids, a history that fits the layers, and times (rows
//! RMD-01, DFL-10, EIM-15).
//!
//! Whatever a frontend put into its config survives as it is; only `rootfs`, `history` and
//! `created` are ours. The top level is sorted, as BuildKit leaves it.

use jiff::Timestamp;
use lamina_content::DEFAULT_PATH;
use lamina_content::History;
use lamina_content::RootFs;
use lamina_content::to_go_json;
use lamina_types::DiffId;
use lamina_types::Platform;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::ExportError;
use crate::cache::INLINE_CACHE_FIELD;
use crate::cache::inline_cache_value;

/// Says who wrote a history entry that the frontend did not.
const COMMENT: &str = "buildkit.exporter.image.v0";

/// A layer as the config sees it.
#[derive(Clone, Debug)]
pub(crate) struct LayerRecord {
    pub(crate) diff_id: DiffId,
    pub(crate) description: String,
    pub(crate) created: Timestamp,
}

/// What a config is made from.
pub(crate) struct ConfigInput<'a> {
    /// The frontend's, if it gave one.
    pub(crate) config: Option<&'a [u8]>,
    /// The base image's, whose times are kept (row RMD-02).
    pub(crate) base: Option<&'a [u8]>,
    pub(crate) layers: &'a [LayerRecord],
    /// No time may be later.
    pub(crate) epoch: Option<Timestamp>,
    /// Records of the build's cache, to be kept in it (row CEX-04).
    pub(crate) inline_cache: Option<&'a [u8]>,
}

/// Returns the bytes of the exported config.
///
/// # Errors
/// If the config is no config, or lacks its platform.
pub(crate) fn exported_config(input: &ConfigInput<'_>) -> Result<Vec<u8>, ExportError> {
    let mut config = parse_config(input.config)?;
    let history: Option<Vec<History>> = match config.get("history") {
        Some(history) => from_value(history)?,
        None => None,
    };
    let mut history = fit_history(history.unwrap_or_default(), input.layers);
    fill_times(&mut history, input.layers);
    if let Some(epoch) = input.epoch {
        clamp_history(&mut history, &base_history(input.base)?, epoch);
    }
    set_created(&mut config, &history, input.epoch)?;
    let rootfs = RootFs {
        diff_ids: input.layers.iter().map(|layer| layer.diff_id).collect(),
        ..RootFs::default()
    };
    config.insert("rootfs".to_owned(), to_value(&rootfs)?);
    config.insert("history".to_owned(), to_value(&history)?);
    if let Some(records) = input.inline_cache {
        config.insert(INLINE_CACHE_FIELD.to_owned(), inline_cache_value(records));
    }
    config.sort_keys();
    to_go_json(&config).map_err(|error| invalid(&error))
}

fn invalid(error: &dyn std::fmt::Display) -> ExportError {
    ExportError::BadResult(format!("invalid image config for export: {error}"))
}

fn from_value<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, ExportError> {
    serde_json::from_value(value.clone()).map_err(|error| invalid(&error))
}

fn to_value(value: &impl Serialize) -> Result<Value, ExportError> {
    serde_json::to_value(value).map_err(|error| invalid(&error))
}

fn parse_config(config: Option<&[u8]>) -> Result<Map<String, Value>, ExportError> {
    let Some(config) = config.filter(|config| !config.is_empty()) else {
        return Ok(default_config());
    };
    let config: Map<String, Value> =
        serde_json::from_slice(config).map_err(|error| invalid(&error))?;
    for key in ["os", "architecture"] {
        let text = config.get(key).and_then(Value::as_str).unwrap_or("");
        if text.is_empty() {
            return Err(invalid(&format!("missing {key}")));
        }
    }
    Ok(config)
}

/// The config of a result that has none: an empty image for this machine.
fn default_config() -> Map<String, Value> {
    let platform = Platform::host();
    let mut config = Map::new();
    config.insert("architecture".to_owned(), json!(platform.architecture));
    config.insert("os".to_owned(), json!(platform.os));
    if !platform.variant.is_empty() {
        config.insert("variant".to_owned(), json!(platform.variant));
    }
    let run = json!({ "Env": [format!("PATH={DEFAULT_PATH}")], "WorkingDir": "/" });
    config.insert("config".to_owned(), run);
    config
}

/// Makes the history have exactly one entry for each layer.
fn fit_history(mut history: Vec<History>, layers: &[LayerRecord]) -> Vec<History> {
    let mut counted = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        // More entries than layers: a frontend's mistake; what is left over made no layer.
        entry.empty_layer = counted == layers.len();
        counted += usize::from(!entry.empty_layer);
    }
    history.extend(layers[counted..].iter().map(|layer| History {
        created: Some(layer.created.to_string()),
        created_by: layer.description.clone(),
        comment: COMMENT.to_owned(),
        ..History::default()
    }));
    history
}

/// Gives every entry a time: layers their own; others that of the first new layer after a gap, and
/// from then on that of the entry before.
fn fill_times(history: &mut [History], layers: &[LayerRecord]) {
    let made_layers = history.iter_mut().filter(|entry| !entry.empty_layer);
    for (entry, layer) in made_layers.zip(layers) {
        entry
            .created
            .get_or_insert_with(|| layer.created.to_string());
    }
    let gap = history.iter().position(|entry| entry.created.is_none());
    let Some(gap) = gap else { return };
    let later = history[gap..]
        .iter()
        .find_map(|entry| entry.created.clone());
    let earlier = history[..gap]
        .iter()
        .rev()
        .find_map(|entry| entry.created.clone());
    let mut current = later.or(earlier);
    for entry in &mut history[gap..] {
        match &entry.created {
            Some(created) => current = Some(created.clone()),
            None => entry.created.clone_from(&current),
        }
    }
}

fn base_history(base: Option<&[u8]>) -> Result<Vec<History>, ExportError> {
    let Some(base) = base.filter(|base| !base.is_empty()) else {
        return Ok(Vec::new());
    };
    let base: Map<String, Value> = serde_json::from_slice(base).map_err(|error| {
        ExportError::BadResult(format!("failed to unmarshal base image config: {error}"))
    })?;
    let history: Option<Vec<History>> = match base.get("history") {
        Some(history) => from_value(history)?,
        None => None,
    };
    Ok(history.unwrap_or_default())
}

/// Brings times down to the epoch, except those that the base image already had.
fn clamp_history(history: &mut [History], base: &[History], epoch: Timestamp) {
    let same = history
        .iter()
        .zip(base)
        .take_while(|(entry, base)| entry == base)
        .count();
    for entry in &mut history[same..] {
        if is_later(entry.created.as_deref(), epoch) {
            entry.created = Some(epoch.to_string());
        }
    }
}

/// Absent and malformed times count as later.
fn is_later(time: Option<&str>, epoch: Timestamp) -> bool {
    time.and_then(|time| time.parse::<Timestamp>().ok())
        .is_none_or(|time| time > epoch)
}

/// Clamps the frontend's `created`; without one, it is that of the last entry.
fn set_created(
    config: &mut Map<String, Value>,
    history: &[History],
    epoch: Option<Timestamp>,
) -> Result<(), ExportError> {
    let created = match config.get("created") {
        None => history
            .iter()
            .rev()
            .find_map(|entry| entry.created.clone())
            .map_or(Value::Null, Value::String),
        Some(Value::String(text)) => {
            let time: Timestamp = text.parse().map_err(|error| {
                let reason = format!("failed to unmarshal creation time {text:?}: {error}");
                ExportError::BadResult(reason)
            })?;
            match epoch.filter(|epoch| time > *epoch) {
                Some(epoch) => json!(epoch.to_string()),
                None => return Ok(()),
            }
        }
        Some(_) => return Ok(()),
    };
    if created.is_null() {
        return Ok(());
    }
    config.insert("created".to_owned(), created);
    Ok(())
}

#[cfg(test)]
mod tests {
    use lamina_content::ImageConfig;
    use lamina_types::Digest;

    use super::*;

    fn layer(name: &str, second: i64) -> LayerRecord {
        LayerRecord {
            diff_id: DiffId(Digest::of(name.as_bytes())),
            description: name.to_owned(),
            created: Timestamp::from_second(second).expect("is a time"),
        }
    }

    fn exported(config: &str, layers: &[LayerRecord], epoch: Option<i64>) -> ImageConfig {
        let bytes = exported_config(&ConfigInput {
            config: Some(config.as_bytes()),
            base: None,
            layers,
            epoch: epoch.map(|epoch| Timestamp::from_second(epoch).expect("is a time")),
            inline_cache: None,
        });
        serde_json::from_slice(&bytes.expect("is a config")).expect("is a config")
    }

    fn config(history: &str) -> String {
        format!(r#"{{"os":"linux","architecture":"amd64","history":{history}}}"#)
    }

    fn times(config: &ImageConfig) -> Vec<i64> {
        let seconds = |entry: &History| {
            let time: Timestamp = entry.created.as_ref()?.parse().ok()?;
            Some(time.as_second())
        };
        config
            .history
            .iter()
            .map(|entry| seconds(entry).unwrap_or(-1))
            .collect()
    }

    #[test]
    fn missing_history_is_added() {
        let layers = [layer("local source for base", 5), layer("b", 6)];
        let result = exported(&config(r#"[{"created_by":"RUN x"}]"#), &layers, None);
        assert_eq!(result.history.len(), 2);
        assert_eq!(result.history[1].comment, COMMENT);
        assert_eq!(result.history[1].created_by, "b");
        assert_eq!(result.rootfs.diff_ids.len(), 2);
        assert_eq!(result.created.as_deref(), Some("1970-01-01T00:00:06Z"));
    }

    #[test]
    fn history_without_layers_becomes_empty() {
        let text = config(r#"[{"created_by":"a"},{"created_by":"b"},{"created_by":"c"}]"#);
        let result = exported(&text, &[layer("x", 1)], None);
        let empty: Vec<bool> = result.history.iter().map(|h| h.empty_layer).collect();
        assert_eq!(empty, [false, true, true]);
    }

    #[test]
    fn metadata_entries_get_the_time_of_the_next_new_layer() {
        let text = config(
            r#"[{"created":"1970-01-01T00:00:01Z"},{"empty_layer":true},{"created_by":"b"},
                {"empty_layer":true}]"#,
        );
        let layers = [layer("base", 1), layer("b", 9)];
        assert_eq!(times(&exported(&text, &layers, None)), [1, 9, 9, 9]);
        let only_metadata = config(r#"[{"created":"1970-01-01T00:00:03Z"},{"empty_layer":true}]"#);
        let result = exported(&only_metadata, &layers[..1], None);
        assert_eq!(times(&result), [3, 3]);
    }

    #[test]
    fn the_epoch_bounds_new_times_and_keeps_those_of_the_base() {
        let base = config(r#"[{"created":"1970-01-01T00:02:00Z","created_by":"base"}]"#);
        let text = config(
            r#"[{"created":"1970-01-01T00:02:00Z","created_by":"base"},{"created_by":"b"}]"#,
        );
        let layers = [layer("base", 1), layer("b", 90)];
        let bytes = exported_config(&ConfigInput {
            config: Some(text.as_bytes()),
            base: Some(base.as_bytes()),
            layers: &layers,
            epoch: Timestamp::from_second(60).ok(),
            inline_cache: None,
        });
        let result: ImageConfig =
            serde_json::from_slice(&bytes.expect("is a config")).expect("is a config");
        assert_eq!(times(&result), [120, 60]);
        assert_eq!(result.created.as_deref(), Some("1970-01-01T00:01:00Z"));
    }

    #[test]
    fn configs_without_a_platform_are_refused() {
        for (text, reason) in [
            ("[]", "invalid type"),
            ("null", "invalid type"),
            (r#"{"os":"linux"}"#, "missing architecture"),
            (r#"{"architecture":"amd64"}"#, "missing os"),
            (
                r#"{"os":"linux","architecture":"amd64","history":[1]}"#,
                "invalid type",
            ),
        ] {
            let error = exported_config(&ConfigInput {
                config: Some(text.as_bytes()),
                base: None,
                layers: &[],
                epoch: None,
                inline_cache: None,
            });
            let error = error.expect_err(text).to_string();
            assert!(
                error.starts_with("invalid image config for export:") && error.contains(reason),
                "{error}"
            );
        }
    }

    #[test]
    fn unknown_fields_survive_and_the_top_is_sorted() {
        let text =
            r#"{"os":"linux","x":{"b":1,"a":2},"architecture":"amd64","config":{"Cmd":["<"]}}"#;
        let bytes = exported_config(&ConfigInput {
            config: Some(text.as_bytes()),
            base: None,
            layers: &[],
            epoch: None,
            inline_cache: None,
        });
        assert_eq!(
            String::from_utf8(bytes.expect("is a config")).expect("is text"),
            concat!(
                r#"{"architecture":"amd64","config":{"Cmd":["\u003c"]},"history":[],"os":"linux","#,
                r#""rootfs":{"type":"layers","diff_ids":[]},"x":{"b":1,"a":2}}"#
            )
        );
    }
}
