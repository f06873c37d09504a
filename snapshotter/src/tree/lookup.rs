//! Paths: symlinks are spliced into a list of our own, so the kernel never follows one.

use std::collections::VecDeque;

use lamina_types::FileKind;
use lamina_types::RootedPath;
use rustix::io::Errno;

use super::Entry;
use super::Tree;
use crate::SnapshotError;
use crate::error::errno;

/// The most symbolic links that one look-up follows.
pub(crate) const MAX_SYMLINKS: usize = 255;

/// Says which symlinks a look-up follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follow {
    /// All, also one that is the last component.
    Last,
    /// Those before the last component only.
    Parents,
}

impl Tree {
    /// Finds `path` inside the tree.
    ///
    /// Absolute targets of symlinks restart at the tree's root and `..` stops there, so the result
    /// is always inside.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, or [`SnapshotError::TooManyLinks`] after 255 symlinks.
    pub fn lookup(&self, path: &RootedPath, follow: Follow) -> Result<Entry, SnapshotError> {
        let mut walk = Walk::new(self, path);
        loop {
            match walk.step(follow)? {
                Step::More => {}
                Step::Done => return walk.into_entry(),
                Step::Missing(_) => return Err(errno(Errno::NOENT, path)),
                Step::NotDirectory(_) => return Err(errno(Errno::NOTDIR, path)),
            }
        }
    }

    /// Returns `path` with every symlink resolved; components from the first that does not exist on
    /// are kept as written.
    ///
    /// # Errors
    /// [`SnapshotError::TooManyLinks`], or what the host's file system says.
    pub fn resolve(&self, path: &RootedPath, follow: Follow) -> Result<RootedPath, SnapshotError> {
        let mut walk = Walk::new(self, path);
        loop {
            match walk.step(follow)? {
                Step::More => {}
                Step::Done => return Ok(walk.place()),
                Step::Missing(name) | Step::NotDirectory(name) => return Ok(walk.rest(&name)),
            }
        }
    }
}

/// A look-up under way.
struct Walk<'a> {
    tree: &'a Tree,
    wanted: &'a RootedPath,
    /// Directories below the root that lead to the current place.
    above: Vec<Entry>,
    /// Set once the last component turned out to be no directory.
    leaf: Option<Entry>,
    todo: VecDeque<Vec<u8>>,
    links: usize,
}

enum Step {
    More,
    Done,
    Missing(Vec<u8>),
    NotDirectory(Vec<u8>),
}

impl<'a> Walk<'a> {
    fn new(tree: &'a Tree, wanted: &'a RootedPath) -> Self {
        Self {
            tree,
            wanted,
            above: Vec::new(),
            leaf: None,
            todo: wanted.components().map(<[u8]>::to_vec).collect(),
            links: 0,
        }
    }

    /// Looks for `name` in the current directory. The root is not described for that.
    fn find(&self, name: &[u8]) -> Result<Option<Entry>, SnapshotError> {
        match self.above.last() {
            Some(current) => current.find_child(name),
            None => {
                let parts = self.tree.root_parts()?;
                Entry::find_in(self.tree, &RootedPath::root(), &parts, name)
            }
        }
    }

    fn step(&mut self, follow: Follow) -> Result<Step, SnapshotError> {
        let Some(name) = self.todo.pop_front() else {
            return Ok(Step::Done);
        };
        if self.leaf.is_some() {
            return Ok(Step::NotDirectory(name));
        }
        match name.as_slice() {
            b"." => return Ok(Step::More),
            b".." => {
                self.above.pop();
                return Ok(Step::More);
            }
            _ => {}
        }
        let Some(child) = self.find(&name)? else {
            return Ok(Step::Missing(name));
        };
        self.enter(child, follow)
    }

    fn enter(&mut self, child: Entry, follow: Follow) -> Result<Step, SnapshotError> {
        let stat = child.stat();
        let followed = !self.todo.is_empty() || follow == Follow::Last;
        if stat.is_dir() {
            self.above.push(child);
        } else if stat.kind == FileKind::Symlink && followed {
            self.splice(&stat.link_target)?;
        } else {
            self.leaf = Some(child);
        }
        Ok(Step::More)
    }

    /// Puts the components of a symlink's target in front of what is left to do.
    fn splice(&mut self, target: &[u8]) -> Result<(), SnapshotError> {
        self.links += 1;
        if self.links > MAX_SYMLINKS {
            let path = self.wanted.clone();
            return Err(SnapshotError::TooManyLinks { path });
        }
        if target.starts_with(b"/") {
            self.above.clear();
        }
        let components = target.split(|&byte| byte == b'/');
        for component in components.rev().filter(|component| !component.is_empty()) {
            self.todo.push_front(component.to_vec());
        }
        Ok(())
    }

    fn into_entry(mut self) -> Result<Entry, SnapshotError> {
        let found = self.leaf.or_else(|| self.above.pop());
        found.map_or_else(|| self.tree.root(), Ok)
    }

    /// Returns the current place.
    fn place(&self) -> RootedPath {
        let entry = self.leaf.as_ref().or(self.above.last());
        entry.map_or_else(RootedPath::root, |entry| entry.path().clone())
    }

    /// Returns the current place with `name` and all that is left to do appended as written.
    fn rest(&self, name: &[u8]) -> RootedPath {
        let start = self.place().join(name);
        self.todo.iter().fold(start, |path, name| path.join(name))
    }
}
