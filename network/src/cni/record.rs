//! What has to be taken down, also by another process.
//!
//! ```text
//! $state/cni/<id>    JSON: the configuration, the arguments, and the result of the last ADD
//! ```

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::rand::GetRandomFlags;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::CniError;
use super::config::NetworkList;

/// Bytes of an id, which has two letters for each.
const ID_BYTES: usize = 12;

/// All that a `DEL` needs.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) list: NetworkList,
    pub(super) args: String,
    pub(super) result: Option<Value>,
}

/// The notes of one state directory.
pub(super) struct Records {
    dir: PathBuf,
}

/// Makes an id for a namespace.
pub(super) fn new_id() -> io::Result<String> {
    let mut bytes = [0; ID_BYTES];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Records {
    pub(super) fn open(dir: &Path) -> Result<Self, CniError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| refused(dir, &error))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Returns those of processes that are gone, with their ids.
    pub(super) fn all(&self) -> Vec<(String, Record)> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut all = Vec::new();
        for id in names {
            match self.read(&id) {
                Ok(record) => all.push((id, record)),
                Err(error) => {
                    tracing::warn!(%error, "not taken down");
                    self.remove(&id);
                }
            }
        }
        all
    }

    pub(super) fn read(&self, id: &str) -> Result<Record, CniError> {
        let path = self.dir.join(id);
        let text = std::fs::read(&path).map_err(|error| refused(&path, &error))?;
        serde_json::from_slice(&text).map_err(|error| refused(&path, &error.into()))
    }

    pub(super) fn write(&self, id: &str, record: &Record) -> Result<(), CniError> {
        let path = self.dir.join(id);
        let text = serde_json::to_vec(record).map_err(|error| refused(&path, &error.into()))?;
        std::fs::write(&path, text).map_err(|error| refused(&path, &error))
    }

    pub(super) fn remove(&self, id: &str) {
        let path = self.dir.join(id);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, "{}", path.display());
        }
    }
}

fn refused(path: &Path, error: &io::Error) -> CniError {
    CniError::Record {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}
