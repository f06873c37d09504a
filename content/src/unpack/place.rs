//! Finding the directory that an entry goes to, inside a root that cannot be left.

use std::collections::HashMap;
use std::collections::VecDeque;

use lamina_snapshotter::WriteDir;
use lamina_types::FileKind;
use lamina_types::PathError;
use lamina_types::RootedPath;
use rustix::io::Errno;

use super::extract::Rules;
use crate::ContentError;

/// As the kernel's `MAXSYMLINKS`, with room to spare.
const MAX_LINKS: u32 = 255;
/// Open directories that are remembered.
const MAX_CACHED: usize = 256;

/// Resolves the paths of an archive below one directory.
pub(super) struct Places {
    root: WriteDir,
    /// What becomes of links that climb out of the root: refused in archives, while in layers the root
    /// is the end of the world.
    refuses_escapes: bool,
    /// Directories by their cleaned path as written, before symlinks.
    cache: HashMap<Vec<u8>, WriteDir>,
    /// Paths of parents that had to be made.
    made: Vec<RootedPath>,
}

/// What becomes of missing directories.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    /// Made only to hold something: other layers may say what they really are.
    Imply,
    Fail,
}

impl Places {
    /// Resolves below `root`.
    pub(super) fn new(root: WriteDir, rules: Rules) -> Self {
        Self {
            root,
            refuses_escapes: rules == Rules::Archive,
            cache: HashMap::new(),
            made: Vec::new(),
        }
    }

    /// Returns the directory that holds `path`, and the last component; `None` if the path is the
    /// root itself. `path` is cleaned as text first, as BuildKit does it.
    ///
    /// # Errors
    /// If a parent is no directory, or there are too many links.
    pub(super) fn of(
        &mut self,
        path: &[u8],
        missing: Missing,
    ) -> Result<Option<(WriteDir, Vec<u8>)>, ContentError> {
        let mut parts = clean(path);
        let Some(name) = parts.pop() else {
            return Ok(None);
        };
        let key = parts.join(&b'/');
        if let Some(directory) = self.cache.get(&key) {
            return Ok(Some((directory.clone(), name.to_vec())));
        }
        let directory = self
            .walk(&parts, missing)
            .map_err(|error| in_entry(error, path))?;
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(key, directory.clone());
        Ok(Some((directory, name.to_vec())))
    }

    /// Forgets what was resolved: something that existed was replaced.
    pub(super) fn forget(&mut self) {
        self.cache.clear();
    }

    /// Returns the directories that had to be made since the last call.
    pub(super) fn take_made(&mut self) -> Vec<RootedPath> {
        std::mem::take(&mut self.made)
    }

    fn walk(&mut self, parts: &[&[u8]], missing: Missing) -> Result<WriteDir, ContentError> {
        let mut way = Way::new(&self.root, parts);
        while let Some((name, from_link)) = way.next_part() {
            let here = way.here().clone();
            self.check_escape(&way)?;
            let Some(found) = here.lookup(&name)? else {
                // Docker makes no directories where a link of an archive leads to nothing.
                let missing = match missing {
                    Missing::Make if from_link => Missing::Fail,
                    other => other,
                };
                way.open.push(self.make(&here, &name, missing)?);
                continue;
            };
            match found.stat().kind {
                FileKind::Directory => way.open.push(here.open_dir(&name)?),
                FileKind::Symlink if way.links == MAX_LINKS => {
                    return Err(io_error(&here, &name, Errno::LOOP));
                }
                FileKind::Symlink => way.follow(&found.stat().link_target),
                _ => return Err(io_error(&here, &name, Errno::NOTDIR)),
            }
        }
        self.check_escape(&way)?;
        Ok(way.here().clone())
    }

    fn check_escape(&self, way: &Way) -> Result<(), ContentError> {
        if way.escaped && self.refuses_escapes {
            // Named by the caller.
            let reason = "a symlink on the way leads out of the archive";
            return Err(ContentError::entry(b"", reason));
        }
        Ok(())
    }

    fn make(
        &mut self,
        here: &WriteDir,
        name: &[u8],
        missing: Missing,
    ) -> Result<WriteDir, ContentError> {
        let made = match missing {
            Missing::Make => here.make_dir(name, 0o755)?,
            Missing::Imply => here.make_implied_dir(name, 0o755)?,
            Missing::Fail => return Err(io_error(here, name, Errno::NOENT)),
        };
        self.made.push(made.path().clone());
        Ok(made)
    }
}

/// A path being walked: what is open, and what is left.
struct Way {
    /// From the root down; never empty.
    open: Vec<WriteDir>,
    work: VecDeque<Vec<u8>>,
    /// Symlinks followed.
    links: u32,
    /// How many components at the front of `work` a symlink put there.
    linked: usize,
    /// A `..` was met at the root.
    escaped: bool,
}

impl Way {
    fn new(root: &WriteDir, parts: &[&[u8]]) -> Self {
        Self {
            open: vec![root.clone()],
            work: parts.iter().map(|part| part.to_vec()).collect(),
            links: 0,
            linked: 0,
            escaped: false,
        }
    }

    fn here(&self) -> &WriteDir {
        self.open.last().expect("the root is never closed")
    }

    /// Takes the next component, and says whether a symlink put it there. `..` stops at the root.
    fn next_part(&mut self) -> Option<(Vec<u8>, bool)> {
        loop {
            let name = self.work.pop_front()?;
            let from_link = self.linked > 0;
            self.linked = self.linked.saturating_sub(1);
            if name != b".." {
                return Some((name, from_link));
            }
            self.escaped |= self.open.len() == 1;
            self.open.truncate((self.open.len() - 1).max(1));
        }
    }

    /// Puts the target of a symlink in front; an absolute one starts again at the root.
    fn follow(&mut self, target: &[u8]) {
        self.links += 1;
        if target.starts_with(b"/") {
            self.open.truncate(1);
        }
        for part in components(target).rev() {
            self.work.push_front(part.to_vec());
            self.linked += 1;
        }
    }
}

fn io_error(directory: &WriteDir, name: &[u8], source: Errno) -> ContentError {
    ContentError::Io(PathError {
        path: directory.path().join(name).to_string(),
        source: source.into(),
    })
}

/// Names the entry in errors of the walk.
fn in_entry(error: ContentError, path: &[u8]) -> ContentError {
    match error {
        ContentError::Io(inner) => ContentError::entry(path, inner.to_string()),
        ContentError::BadEntry { reason, .. } => ContentError::entry(path, reason),
        other => other,
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

/// Cleans a path as text: `..` takes the part before it and stops at the root.
pub(super) fn clean(path: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    for part in components(path) {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts
}
