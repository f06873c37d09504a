//! What is to be written, found out before anything is.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::btree_map;

use lamina_snapshotter::Entry;
use lamina_snapshotter::Origin;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::Stat;

use crate::ExportError;
use crate::trees::ExportTree;

/// Deeper trees can hardly be used through paths, whose limit is 4096 bytes.
const MAX_DEPTH: usize = 2048;

/// A path below the target, relative and without links.
pub(super) type RelativePath = Vec<u8>;

/// Everything that is written, parents before children.
#[derive(Default)]
pub(super) struct Plan {
    /// Directories in order.
    pub(super) directories: Vec<PlannedDirectory>,
    /// All else, each with the index of its directory; `None` is the target itself.
    pub(super) files: Vec<PlannedFile>,
    /// Further names of files, made when all files are there: (new name, first name).
    pub(super) links: Vec<(RelativePath, RelativePath)>,
    /// Whose each path is, for results whose platforms share the target.
    owners: BTreeMap<RelativePath, Claim>,
}

/// What a tree has at a path; of several, the first.
struct Claim {
    tree: String,
    is_directory: bool,
}

pub(super) struct PlannedDirectory {
    pub(super) path: RelativePath,
    /// `None` for folders of platforms, which no tree has.
    pub(super) stat: Option<Stat>,
    pub(super) mtime_ns: Option<i128>,
}

pub(super) struct PlannedFile {
    pub(super) path: RelativePath,
    pub(super) entry: Entry,
    pub(super) mtime_ns: i128,
}

impl Plan {
    /// Adds a tree, below its own folder if trees are split.
    ///
    /// # Errors
    /// If another tree has a file where this one has anything, or the other way round, or the tree
    /// cannot be read.
    pub(super) fn add(
        &mut self,
        tree: &ExportTree,
        split: bool,
        cancel: &CancelToken,
    ) -> Result<(), ExportError> {
        let mut folder = Vec::new();
        if split {
            folder = tree.folder.clone().into_bytes();
            self.directories.push(PlannedDirectory {
                path: folder.clone(),
                stat: None,
                mtime_ns: tree.mtime_ns,
            });
        }
        let mut first_names = HashMap::new();
        let mut open = vec![children(&tree.stack.tree().root()?)?];
        while let Some(listing) = open.last_mut() {
            cancel.check()?;
            let Some(entry) = listing.next().transpose()? else {
                open.pop();
                continue;
            };
            if entry.stat().is_dir() && open.len() < MAX_DEPTH {
                open.push(children(&entry)?);
            } else if entry.stat().is_dir() {
                let reason = format!("{}: more than {MAX_DEPTH} directories deep", entry.path());
                return Err(ExportError::BadResult(reason));
            }
            let path = join(&folder, entry.path().relative());
            self.add_entry(tree, path, entry, &mut first_names)?;
        }
        Ok(())
    }

    fn add_entry(
        &mut self,
        tree: &ExportTree,
        path: RelativePath,
        entry: Entry,
        first_names: &mut HashMap<Origin, RelativePath>,
    ) -> Result<(), ExportError> {
        let stat = entry.stat();
        self.claim(&path, &tree.id, stat.is_dir())?;
        if stat.is_dir() {
            self.directories.push(PlannedDirectory {
                path,
                stat: Some(stat.clone()),
                mtime_ns: tree.mtime_ns,
            });
            return Ok(());
        }
        if stat.nlink > 1 && stat.kind == FileKind::File {
            if let Some(first) = first_names.get(&entry.origin()) {
                self.links.push((path, first.clone()));
                return Ok(());
            }
            first_names.insert(entry.origin(), path.clone());
        }
        let mtime_ns = tree.mtime_ns.unwrap_or(stat.mtime_ns);
        self.files.push(PlannedFile {
            path,
            entry,
            mtime_ns,
        });
        Ok(())
    }

    /// Two platforms may share directories, nothing else (row ELO-02).
    fn claim(
        &mut self,
        path: &RelativePath,
        id: &str,
        is_directory: bool,
    ) -> Result<(), ExportError> {
        match self.owners.entry(path.clone()) {
            btree_map::Entry::Vacant(free) => {
                let tree = id.to_owned();
                free.insert(Claim { tree, is_directory });
                Ok(())
            }
            btree_map::Entry::Occupied(taken) if is_directory && taken.get().is_directory => Ok(()),
            btree_map::Entry::Occupied(taken) => Err(ExportError::Conflict(format!(
                "cannot overwrite {} from {} with {id} when split option is disabled",
                String::from_utf8_lossy(path),
                taken.get().tree
            ))),
        }
    }

    /// Returns all paths.
    pub(super) fn names(&self) -> BTreeSet<&[u8]> {
        let directories = self.directories.iter().map(|planned| &planned.path[..]);
        let others = self.owners.keys().map(Vec::as_slice);
        directories.chain(others).collect()
    }
}

fn children(
    directory: &Entry,
) -> Result<impl Iterator<Item = Result<Entry, ExportError>> + use<>, ExportError> {
    let directory = directory.clone();
    let names = directory.read_dir()?.into_iter();
    Ok(names.map(move |name| directory.child(&name).map_err(ExportError::from)))
}

fn join(folder: &[u8], path: &[u8]) -> RelativePath {
    if folder.is_empty() {
        return path.to_vec();
    }
    [folder, b"/", path].concat()
}
