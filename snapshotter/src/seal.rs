//! Sealing: making a layer mean the same on top of any stack.
//!
//! Writers, and above all the kernel, leave marks in an upper directory that only make sense on top
//! of its own lower layers. One walk over the upper, which has to be made for the usage anyway,
//!
//! - replaces every opaque mark by whiteouts for the names that the lower shows and the upper does not
//!   have, in the directory and in all those below it that the mark cut off from theirs;
//! - removes overlayfs' other attributes, refusing those that change what the layer means;
//! - marks directories that hold a whiteout with an empty `overlay.origin`: without it the kernel shows
//!   the whiteouts of a directory that merges with nothing;
//! - counts what is there, so that damage can be seen later ([`Census`]);
//! - finds the *implied parents*: directories that are in the layer only because something below them
//!   changed.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::RootedPath;

use crate::SnapshotError;
use crate::fdio;
use crate::fdio::RawStat;
use crate::metadata;
use crate::store::census::Census;
use crate::store::manifest::Manifest;
use crate::tree::Entry;
use crate::upper::Upper;
use crate::upper::make_whiteout;
use crate::xattrs::Target;

/// Attributes that say nothing about the content; the kernel leaves them behind.
const HARMLESS: [&str; 5] = ["origin", "impure", "nlink", "uuid", "upper"];

/// What is known of a layer once it is sealed.
pub(crate) struct Sealed {
    pub(crate) manifest: Manifest,
    /// Content digests of files, by inode.
    pub(crate) digests: HashMap<u64, Digest>,
}

/// Seals what `upper` has written and returns what is known of the layer.
///
/// `mounted` says whether a process may have written to it: then files are searched for attributes
/// too, which our own writer never sets.
pub(crate) fn seal(
    upper: &Upper,
    mounted: bool,
    cancel: &CancelToken,
) -> Result<Sealed, SnapshotError> {
    let mut sealer = Sealer {
        upper,
        mounted,
        counted: HashSet::new(),
        implied: BTreeSet::new(),
        manifest: Manifest::new(0, false),
        census: Census::default(),
        digests: HashMap::new(),
        todo: Vec::new(),
    };
    sealer.seal_directory(&Open {
        path: RootedPath::root(),
        dir: Arc::clone(upper.root_fd()),
        below: Some(upper.lower().root()?),
        replaced: false,
        cut_off: false,
    })?;
    while let Some(pending) = sealer.todo.pop() {
        cancel.check()?;
        sealer.seal_directory(&pending.open()?)?;
    }
    let Sealer {
        mut manifest,
        census,
        digests,
        implied,
        ..
    } = sealer;
    manifest.set_implied_parents(implied.iter());
    manifest.census = Some(census);
    manifest.links_from = upper.links().sources();
    Ok(Sealed { manifest, digests })
}

struct Sealer<'a> {
    upper: &'a Upper,
    mounted: bool,
    /// Inodes with several names that were counted.
    counted: HashSet<u64>,
    implied: BTreeSet<RootedPath>,
    manifest: Manifest,
    census: Census,
    digests: HashMap<u64, Digest>,
    todo: Vec<Pending>,
}

/// A directory of the upper that is still to be sealed; opened late, since there may be very many.
struct Pending {
    parent: Arc<OwnedFd>,
    name: Vec<u8>,
    path: RootedPath,
    /// The directory that the lower shows in place of the parent.
    parent_below: Option<Entry>,
    cut_off: bool,
}

/// A directory of the upper that is being sealed.
struct Open {
    path: RootedPath,
    dir: Arc<OwnedFd>,
    /// The directory that the lower shows at the same path.
    below: Option<Entry>,
    /// The lower shows something else there, which the directory replaces.
    replaced: bool,
    /// An opaque mark here or above hides `below`.
    cut_off: bool,
}

impl Pending {
    fn open(self) -> Result<Open, SnapshotError> {
        let dir = fdio::open_dir_readable(&self.parent, &self.name).at(&self.path)?;
        let below = match &self.parent_below {
            Some(below) => below.find_child(&self.name)?,
            None => None,
        };
        let (below, replaced) = match below {
            Some(entry) if !entry.stat().is_dir() => (None, true),
            below => (below, false),
        };
        Ok(Open {
            path: self.path,
            dir: Arc::new(dir),
            below,
            replaced,
            cut_off: self.cut_off,
        })
    }
}

