//! Cache directories on disk. Blocking; called through the one door, or for single renames.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use lamina_snapshotter::LayerStack;
use lamina_snapshotter::size_bytes;
use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::PathError;

use super::CacheKey;
use super::CacheMountError;
use super::usage::Uses;

/// The folder `cache-mounts`.
pub(super) struct Disk(PathBuf);

const KEY: &str = "key";
const TREE: &str = "fs";
const USES: &str = "uses";
const TEMPORARY: &str = "tmp-";
/// What an empty directory looks like to steps.
const DEFAULT_MODE: u32 = 0o755;

/// The directories that were found, by number.
type KnownDirs = BTreeMap<u64, (CacheKey, Uses)>;

impl Disk {
    /// Opens the folder; returns what is in it. What is none of ours is removed, as far as it can be.
    pub(super) fn open(dir: &Path) -> Result<(Self, KnownDirs), PathError> {
        make_dir(dir)?;
        let disk = Self(dir.to_owned());
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(dir).at(dir.display())? {
            let path = entry.at(dir.display())?.path();
            match disk.identify(&path) {
                Some((number, key)) => {
                    let uses = disk.uses(number);
                    drop(found.insert(number, (key, uses)));
                }
                None => discard(&path),
            }
        }
        Ok((disk, found))
    }

    /// Returns when and how often a directory was used, as far as that was written down.
    fn uses(&self, number: u64) -> Uses {
        let path = self.path(number);
        let written = fs::read(path.join(USES)).ok();
        let uses = written.and_then(|json| serde_json::from_slice(&json).ok());
        uses.unwrap_or_else(|| {
            let created = fs::metadata(path.join(KEY)).and_then(|key| key.modified());
            Uses::new(created.unwrap_or_else(|_| SystemTime::now()))
        })
    }

    /// Writes down when and how often a directory was used. Losing that is no harm.
    pub(super) fn write_uses(&self, number: u64, uses: &Uses) {
        let file = self.path(number).join(USES);
        let written = serde_json::to_vec(uses)
            .map_err(io::Error::from)
            .and_then(|json| fs::write(&file, json));
        if let Err(error) = written {
            tracing::debug!(path = %file.display(), %error, "the use of a cache was not noted");
        }
    }

    /// Adds up what a directory takes, each inode once; one that cannot be read takes nothing.
    pub(super) fn size_bytes(&self, number: u64) -> u64 {
        let path = self.path(number).join(TREE);
        let counted = self
            .open_dir(number)
            .and_then(|tree| size_bytes(tree).map_err(io::Error::from).at(path.display()));
        counted.unwrap_or_else(|error| {
            tracing::debug!(%error, "a cache was not counted");
            0
        })
    }

    /// Returns number and key of a complete directory.
    fn identify(&self, path: &Path) -> Option<(u64, CacheKey)> {
        let number = path.file_name()?.to_str()?.parse().ok()?;
        let key = fs::read(path.join(KEY)).ok()?;
        Some((number, serde_json::from_slice(&key).ok()?))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.0.join(number.to_string())
    }

    /// Makes the directory `number` with the content of `seed`; nothing is left on error.
    pub(super) fn make(
        &self,
        number: u64,
        key: &CacheKey,
        seed: &LayerStack,
        cancel: &CancelToken,
    ) -> Result<(), CacheMountError> {
        let temporary = self.0.join(format!("{TEMPORARY}{number}"));
        let made = fill(&temporary, key, seed, cancel).and_then(|()| {
            fs::rename(&temporary, self.path(number)).at(temporary.display())?;
            Ok(())
        });
        if made.is_err() {
            remove_tree(&temporary);
        }
        made
    }

    pub(super) fn open_dir(&self, number: u64) -> Result<OwnedFd, PathError> {
        let path = self.path(number).join(TREE);
        let dir = fs::File::open(&path).at(path.display())?;
        Ok(dir.into())
    }

    /// Removes a directory that nobody uses; what cannot be removed is swept at the next start.
    pub(super) fn remove(&self, number: u64) {
        let doomed = self.0.join(format!("{TEMPORARY}{number}"));
        if fs::rename(self.path(number), &doomed).is_ok() {
            remove_tree(&doomed);
        }
    }
}

fn fill(
    dir: &Path,
    key: &CacheKey,
    seed: &LayerStack,
    cancel: &CancelToken,
) -> Result<(), CacheMountError> {
    let tree = dir.join(TREE);
    make_dir(dir)?;
    fs::create_dir(&tree).at(tree.display())?;
    let mode = fs::Permissions::from_mode(DEFAULT_MODE);
    fs::set_permissions(&tree, mode).at(tree.display())?;
    if !seed.is_empty() {
        // Copies, never links: steps write in place here.
        lamina_exporters::write_tree(seed, &tree, cancel)?;
        // Nobody could tell later that files which came from the seed lost their data with the power.
        flush(&tree)?;
    }
    let key_file = dir.join(KEY);
    let json = serde_json::to_vec(key).at(key_file.display())?;
    fs::write(&key_file, json).at(key_file.display())?;
    Ok(())
}

/// Waits until all that was written is on disk.
fn flush(dir: &Path) -> Result<(), PathError> {
    fs::File::open(dir)
        .and_then(|dir| Ok(rustix::fs::syncfs(dir)?))
        .at(dir.display())
}

/// Makes a folder that only we can enter.
fn make_dir(dir: &Path) -> Result<(), PathError> {
    let made = fs::DirBuilder::new().mode(0o700).create(dir);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.at(dir.display()),
    }
}

/// Removes what is in the way, of whatever kind.
fn discard(path: &Path) {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if is_dir {
        remove_tree(path);
    } else if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a foreign file could not be removed");
    }
}

fn remove_tree(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %dir.display(), %error, "a cache directory could not be removed");
    }
}
