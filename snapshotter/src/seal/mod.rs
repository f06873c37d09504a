//! Sealing: making a layer mean the same on top of any stack.
//!
//! Writers, and above all the kernel, leave marks in an upper directory that only make sense on top
//! of its own lower layers. One walk over the upper, on all threads, which has to be made for the usage anyway,
//!
//! - replaces every opaque mark by whiteouts for the names that the lower shows and the upper does not
//!   have, in the directory and in all those below it that the mark cut off from theirs;
//! - removes overlayfs' other attributes, refusing those that change what the layer means;
//! - marks directories that hold a whiteout with an empty `overlay.origin`: without it the kernel shows
//!   the whiteouts of a directory that merges with nothing;
//! - counts what is there, so that damage can be seen later ([`Census`]);
//! - finds the *implied parents*: directories that are in the layer only because something below them
//!   changed.

mod directory;
mod finish;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::FileKind;
use lamina_types::FirstError;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use rayon::Scope;
use rustix::io::Errno;

use self::directory::Directory;
use self::directory::Open;
use self::directory::Pending;
pub(crate) use self::finish::same_directory;
use crate::SnapshotError;
use crate::fdio;
use crate::fdio::RawStat;
use crate::store::census::Census;
use crate::store::manifest::Manifest;
use crate::upper::Upper;
use crate::xattrs::Target;

/// Attributes that say nothing about the content; the kernel leaves them behind.
const HARMLESS: [&str; 5] = ["origin", "impure", "nlink", "uuid", "upper"];

/// Names of one directory that are looked at as one piece of work: some hundred microseconds of it.
const RUN: usize = 128;

/// What is known of a layer once it is sealed.
pub(crate) struct Sealed {
    pub(crate) manifest: Manifest,
    /// Content digests of files, by inode.
    pub(crate) digests: HashMap<u64, Digest>,
}

/// Seals what `upper` has written and returns what is known of the layer.
///
/// `mounted` says whether a process may have written to it: then files are searched for attributes
/// too, which our own writer never sets. Uses the current rayon pool.
///
/// # Errors
/// I/O errors and [`SnapshotError::UnsupportedAttribute`], of several the first in path order;
/// [`SnapshotError::Cancelled`].
pub(crate) fn seal(
    upper: &Upper,
    mounted: bool,
    cancel: &CancelToken,
) -> Result<Sealed, SnapshotError> {
    let root = Open {
        path: RootedPath::root(),
        dir: Arc::clone(upper.root_fd()),
        below: Some(upper.lower().root()?),
        replaced: false,
        cut_off: false,
    };
    let sealer = Sealer {
        upper,
        mounted,
        cancel,
        counted: Mutex::default(),
        tally: Mutex::default(),
        failure: FirstError::new(),
    };
    rayon::scope(|scope| sealer.attempt(&RootedPath::root(), || sealer.directory(scope, root)));
    sealer.failure.into_result()?;
    let tally = sealer.tally.into_inner();
    let tally = tally.unwrap_or_else(PoisonError::into_inner);
    let mut manifest = Manifest::new(tally.usage_bytes, tally.has_whiteouts);
    manifest.set_implied_parents(tally.implied.iter());
    manifest.census = Some(tally.census);
    manifest.single_names = !(tally.has_further_names || upper.links().has_further_names());
    manifest.links_from = upper.links().sources();
    let digests = tally.digests;
    Ok(Sealed { manifest, digests })
}

/// What the threads share. A directory is one task, and so is every [`RUN`] of the names of a large one;
/// no task waits for another.
struct Sealer<'a> {
    upper: &'a Upper,
    mounted: bool,
    cancel: &'a CancelToken,
    /// Inodes with several names that were counted.
    counted: Mutex<HashSet<u64>>,
    tally: Mutex<Tally>,
    failure: FirstError<SnapshotError>,
}

/// What was found, in some names or in all.
#[derive(Default)]
struct Tally {
    usage_bytes: u64,
    has_whiteouts: bool,
    /// A file of the layer's own has several names.
    has_further_names: bool,
    census: Census,
    implied: BTreeSet<RootedPath>,
    digests: HashMap<u64, Digest>,
}

