//! A directory of this host: what is in it, and what is in its files (rows SVC-02, SVC-04).
//!
//! The directory is listed once, by descriptors and without following symlinks. Entries and files are
//! looked at in batches: those of one directory through one descriptor, and all of them side by side.

use std::collections::HashMap;
use std::collections::hash_map;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use lamina_session::FileEntry;
use lamina_session::FilePiece;
use lamina_session::LocalOwner;
use lamina_session::LocalRequest;
use lamina_session::OpenFile;
use lamina_session::host;
use lamina_session::host::HostEntry;
use lamina_types::CancelToken;
use lamina_types::DeviceNumber;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::Stat;
use rayon::iter::IndexedParallelIterator as _;
use rayon::iter::IntoParallelRefIterator as _;
use rayon::iter::ParallelIterator as _;

use super::error::ServeError;

/// Entries of one directory that a thread takes at a time, as one is soon done.
const MIN_SHARE: usize = 4;

/// A directory and what is wanted of it.
pub(super) struct Listing {
    root: OwnedFd,
    owner: LocalOwner,
    entries: Vec<HostEntry>,
    /// For each entry, an earlier one that is the same file.
    same_as: HashMap<usize, usize>,
}

impl Listing {
    /// Lists what is wanted of a directory.
    pub(super) fn new(
        path: &Path,
        owner: LocalOwner,
        wanted: &LocalRequest,
        cancel: &CancelToken,
    ) -> Result<Self, ServeError> {
        let root = host::open_root(path).at(path.display())?;
        let entries = host::list(&root, wanted, cancel)?;
        let same_as = further_names(&entries);
        Ok(Self {
            root,
            owner,
            entries,
            same_as,
        })
    }

    /// Returns the size of an entry when it was listed.
    pub(super) fn size(&self, id: u32) -> u64 {
        let entry = usize::try_from(id).ok().and_then(|at| self.entries.get(at));
        entry.map_or(0, |entry| entry.fingerprint.size)
    }

    /// Describes at most `count` entries; of what vanished meanwhile, what was listed.
    pub(super) fn describe(
        &self,
        start: usize,
        count: usize,
        cancel: &CancelToken,
    ) -> Result<Vec<FileEntry>, ServeError> {
        let end = self.entries.len().min(start + count);
        let all: Vec<usize> = (start..end).collect();
        self.each(&all, cancel, |index, folder| self.entry(index, folder))
    }

    /// Opens files and reads the first piece of each.
    pub(super) fn read(
        &self,
        ids: &[u32],
        cancel: &CancelToken,
    ) -> Result<Vec<FilePiece<OpenFile>>, ServeError> {
        let known = |id: &u32| {
            let index = usize::try_from(*id).unwrap_or(usize::MAX);
            let unknown = || ServeError::Refused(format!("invalid file id {id}"));
            (index < self.entries.len())
                .then_some(index)
                .ok_or_else(unknown)
        };
        let all: Vec<usize> = ids.iter().map(known).collect::<Result<_, _>>()?;
        self.each(&all, cancel, |index, folder| {
            open(&self.entries[index], folder)
        })
    }

    /// Looks at entries side by side, each through its directory; the error is that of the first
    /// that failed.
    fn each<T: Send>(
        &self,
        indexes: &[usize],
        cancel: &CancelToken,
        look: impl Fn(usize, &OwnedFd) -> Result<T, ServeError> + Sync,
    ) -> Result<Vec<T>, ServeError> {
        let folder = |index: &usize| self.entries[*index].split().0;
        let together: Vec<&[usize]> = indexes.chunk_by(|a, b| folder(a) == folder(b)).collect();
        let look_all = |group: &&[usize]| -> Vec<Result<T, ServeError>> {
            let first = &self.entries[group[0]];
            let open = match host::open_below(&self.root, first.split().0).at(first.shown()) {
                Ok(open) => open,
                Err(error) => return vec![Err(error.into())],
            };
            let looked = group.par_iter().with_min_len(MIN_SHARE).map(|index| {
                cancel.check()?;
                look(*index, &open)
            });
            looked.collect()
        };
        let looked: Vec<Vec<_>> = together.par_iter().map(look_all).collect();
        looked.into_iter().flatten().collect()
    }

    fn entry(&self, index: usize, folder: &OwnedFd) -> Result<FileEntry, ServeError> {
        let entry = &self.entries[index];
        let (_, name) = entry.split();
        let found = &entry.fingerprint;
        let link_target = match found.kind {
            FileKind::Symlink => host::symlink_target(folder, name).at(entry.shown())?,
            _ => Vec::new(),
        };
        let (uid, gid) = match self.owner {
            LocalOwner::AsIs => (found.uid, found.gid),
            LocalOwner::Fixed { uid, gid } => (uid, gid),
        };
        let hard_link = self
            .same_as
            .get(&index)
            .map(|first| self.entries[*first].path.clone());
        let has_size = matches!(found.kind, FileKind::File | FileKind::Symlink);
        let stat = Stat {
            kind: found.kind,
            mode: found.mode,
            uid,
            gid,
            size: if has_size && hard_link.is_none() {
                found.size
            } else {
                0
            },
            mtime_ns: found.mtime_ns,
            nlink: u64::from(found.links),
            link_target,
            device: device(found),
            xattrs: host::xattrs(folder, name, travels),
        };
        Ok(FileEntry {
            path: entry.path.clone(),
            stat,
            hard_link,
        })
    }
}

/// Finds further names of files among the entries; the first name has the data.
fn further_names(entries: &[HostEntry]) -> HashMap<usize, usize> {
    let (mut first_names, mut same_as) = (HashMap::new(), HashMap::new());
    for (index, entry) in entries.iter().enumerate() {
        let found = &entry.fingerprint;
        if found.kind != FileKind::File || found.links < 2 {
            continue;
        }
        match first_names.entry((found.device, found.inode)) {
            hash_map::Entry::Occupied(first) => {
                same_as.insert(index, *first.get());
            }
            hash_map::Entry::Vacant(first) => {
                first.insert(index);
            }
        }
    }
    same_as
}

fn open(entry: &HostEntry, folder: &OwnedFd) -> Result<FilePiece<OpenFile>, ServeError> {
    let (_, name) = entry.split();
    let shown = entry.shown();
    let file = host::open_file(folder, name).at(&shown)?;
    // What was a file when it was listed may be something else now.
    if host::look_opened(&file).at(&shown)?.kind != FileKind::File {
        return Err(ServeError::Refused(format!(
            "{shown}: no regular file any more"
        )));
    }
    let file = OpenFile::new(File::from(file), shown);
    Ok(file.first(entry.fingerprint.size)?)
}

fn device(found: &host::Fingerprint) -> DeviceNumber {
    match found.kind {
        FileKind::CharDevice | FileKind::BlockDevice => DeviceNumber {
            major: found.node.0,
            minor: found.node.1,
        },
        _ => DeviceNumber::default(),
    }
}

/// Says whether an attribute travels with its file: those of users do, and capabilities. What the
/// overlay keeps in attributes is no part of the file.
fn travels(name: &[u8]) -> bool {
    let of_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    of_user || name == b"security.capability"
}
