//! What is known of a layer: `layers/<id>/manifest`.
//!
//! JSON, one object:
//!
//! | field | meaning |
//! |---|---|
//! | `version` | 1 |
//! | `usage_bytes` | allocated bytes, each inode once, inodes of other layers not counted |
//! | `has_whiteouts` | some name is deleted |
//! | `description` | how the layer came to be, as image histories word it |
//! | `created_ns` | when it was sealed, in nanoseconds since 1970 |
//! | `implied_parents` | directories that the layer only passes through; a path is a string of one character (U+0000 to U+00FF) per byte |
//! | `links_from` | ids of the layers that this one shares inodes with |
//! | `single_names` | no file has two names in this layer; missing where that is not known |
//! | `census` | what `fs/` holds, see [`super::census`]; missing in manifests of older versions |
//! | `blobs` | image layers that unpack to this layer |
//! | `chains` | if not empty: the blobs mean this layer only on top of these chain ids |

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use lamina_types::ChainId;
use lamina_types::DiffId;
use lamina_types::Digest;
use lamina_types::LayerId;
use lamina_types::RootedPath;
use serde::Deserialize;
use serde::Serialize;

use super::census::Census;
use super::files;
use crate::SnapshotError;

const FILE: &str = "manifest";

const VERSION: u32 = 1;

/// A blob of an image store that unpacks to a layer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LayerBlob {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Digest of the blob itself.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Type of the blob in a manifest.
    pub media_type: String,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    pub(crate) usage_bytes: u64,
    pub(crate) has_whiteouts: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    pub(crate) created_ns: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    implied_parents: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) links_from: BTreeSet<LayerId>,
    #[serde(default)]
    pub(crate) single_names: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) census: Option<Census>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) blobs: Vec<LayerBlob>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) chains: Vec<ChainId>,
}

impl Manifest {
    pub(crate) fn new(usage_bytes: u64, has_whiteouts: bool) -> Self {
        Self {
            version: VERSION,
            usage_bytes,
            has_whiteouts,
            description: String::new(),
            created_ns: now_ns(),
            implied_parents: Vec::new(),
            links_from: BTreeSet::new(),
            single_names: false,
            census: None,
            blobs: Vec::new(),
            chains: Vec::new(),
        }
    }

    pub(crate) fn set_implied_parents<'a>(&mut self, paths: impl Iterator<Item = &'a RootedPath>) {
        self.implied_parents = paths.map(|path| text_of(path.as_bytes())).collect();
        self.implied_parents.sort();
    }

    pub(crate) fn implied_parents(&self) -> BTreeSet<RootedPath> {
        let paths = self.implied_parents.iter();
        paths.map(|text| RootedPath::new(bytes_of(text))).collect()
    }
}

/// Returns the time in nanoseconds since 1970; 0 where the clock is set before that.
fn now_ns() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

fn text_of(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn bytes_of(text: &str) -> Vec<u8> {
    let bytes = text.chars().map(|c| u8::try_from(u32::from(c)));
    bytes.filter_map(Result::ok).collect()
}

pub(crate) fn read(folder: &OwnedFd) -> Result<Manifest, SnapshotError> {
    let wrong = |reason: String| SnapshotError::Format {
        path: FILE.to_owned(),
        reason,
    };
    let text = files::read(folder, FILE.as_bytes())?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if manifest.version != VERSION {
        return Err(wrong(format!(
            "version {} is not {VERSION}",
            manifest.version
        )));
    }
    Ok(manifest)
}

/// Writes the manifest of a layer that is not published yet.
pub(crate) fn write(folder: &OwnedFd, manifest: &Manifest) -> Result<(), SnapshotError> {
    files::replace(folder, FILE, &encode(manifest))
}

/// Writes the manifest of a layer that others know, which has to have one whatever happens.
pub(crate) fn replace(folder: &OwnedFd, manifest: &Manifest) -> Result<(), SnapshotError> {
    files::replace_durably(folder, FILE, &encode(manifest))
}

fn encode(manifest: &Manifest) -> Vec<u8> {
    serde_json::to_vec(manifest).expect("a struct of plain fields serializes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_any_bytes_survive() {
        let path = RootedPath::new(b"/a\xff\xc3\xa4/\n\"b");
        let mut manifest = Manifest::new(7, true);
        manifest.set_implied_parents([&path, &RootedPath::root()].into_iter());
        let text = serde_json::to_string(&manifest).unwrap();
        let back: Manifest = serde_json::from_str(&text).unwrap();
        assert_eq!(back, manifest);
        assert_eq!(back.implied_parents(), [RootedPath::root(), path].into());
    }
}
