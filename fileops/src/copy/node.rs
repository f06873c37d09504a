//! Directories that are being copied.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use lamina_snapshotter::Entry;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::WriteDir;
use lamina_types::RootedPath;
use lamina_types::Stat;

use super::settings::Matched;
use super::settings::Settings;
use crate::FileOpError;

/// A source directory and its copy, which is made when something first needs it.
pub(crate) struct Node {
    pub(crate) above: Above,
    /// The name of the copy in the directory above.
    pub(crate) name: Vec<u8>,
    pub(crate) source: Entry,
    /// Path of the source below the root of the copy, empty for that root.
    pub(crate) relative: Vec<u8>,
    pub(crate) matched: Matched,
    pub(crate) role: Role,
    opened: Mutex<Option<Opened>>,
    /// Pieces of work inside that are not done yet.
    work: AtomicUsize,
    /// Further names of hard-linked files will be made here at the end.
    awaits_links: AtomicBool,
}

/// What is above a directory.
pub(crate) enum Above {
    /// It is the destination's root itself.
    Nothing(WriteDir),
    /// It is the root of the copy, in an existing directory.
    Outside(WriteDir),
    /// Another directory of the copy.
    Node(Arc<Node>),
}

/// Why a directory is copied, which decides what becomes of one that exists at its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is what the copy is of: an existing one takes over the time only.
    Root,
    /// It is included: an existing one takes over everything.
    Included,
    /// Something inside is included: an existing one takes over the mode only.
    Passage,
}

#[derive(Clone)]
struct Opened {
    dir: WriteDir,
    /// What was at the place; `None` if the directory was made.
    existing: Option<Stat>,
}

impl Node {
    pub(crate) fn new(
        above: Above,
        name: &[u8],
        source: Entry,
        relative: Vec<u8>,
        matched: Matched,
        role: Role,
    ) -> Arc<Self> {
        Arc::new(Self {
            above,
            name: name.to_vec(),
            source,
            relative,
            matched,
            role,
            opened: Mutex::new(None),
            work: AtomicUsize::new(0),
            awaits_links: AtomicBool::new(false),
        })
    }

    /// Returns the path of a child below the root of the copy.
    pub(crate) fn relative_child(&self, name: &[u8]) -> Vec<u8> {
        match self.relative.is_empty() {
            true => name.to_vec(),
            false => [&self.relative, &b"/"[..], name].concat(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the copy, and whether it was made (so that nothing is inside but what was copied).
    pub(crate) fn open(&self, settings: &Settings) -> Result<(WriteDir, bool), FileOpError> {
        let mut state = self.lock();
        if state.is_none() {
            *state = Some(self.open_now(settings)?);
        }
        let opened = state.as_ref().expect("set above");
        Ok((opened.dir.clone(), opened.existing.is_none()))
    }

    fn open_now(&self, settings: &Settings) -> Result<Opened, FileOpError> {
        let (parent, new) = match &self.above {
            Above::Nothing(root) => {
                let dir = root.clone();
                // Only that it exists matters: the root of a copy takes over no attributes.
                let existing = Some(self.source.stat().clone());
                return Ok(Opened { dir, existing });
            }
            Above::Outside(parent) => (parent.clone(), false),
            Above::Node(node) => node.open(settings)?,
        };
        let found = match new {
            true => None,
            false => parent.lookup(&self.name)?,
        };
        match found {
            Some(entry) if entry.stat().is_dir() => Ok(Opened {
                dir: parent.open_dir(&self.name)?,
                existing: Some(entry.stat().clone()),
            }),
            Some(_) if self.role == Role::Passage || !settings.replace => {
                Err(FileOpError::NotADirectory {
                    path: parent.path().join(&self.name).to_string(),
                })
            }
            Some(_) => {
                parent.remove(&self.name)?;
                self.make(&parent)
            }
            None => self.make(&parent),
        }
    }

    /// Makes the directory open to ourselves alone; the rest is set when it is finished.
    fn make(&self, parent: &WriteDir) -> Result<Opened, FileOpError> {
        let dir = parent.make_dir(&self.name, 0o700)?;
        let existing = None;
        Ok(Opened { dir, existing })
    }

    /// Notes a piece of work inside.
    pub(crate) fn begin(&self) {
        self.work.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a piece of work is done; says whether it was the last.
    pub(crate) fn end(&self) -> bool {
        self.work.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(crate) fn await_links(&self) {
        self.awaits_links.store(true, Ordering::Relaxed);
    }

    /// Returns what is to be set on the copy once all inside is done; if further names of files
    /// are still to be made, `later` is true. `None` if the directory was never needed.
    pub(crate) fn finish(&self, settings: &Settings) -> Option<Finish> {
        let opened = self.lock().take()?;
        let change = self.change(&opened, settings);
        let later = self.awaits_links.load(Ordering::Relaxed);
        (!change.is_empty()).then(|| Finish {
            dir: opened.dir,
            change,
            later,
        })
    }

    fn change(&self, opened: &Opened, settings: &Settings) -> MetadataChange {
        let stat = self.source.stat();
        let all = settings.metadata(stat);
        match (&opened.existing, self.role) {
            (None, _) => all,
            (Some(_), Role::Root) => MetadataChange {
                mtime_ns: all.mtime_ns,
                ..MetadataChange::default()
            },
            (Some(_), Role::Passage) => MetadataChange {
                mode: Some(stat.mode),
                ..MetadataChange::default()
            },
            (Some(existing), Role::Included) => MetadataChange {
                xattrs: all
                    .xattrs
                    .map(|new| existing.xattrs.clone().into_iter().chain(new).collect()),
                ..all
            },
        }
    }
}

/// The end of a directory's copy.
pub(crate) struct Finish {
    pub(crate) dir: WriteDir,
    pub(crate) change: MetadataChange,
    /// Not before the further names of hard-linked files are made.
    pub(crate) later: bool,
}

impl Finish {
    pub(crate) fn path(&self) -> &RootedPath {
        self.dir.path()
    }
}