impl Sealer<'_> {
    fn seal_directory(&mut self, open: &Open) -> Result<(), SnapshotError> {
        let path = &open.path;
        let before = fdio::stat_fd(&open.dir).at(path)?;
        self.census.count(path, b"", &before);
        let opaque = self.take_attributes(&Target::opened(&open.dir), path)?;
        let cut_off = open.cut_off || opaque;
        let mut names = HashSet::new();
        let mut whiteouts = false;
        for raw in fdio::read_names(&open.dir).at(path)? {
            whiteouts |= self.seal_name(open, cut_off, &raw.name)?;
            names.insert(raw.name);
        }
        if let Some(below) = open.below.as_ref().filter(|_| cut_off) {
            whiteouts |= self.hide_missing(&open.dir, below, &names, path)?;
        }
        self.note_implied(open, cut_off, names.is_empty())?;
        self.finish_directory(open, &before, whiteouts)
    }

    /// Counts, and cleans or queues, one name; says whether it is a whiteout.
    fn seal_name(
        &mut self,
        open: &Open,
        cut_off: bool,
        name: &[u8],
    ) -> Result<bool, SnapshotError> {
        let path = &open.path;
        let Some(raw) = fdio::stat_at(&open.dir, name).at(path)? else {
            return Ok(false);
        };
        if raw.is_whiteout() {
            self.census.count_whiteout(path, name);
            return Ok(true);
        }
        if raw.is_dir() {
            self.todo.push(Pending {
                parent: Arc::clone(&open.dir),
                name: name.to_vec(),
                path: path.join(name),
                parent_below: open.below.clone(),
                cut_off,
            });
            return Ok(false);
        }
        if self.mounted {
            let target = Target::name(&open.dir, name);
            self.take_attributes(&target, &path.join(name))?;
        }
        if let Some(digest) = self.upper.written().get(&raw) {
            self.digests.insert(raw.inode(), digest);
        }
        self.census.count(path, name, &raw);
        self.count(&raw);
        Ok(false)
    }

    fn count(&mut self, raw: &RawStat) {
        if self.upper.links().is_shared(raw.inode()) {
            return;
        }
        if raw.is_dir() || raw.nlink() < 2 || self.counted.insert(raw.inode()) {
            self.manifest.usage_bytes += raw.allocated_bytes();
        }
    }

    /// Removes the attributes of overlayfs; says whether one of them made the directory opaque.
    fn take_attributes(&self, target: &Target, path: &RootedPath) -> Result<bool, SnapshotError> {
        let mut opaque = false;
        let prefix = self.upper.store().namespace().prefix().as_bytes();
        for name in target.list().at(path)? {
            let Some(word) = name.strip_prefix(prefix) else {
                continue;
            };
            if self.upper.store().namespace().is_escaped(&name) {
                // An attribute of an overlay inside the step, escaped by the kernel: content.
                continue;
            }
            if word == b"opaque" && target.get(&name).at(path)?.as_deref() == Some(b"y") {
                opaque = true;
            } else if !HARMLESS.iter().any(|known| known.as_bytes() == word) {
                return Err(SnapshotError::UnsupportedAttribute {
                    path: path.clone(),
                    attribute: String::from_utf8_lossy(&name).into_owned(),
                });
            }
            target.remove(&name).at(path)?;
        }
        Ok(opaque)
    }

    /// Deletes what `below` shows and the upper does not have; says whether there was anything.
    fn hide_missing(
        &mut self,
        dir: &OwnedFd,
        below: &Entry,
        names: &HashSet<Vec<u8>>,
        path: &RootedPath,
    ) -> Result<bool, SnapshotError> {
        let mut any = false;
        for name in below.read_dir()? {
            if !names.contains(&name) {
                make_whiteout(dir, &name).at(path)?;
                self.census.count_whiteout(path, &name);
                any = true;
            }
        }
        Ok(any)
    }

    /// Decides whether the directory is only passed through.
    fn note_implied(
        &mut self,
        open: &Open,
        cut_off: bool,
        empty: bool,
    ) -> Result<(), SnapshotError> {
        let path = &open.path;
        let implied = match (self.upper.said_implied(path), &open.below) {
            // A directory in the place of a file is a change of the layer's own.
            (Some(said), _) => said && !open.replaced,
            (None, Some(below)) if !cut_off && (!empty || path.is_root()) => {
                let owners = self.upper.store().owners();
                let ours = metadata::stat_of_dir(owners, &*open.dir).at(path)?;
                same_directory(&ours, below.stat())
            }
            (None, _) => false,
        };
        if implied {
            self.implied.insert(path.clone());
        }
        Ok(())
    }

    fn finish_directory(
        &mut self,
        open: &Open,
        before: &RawStat,
        whiteouts: bool,
    ) -> Result<(), SnapshotError> {
        let path = &open.path;
        if whiteouts {
            self.manifest.has_whiteouts = true;
            let origin = self.upper.store().namespace().origin();
            let target = Target::opened(&open.dir);
            target.set(origin.as_bytes(), b"").at(path)?;
        }
        let after = fdio::stat_fd(&open.dir).at(path)?;
        if after.mtime_ns() != before.mtime_ns() {
            metadata::set_mtime(&open.dir, before.mtime_ns()).at(path)?;
        }
        self.count(&after);
        Ok(())
    }
}

/// Says whether two directories have equal metadata, times aside: those change with the content.
pub(crate) fn same_directory(a: &lamina_types::Stat, b: &lamina_types::Stat) -> bool {
    (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid) && a.xattrs == b.xattrs
}
