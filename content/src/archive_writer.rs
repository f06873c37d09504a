//! Tars for users: whole trees, and image archives.

use std::collections::HashMap;
use std::collections::hash_map;
use std::io::Read;
use std::io::Write;

use lamina_snapshotter::Entry as TreeEntry;
use lamina_snapshotter::Origin;
use lamina_snapshotter::Tree;
use lamina_types::CancelToken;

use crate::ContentError;
use crate::archive::Entry;
use crate::archive::EntryKind;
use crate::archive::TarWriter;
use crate::entry::entry_of;
use crate::entry::file_entry;
use crate::entry::hard_link_entry;

/// Writes a tar whose bytes depend on what is appended alone.
pub struct ArchiveWriter<W> {
    tar: TarWriter<W>,
}

/// How a tree is written.
#[derive(Clone, Debug, Default)]
pub struct TreeOptions {
    /// A folder of the archive, such as `linux_amd64`; empty: its root.
    pub folder: Vec<u8>,
    /// The time that all files get, in nanoseconds since 1970 (row ELO-05).
    pub mtime_ns: Option<i128>,
}

/// Writes the merged tree of a stack as one tar (row ELO-08): sorted, the root itself left out,
/// hard links kept within the tree's own.
///
/// # Errors
/// If the tree cannot be read or the output fails.
pub fn write_tree_tar(
    tree: &Tree,
    out: &mut dyn Write,
    cancel: &CancelToken,
) -> Result<(), ContentError> {
    let mut writer = ArchiveWriter::new(out);
    writer.append_tree(tree, &TreeOptions::default(), cancel)?;
    writer.finish()?;
    Ok(())
}

impl<W: Write> ArchiveWriter<W> {
    /// Starts a tar.
    pub fn new(out: W) -> Self {
        Self {
            tar: TarWriter::new(out),
        }
    }

    /// Appends a directory, mode 0755.
    ///
    /// # Errors
    /// If the output fails.
    pub fn append_dir(&mut self, path: &str, mtime_ns: i128) -> Result<(), ContentError> {
        let mut entry = file_entry(format!("{path}/").as_bytes(), 0o755, 0);
        entry.kind = EntryKind::Directory;
        entry.mtime_ns = mtime_ns;
        self.tar.append(&entry)
    }

    /// Appends a file, mode 0444, with `size` bytes from `data`.
    ///
    /// # Errors
    /// If `data` has fewer bytes or the output fails.
    pub fn append_file(
        &mut self,
        path: &str,
        size: u64,
        data: &mut dyn Read,
        cancel: &CancelToken,
    ) -> Result<(), ContentError> {
        let entry = file_entry(path.as_bytes(), 0o444, size);
        self.tar.append_file(&entry, data, cancel)
    }

    /// Appends all files of a tree, parents first and sorted within each directory.
    ///
    /// # Errors
    /// If the tree cannot be read or the output fails.
    pub fn append_tree(
        &mut self,
        tree: &Tree,
        options: &TreeOptions,
        cancel: &CancelToken,
    ) -> Result<(), ContentError> {
        let mut walk = TreeWalk {
            options,
            first_names: HashMap::new(),
            open: vec![Listing::of(tree.root()?)?],
        };
        while let Some(file) = walk.next_file()? {
            cancel.check()?;
            let Some(entry) = walk.entry(&file) else {
                continue;
            };
            if entry.kind == EntryKind::File && entry.size > 0 {
                self.tar.append_file(&entry, &mut file.open()?, cancel)?;
            } else {
                self.tar.append(&entry)?;
            }
        }
        Ok(())
    }

    /// Writes the end mark and gives the output back.
    ///
    /// # Errors
    /// If the output fails.
    pub fn finish(self) -> Result<W, ContentError> {
        self.tar.finish()
    }
}

/// Names of a directory that were not visited yet.
struct Listing {
    directory: TreeEntry,
    names: std::vec::IntoIter<Vec<u8>>,
}

impl Listing {
    fn of(directory: TreeEntry) -> Result<Self, ContentError> {
        let names = directory.read_dir()?.into_iter();
        Ok(Self { directory, names })
    }
}

/// Visits a tree without recursion, so that no depth is too deep.
struct TreeWalk<'a> {
    options: &'a TreeOptions,
    /// Where inodes with several names were written first.
    first_names: HashMap<Origin, Vec<u8>>,
    open: Vec<Listing>,
}

impl TreeWalk<'_> {
    fn next_file(&mut self) -> Result<Option<TreeEntry>, ContentError> {
        while let Some(listing) = self.open.last_mut() {
            let Some(name) = listing.names.next() else {
                self.open.pop();
                continue;
            };
            let file = listing.directory.child(&name)?;
            if file.stat().is_dir() {
                self.open.push(Listing::of(file.clone())?);
            }
            return Ok(Some(file));
        }
        Ok(None)
    }

    fn entry(&mut self, file: &TreeEntry) -> Option<Entry> {
        let stat = file.stat();
        let path = self.archive_path(file.path().relative());
        let mut entry = entry_of(&path, stat)?;
        if entry.kind != EntryKind::Directory && stat.nlink > 1 {
            match self.first_names.entry(file.origin()) {
                hash_map::Entry::Occupied(first) => {
                    entry = hard_link_entry(&path, first.get(), stat)?;
                }
                hash_map::Entry::Vacant(vacant) => drop(vacant.insert(path)),
            }
        }
        entry.mtime_ns = self.options.mtime_ns.unwrap_or(entry.mtime_ns);
        Some(entry)
    }

    fn archive_path(&self, path: &[u8]) -> Vec<u8> {
        if self.options.folder.is_empty() {
            return path.to_vec();
        }
        [&self.options.folder, &b"/"[..], path].concat()
    }
}
