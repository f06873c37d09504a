//! The image config as Docker and OCI know it (row DFL-08).
//!
//! Fields are written in the order in which BuildKit's exporter leaves them: sorted at the top,
//! and Go's order of declaration inside. Empty fields are left out as Go's `omitempty` does it.
//! What this version does not know survives in `other`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use lamina_types::DiffId;
use lamina_types::Platform;
use serde::Deserialize;
use serde::Serialize;

use crate::serde_go::is_false;
use crate::serde_go::is_zero;
use crate::serde_go::null_as_default;
use crate::serde_go::string_set;

/// Describes an image: what it runs on, how it is run, and what its layers are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Such as `amd64`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// Who made the image.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub author: String,
    /// How it is run.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: RunConfig,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// One entry for each instruction, bottom first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub history: Vec<History>,
    /// Such as `linux`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// Only for Windows.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Only for Windows.
    #[serde(
        default,
        rename = "os.version",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// The layers by what is in them.
    #[serde(default, deserialize_with = "null_as_default")]
    pub rootfs: RootFs,
    /// Such as `v7`.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub variant: String,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl ImageConfig {
    /// Returns the config of an empty image: what a result without a config is exported with
    /// (row RMD-01).
    #[must_use]
    pub fn default_for(platform: &Platform) -> Self {
        let mut config = Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            os_features: platform.os_features.clone(),
            os_version: platform.os_version.clone(),
            variant: platform.variant.clone(),
            ..Self::default()
        };
        config.config.working_dir = "/".to_owned();
        if platform.os != "windows" {
            config.config.env = vec![format!("PATH={DEFAULT_PATH}")];
        }
        config
    }

    /// Returns what the image runs on, normalised.
    #[must_use]
    pub fn platform(&self) -> Platform {
        let mut platform = Platform::new(&self.os, &self.architecture, &self.variant);
        platform.os_version.clone_from(&self.os_version);
        platform.os_features.clone_from(&self.os_features);
        platform
    }
}

/// `PATH` of an image that sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Says how an image is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// User and group, by name or number.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// Ports such as `80/tcp`.
    #[serde(with = "string_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`, in order.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// The program.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub entrypoint: Vec<String>,
    /// Its arguments.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub cmd: Vec<String>,
    /// Directories that become volumes.
    #[serde(with = "string_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Where it starts, as written: trailing and double slashes stay.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// Free text about the image.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// How it is asked to stop.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub stop_signal: String,
    /// Windows: the command is one escaped string.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// How to see whether it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for images built from this one.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub on_build: Vec<String>,
    /// What runs the shell form.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub shell: Vec<String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// How to see whether a container is well. Times are nanoseconds; 0 is the runtime's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and words, or `CMD-SHELL` and one word.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Of one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// While failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks of the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it ill.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers by what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
    /// Bottom first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<DiffId>,
}

fn layers() -> String {
    "layers".to_owned()
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: layers(),
            diff_ids: Vec::new(),
        }
    }
}

/// What one instruction did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub created_by: String,
    /// By whom.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub author: String,
    /// By what program.
    #[serde(
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub comment: String,
    /// It made no layer.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serde_go::to_go_json;

    const DOCKER: &str = concat!(
        r#"{"architecture":"amd64","config":{"User":"app","ExposedPorts":{"80/tcp":{}},"#,
        r#""Env":["A=b"],"Cmd":["x"],"WorkingDir":"/w//","StopSignal":"9","ArgsEscaped":true,"#,
        r#""Healthcheck":{"Test":["NONE"],"Interval":5},"OnBuild":["RUN x"],"Shell":["/bin/sh"],"#,
        r#""Hostname":"h"},"created":"2020-01-01T00:00:00Z","history":[{"created_by":"x","#,
        r#""empty_layer":true}],"os":"linux","rootfs":{"type":"layers","diff_ids":[]},"#,
        r#""docker_version":"1"}"#
    );

    #[test]
    fn known_and_unknown_fields_round_trip_in_order() {
        let config: ImageConfig = serde_json::from_str(DOCKER).expect("is a config");
        assert_eq!(config.config.on_build, ["RUN x"]);
        let text = String::from_utf8(to_go_json(&config).expect("has a JSON form"));
        assert_eq!(text.expect("is text"), DOCKER);
    }

    #[test]
    fn null_is_an_empty_value() {
        let text = concat!(
            r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"ExposedPorts":null,"#,
            r#""Volumes":null,"Cmd":null,"Labels":null,"OnBuild":null,"User":null},"#,
            r#""history":null,"rootfs":{"type":"layers","diff_ids":null}}"#
        );
        let config: ImageConfig = serde_json::from_str(text).expect("is a config");
        assert_eq!(config.config, RunConfig::default());
        assert_eq!(config.platform(), Platform::new("linux", "amd64", ""));
    }
}
