//! Metadata of copies; attributes that cannot be set are only logged (row FIL-19).

use std::fs::File;

use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;
use lamina_types::RootedPath;
use rustix::io::Errno;

use crate::target::errno;

/// Sets `change` on `name` in `dir`.
pub(crate) fn set(
    dir: &WriteDir,
    name: &[u8],
    change: &MetadataChange,
) -> Result<(), SnapshotError> {
    let path = || dir.path().join(name);
    without_refused_xattrs(change, path, |change| dir.set_metadata(name, change))
}

/// Sets `change` on `file`, which was just made as `name` in `dir`.
pub(crate) fn set_file(
    dir: &WriteDir,
    name: &[u8],
    file: &File,
    change: &MetadataChange,
) -> Result<(), SnapshotError> {
    let path = || dir.path().join(name);
    without_refused_xattrs(change, path, |change| dir.set_file_metadata(file, change))
}

/// Sets `change` on `dir` itself.
pub(crate) fn set_own(dir: &WriteDir, change: &MetadataChange) -> Result<(), SnapshotError> {
    let path = || dir.path().clone();
    without_refused_xattrs(change, path, |change| dir.set_own_metadata(change))
}

/// Tries `change`, and again without attributes if the file system does not take them.
fn without_refused_xattrs(
    change: &MetadataChange,
    path: impl Fn() -> RootedPath,
    set: impl Fn(&MetadataChange) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    match set(change) {
        Err(error) if change.xattrs.is_some() && is_xattr_refused(&error) => {
            tracing::warn!(path = %path(), %error, "extended attributes not copied");
            set(&MetadataChange {
                xattrs: None,
                ..change.clone()
            })
        }
        other => other,
    }
}

fn is_xattr_refused(error: &SnapshotError) -> bool {
    let refusals = [
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::ACCESS,
        Errno::NOSPC,
        Errno::RANGE,
        Errno::INVAL,
        Errno::TOOBIG,
    ];
    errno(error).is_some_and(|number| refusals.contains(&number))
}
