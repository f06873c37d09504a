//! The files of the Container Device Interface, as far as they mean something here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

use crate::DeviceNode;
use crate::HostDevices;
use crate::HostMount;

/// Bytes of the longest file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Description {
    /// `vendor/class`.
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) devices: Vec<Device>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// What a step that has the device gets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Mount>,
    hooks: Vec<Hook>,
    additional_gids: Vec<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    host_path: Option<PathBuf>,
    permissions: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: PathBuf,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Hook {
    path: String,
}

/// Reads a file; its name says in which language it is.
pub(super) fn read(path: &Path) -> io::Result<Description> {
    let mut text = String::new();
    let mut file = File::open(path)?;
    if file.metadata()?.len() > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    file.by_ref().take(MAX_BYTES).read_to_string(&mut text)?;
    let is_json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let description: Description = if is_json {
        serde_json::from_str(&text)?
    } else {
        serde_yaml_ng::from_str(&text).map_err(io::Error::other)?
    };
    if split_kind(&description.kind).is_none() {
        let text = format!("{:?} is no kind of device", description.kind);
        return Err(io::Error::other(text));
    }
    Ok(description)
}

/// Splits `vendor/class`.
pub(super) fn split_kind(kind: &str) -> Option<(&str, &str)> {
    let (vendor, class) = kind.split_once('/')?;
    let fits = |text: &str, more: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
    };
    (fits(vendor, "_-.") && fits(class, "_-")).then_some((vendor, class))
}

impl Edits {
    /// Translates; `Err` says what a step cannot have.
    pub(super) fn to_host(&self) -> Result<HostDevices, String> {
        let mounts = self.mounts.iter().map(Mount::to_host);
        Ok(HostDevices {
            env: self.env.clone(),
            nodes: self.device_nodes.iter().map(Node::to_host).collect(),
            mounts: mounts.collect::<Result<_, _>>()?,
            groups: self.additional_gids.clone(),
            left_out: self
                .hooks
                .iter()
                .map(|hook| format!("the hook {}", hook.path))
                .collect(),
        })
    }
}

impl Node {
    fn to_host(&self) -> DeviceNode {
        let path = self.host_path.clone();
        DeviceNode {
            path: path.unwrap_or_else(|| PathBuf::from(&self.path)),
            dest: self.path.clone(),
            access: self.permissions.clone().unwrap_or_else(|| "rwm".to_owned()),
        }
    }
}

impl Mount {
    /// Options that a bind mount cannot have are the vendor's hints to other runtimes; how mounts
    /// spread is never taken from a file.
    fn to_host(&self) -> Result<HostMount, String> {
        if !matches!(self.kind.as_str(), "" | "bind" | "none") {
            return Err(format!("mounts of type {:?} are not supported", self.kind));
        }
        let has = |option: &str| self.options.iter().any(|given| given == option);
        Ok(HostMount {
            path: self.host_path.clone(),
            dest: self.container_path.clone(),
            readonly: has("ro"),
            nosuid: has("nosuid"),
            nodev: has("nodev"),
            noexec: has("noexec"),
        })
    }
}