impl Sealer<'_> {
    /// Does a piece of work at `path`, unless its result does not count any more.
    fn attempt(&self, path: &RootedPath, work: impl FnOnce() -> Result<(), SnapshotError>) {
        if !self.failure.is_behind(path.as_bytes())
            && let Err(error) = work()
        {
            self.fail(path, error);
        }
    }

    fn fail(&self, path: &RootedPath, error: SnapshotError) {
        let cancelled = matches!(error, SnapshotError::Cancelled(_));
        let path = if cancelled { &[][..] } else { path.as_bytes() };
        self.failure.note(path, error);
    }

    fn directory<'s>(&'s self, scope: &Scope<'s>, mut open: Open) -> Result<(), SnapshotError> {
        let path = &open.path;
        let before = fdio::stat_fd(&open.dir).at(path)?;
        open.cut_off |= self.take_attributes(&Target::opened(&open.dir), path)?;
        let names = self.list(&open)?;
        let runs = names.len().div_ceil(RUN).max(1);
        let directory = Arc::new(Directory {
            open,
            before,
            names,
            whiteouts: AtomicBool::new(false),
            left: AtomicUsize::new(runs),
        });
        for run in 1..runs {
            let directory = Arc::clone(&directory);
            scope.spawn(move |scope| {
                let path = directory.open.path.clone();
                self.attempt(&path, || self.run(scope, &directory, run));
            });
        }
        self.run(scope, &directory, 0)
    }

    fn list(&self, open: &Open) -> Result<Vec<Vec<u8>>, SnapshotError> {
        let go_on = || self.cancel.check().map_err(|_| Errno::CANCELED);
        let names = fdio::read_names_while(&open.dir, &go_on);
        self.cancel.check()?;
        let names = names.at(&open.path)?.into_iter();
        Ok(names.map(|raw| raw.name).collect())
    }

    /// Seals one run of names, and the directory itself if no other run is left.
    fn run<'s>(
        &'s self,
        scope: &Scope<'s>,
        directory: &Arc<Directory>,
        run: usize,
    ) -> Result<(), SnapshotError> {
        let (mut tally, mut failed) = (Tally::default(), false);
        for name in directory.names.chunks(RUN).nth(run).unwrap_or_default() {
            self.cancel.check()?;
            match self.name(directory, name, &mut tally) {
                Ok(FileKind::Directory) => self.spawn(scope, directory, name),
                Ok(_) => {}
                Err(error) => {
                    self.fail(&directory.open.path.join(name), error);
                    failed = true;
                }
            }
        }
        if tally.has_whiteouts {
            directory.whiteouts.store(true, Ordering::Relaxed);
        }
        if !failed && directory.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(directory, &mut tally)?;
        }
        self.tally().add(tally);
        Ok(())
    }

    fn spawn<'s>(&'s self, scope: &Scope<'s>, parent: &Arc<Directory>, name: &[u8]) {
        let pending = Pending {
            parent: Arc::clone(parent),
            name: name.to_vec(),
            path: parent.open.path.join(name),
        };
        scope.spawn(move |scope| {
            let path = pending.path.clone();
            self.attempt(&path, || self.directory(scope, pending.open()?));
        });
    }

    /// Counts and cleans one name, but a directory, which is not what it was when all in it is sealed;
    /// says what it is. A name that is gone counts as a whiteout that needs nothing.
    fn name(
        &self,
        directory: &Directory,
        name: &[u8],
        tally: &mut Tally,
    ) -> Result<FileKind, SnapshotError> {
        let Open { path, dir, .. } = &directory.open;
        let Some(raw) = fdio::stat_at(dir, name).at(path)? else {
            return Ok(FileKind::CharDevice);
        };
        if raw.is_whiteout() {
            tally.census.count_whiteout(path, name);
            tally.has_whiteouts = true;
        } else if !raw.is_dir() {
            if self.mounted {
                self.take_attributes(&Target::name(dir, name), &path.join(name))?;
            }
            if let Some(digest) = self.upper.written().get(&raw) {
                tally.digests.insert(raw.inode(), digest);
            }
            tally.census.count(path, name, &raw);
            self.count(&raw, tally);
        }
        Ok(raw.kind())
    }

    fn count(&self, raw: &RawStat, tally: &mut Tally) {
        if self.upper.links().is_shared(raw.inode()) {
            return;
        }
        if raw.is_dir() || raw.nlink() < 2 || self.counted().insert(raw.inode()) {
            tally.usage_bytes += raw.allocated_bytes();
        } else {
            tally.has_further_names = true;
        }
    }

    fn counted(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
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
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.usage_bytes += other.usage_bytes;
        self.has_whiteouts |= other.has_whiteouts;
        self.has_further_names |= other.has_further_names;
        self.census.add_all(other.census);
        self.implied.extend(other.implied);
        self.digests.extend(other.digests);
    }
}
