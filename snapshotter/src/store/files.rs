//! Small files of the store, read and replaced whole.

use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use lamina_types::IoContext;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::SnapshotError;
use crate::fdio;

/// The most that is read: manifests and digests grow with the layer, but not beyond reason.
const MAX_BYTES: u64 = 256 << 20;

/// Room for most of them, so that they are read in one go.
const USUAL_BYTES: usize = 4 << 10;

/// Reads the file `name` of `dir`.
pub(crate) fn read(dir: &OwnedFd, name: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let shown = String::from_utf8_lossy(name);
    let file = File::from(fdio::open_data(dir, name).at(&shown)?);
    let mut text = Vec::with_capacity(USUAL_BYTES);
    file.take(MAX_BYTES).read_to_end(&mut text).at(&shown)?;
    Ok(text)
}

/// Replaces the file `name` in one step; after a crash it may have the old, the new or torn content.
pub(crate) fn replace(dir: &OwnedFd, name: &str, text: &[u8]) -> Result<(), SnapshotError> {
    write(dir, name, text, |_| Ok(()))
}

/// Replaces the file `name` in one step, so that after a crash it has the old or the new content. Only
/// after [`sync_dir`] it is sure to be the new one.
pub(crate) fn replace_durably(dir: &OwnedFd, name: &str, text: &[u8]) -> Result<(), SnapshotError> {
    write(dir, name, text, File::sync_data)
}

/// Waits until the names in `dir` are on disk.
pub(crate) fn sync_dir(dir: &OwnedFd) -> Result<(), SnapshotError> {
    Ok(rustix::fs::fsync(dir).at("layers")?)
}

fn write(
    dir: &OwnedFd,
    name: &str,
    text: &[u8],
    sync: impl FnOnce(&File) -> std::io::Result<()>,
) -> Result<(), SnapshotError> {
    let new_name = format!("{name}.new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let fd = rustix::fs::openat(dir, &new_name, flags | OFlags::NOFOLLOW, mode).at(&new_name)?;
    let mut file = File::from(fd);
    file.write_all(text).at(&new_name)?;
    sync(&file).at(&new_name)?;
    rustix::fs::renameat(dir, &new_name, dir, name).at(name)?;
    Ok(())
}
