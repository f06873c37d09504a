//! Secrets of a client in this process: where each comes from, and the limit on its size.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use lamina_types::IoContext;
use lamina_types::PathError;

use crate::SessionError;

/// The largest secret, as clients have agreed (row SVC-14).
pub const MAX_SECRET_BYTES: u64 = 500 * 1024;

/// Where the value of a secret is. Only `Bytes` holds it, and its `Debug` hides it.
pub(crate) enum SecretSource {
    Bytes(Vec<u8>),
    File(PathBuf),
    Environment(OsString),
}

impl SecretSource {
    /// Returns the value; `None` if the environment has no such variable.
    pub(crate) fn read(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        let value = match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::File(path) => Some(read_file(path).map_err(|source| SessionError::Secret {
                id: id.to_owned(),
                source,
            })?),
            Self::Environment(name) => std::env::var_os(name).map(OsStringExt::into_vec),
        };
        match value.as_ref().map(|value| value.len() as u64) {
            Some(size) if size > MAX_SECRET_BYTES => Err(SessionError::SecretTooLarge {
                id: id.to_owned(),
                size,
            }),
            _ => Ok(value),
        }
    }
}

/// Reads one byte more than is allowed at the most, so that no file can exhaust memory.
fn read_file(path: &PathBuf) -> Result<Vec<u8>, PathError> {
    let mut value = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut value))
        .at(path.display())?;
    Ok(value)
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(_) => f.write_str("<redacted>"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "variable {}", name.display()),
        }
    }
}
