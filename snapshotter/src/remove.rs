//! Deleting whole directories, however deep, without following anything.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::io::Result;

use crate::fdio;
use crate::metadata;

/// Removes `name` from `dir`, with all that is below it. It need not exist.
///
/// Holds two descriptors at a time: it climbs back by `..`, which is safe because nobody else writes
/// to what is being deleted.
pub(crate) fn remove_tree(dir: impl AsFd, name: &[u8]) -> Result<()> {
    remove_tree_while(dir, name, &|| Ok(()))
}

/// As [`remove_tree`], asking `go_on` for every name; its error ends the removal.
pub(crate) fn remove_tree_while(
    dir: impl AsFd,
    name: &[u8],
    go_on: &dyn Fn() -> Result<()>,
) -> Result<()> {
    match rustix::fs::unlinkat(dir.as_fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let mut current = open_for_removal(dir.as_fd(), name)?;
    let mut levels = vec![Level::read(name, &current, go_on)?];
    while let Some(level) = levels.last_mut() {
        if let Some(child) = level.directories.pop() {
            let opened = open_for_removal(&current, &child)?;
            levels.push(Level::read(&child, &opened, go_on)?);
            current = opened;
            continue;
        }
        let finished = std::mem::take(&mut level.name);
        levels.pop();
        if levels.is_empty() {
            return rustix::fs::unlinkat(dir, finished, AtFlags::REMOVEDIR);
        }
        current = fdio::open_dir_readable(&current, b"..")?;
        rustix::fs::unlinkat(&current, finished, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// A directory that is being emptied: its name and the directories left in it.
struct Level {
    name: Vec<u8>,
    directories: Vec<Vec<u8>>,
}

impl Level {
    /// Unlinks everything in `dir` but directories, and returns those.
    fn read(name: &[u8], dir: &OwnedFd, go_on: &dyn Fn() -> Result<()>) -> Result<Self> {
        let mut directories = Vec::new();
        for raw in fdio::read_names_while(dir, go_on)? {
            go_on()?;
            if raw.hint == FileType::Directory {
                directories.push(raw.name);
                continue;
            }
            match rustix::fs::unlinkat(dir, raw.name.as_slice(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => directories.push(raw.name),
                Err(error) => return Err(error),
            }
        }
        let name = name.to_vec();
        Ok(Self { name, directories })
    }
}

/// Opens a directory, giving ourselves access to it first where only the mode is in the way.
fn open_for_removal(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    match fdio::open_dir_readable(dir.as_fd(), name) {
        Err(Errno::ACCESS) => {
            metadata::set_mode(&fdio::open_path(dir.as_fd(), name)?, 0o700)?;
            fdio::open_dir_readable(dir, name)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_and_wide_trees_go_and_links_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::write(&outside, "kept").unwrap();
        let root =
            fdio::open_dir_readable(rustix::fs::CWD, temp.path().as_os_str().as_encoded_bytes())
                .unwrap();
        let mut current = root.try_clone().unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&current, "d", 0o700.into()).unwrap();
            rustix::fs::symlinkat(&outside, &current, "link").unwrap();
            current = fdio::open_dir_readable(&current, b"d").unwrap();
        }
        remove_tree(&root, b"d").unwrap();
        assert!(fdio::stat_at(&root, b"d").unwrap().is_none());
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "kept");
        remove_tree(&root, b"d").unwrap();
    }
}
