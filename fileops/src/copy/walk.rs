//! The walk through a source tree.
//!
//! Every directory is one task and so is every run of [`RUN`] names in it; no task waits for another,
//! so the depth of a tree costs no stack. A directory counts the work inside it and is finished by
//! whoever does the last piece.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use lamina_snapshotter::Entry;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::RootedPath;
use rayon::Scope;

use super::file::FileCopier;
use super::links::Links;
use super::node::Above;
use super::node::Node;
use super::node::Role;
use super::settings::Matched;
use super::settings::Settings;
use super::settings::Verdict;
use crate::FileOpError;
use crate::metadata;
use crate::target::Target;

/// Names of one directory that are copied as one piece of work: some hundred microseconds of it.
const RUN: usize = 32;

/// One source under way to one place.
pub(crate) struct Walk<'a> {
    target: &'a Target,
    settings: &'a Settings,
    cancel: &'a CancelToken,
    files: FileCopier<'a>,
    links: Links,
    /// The first error in path order so far, and where.
    failure: Mutex<Option<(Vec<u8>, FileOpError)>>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(target: &'a Target, settings: &'a Settings, cancel: &'a CancelToken) -> Self {
        Self {
            target,
            settings,
            cancel,
            files: FileCopier::new(settings, cancel),
            links: Links::default(),
            failure: Mutex::new(None),
        }
    }

    /// Copies `source` to `place`, whose parent exists.
    pub(crate) fn run(self, source: Entry, place: &RootedPath) -> Result<(), FileOpError> {
        let (above, name) = match (place.parent(), place.file_name()) {
            (Some(parent), Some(name)) => (Above::Outside(self.target.upper.dir(&parent)?), name),
            _ => (Above::Nothing(self.target.upper.root()?), &b""[..]),
        };
        match (source.stat().is_dir(), above) {
            (true, above) => self.tree(above, name, source)?,
            (false, Above::Outside(parent)) => self.file(&source, &parent, name)?,
            (false, _) => {
                let path = place.to_string();
                return Err(FileOpError::IsADirectory { path });
            }
        }
        let failure = self.failure.into_inner();
        match failure.unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => self.links.finish(&self.target.upper, &self.files),
        }
    }

    /// Copies `source`, which is no directory, to `name` in `parent`.
    pub(crate) fn file(
        &self,
        source: &Entry,
        parent: &WriteDir,
        name: &[u8],
    ) -> Result<(), FileOpError> {
        self.put(source, parent, name, false, None)
    }

    /// Copies a directory; errors inside are noted, not returned.
    fn tree(&self, above: Above, name: &[u8], source: Entry) -> Result<(), FileOpError> {
        let matched = Matched::default();
        let root = Node::new(above, name, source, Vec::new(), matched, Role::Root);
        root.open(self.settings)?;
        root.begin();
        rayon::scope(|scope| self.directory(scope, root));
        Ok(())
    }

    /// Spawns the work for what is inside `node`, which has begun one piece of work for this.
    fn directory<'s>(&'s self, scope: &Scope<'s>, node: Arc<Node>) {
        match node.source.read_dir() {
            Ok(names) => {
                for run in names.chunks(RUN) {
                    let (node, run) = (Arc::clone(&node), run.to_vec());
                    node.begin();
                    scope.spawn(move |scope| self.names(scope, node, &run));
                }
            }
            Err(error) => self.fail(&node.relative, error.into()),
        }
        self.end(node);
    }

    fn names<'s>(&'s self, scope: &Scope<'s>, node: Arc<Node>, names: &[Vec<u8>]) {
        for name in names {
            let relative = node.relative_child(name);
            if self.is_behind_failure(&relative) {
                break;
            }
            if let Err(error) = self.name(scope, &node, name, &relative) {
                self.fail(&relative, error);
            }
        }
        self.end(node);
    }

    fn name<'s>(
        &'s self,
        scope: &Scope<'s>,
        node: &Arc<Node>,
        name: &[u8],
        relative: &[u8],
    ) -> Result<(), FileOpError> {
        self.cancel.check()?;
        let verdict = self.settings.verdict(relative, &node.matched);
        if !verdict.included && !verdict.walked {
            return Ok(());
        }
        let source = node.source.child(name)?;
        if source.stat().is_dir() {
            // Opened again when its turn comes: directories that wait hold no descriptors.
            drop(source);
            let (node, name) = (Arc::clone(node), name.to_vec());
            node.begin();
            scope.spawn(move |scope| self.child_directory(scope, node, &name, verdict));
        } else if verdict.included {
            let (parent, new) = node.open(self.settings)?;
            self.put(&source, &parent, name, new, Some(node))?;
        }
        Ok(())
    }

    fn child_directory<'s>(
        &'s self,
        scope: &Scope<'s>,
        node: Arc<Node>,
        name: &[u8],
        verdict: Verdict,
    ) {
        let relative = node.relative_child(name);
        match self.open_child(&node, name, &relative, verdict) {
            Ok(child) => {
                child.begin();
                self.directory(scope, child);
            }
            Err(error) => {
                self.fail(&relative, error);
                self.end(node);
            }
        }
    }

    /// Makes the node of a child directory; one that is included is made at the destination.
    fn open_child(
        &self,
        node: &Arc<Node>,
        name: &[u8],
        relative: &[u8],
        verdict: Verdict,
    ) -> Result<Arc<Node>, FileOpError> {
        let source = node.source.child(name)?;
        let role = match verdict.included {
            true => Role::Included,
            false => Role::Passage,
        };
        let above = Above::Node(Arc::clone(node));
        let relative = relative.to_vec();
        let child = Node::new(above, name, source, relative, verdict.matched, role);
        if verdict.included {
            child.open(self.settings)?;
        }
        Ok(child)
    }

    /// Puts anything but a directory in place of what may be there.
    fn put(
        &self,
        source: &Entry,
        parent: &WriteDir,
        name: &[u8],
        new: bool,
        node: Option<&Node>,
    ) -> Result<(), FileOpError> {
        let existing = match new {
            true => None,
            false => parent.lookup(name)?,
        };
        if let Some(existing) = existing {
            if existing.stat().is_dir() && !self.settings.replace {
                let path = parent.path().join(name).to_string();
                return Err(FileOpError::IsADirectory { path });
            }
            parent.remove(name)?;
        }
        if let Some(node) = node
            && self.links.is_further_name(source, parent, name)
        {
            node.await_links();
            return Ok(());
        }
        self.files.put(source, parent, name)
    }

    /// Notes that a piece of work in `node` is done, and finishes what is complete by that.
    fn end(&self, mut node: Arc<Node>) {
        while node.end() {
            if let Some(finish) = node.finish(self.settings) {
                if finish.later {
                    self.links.finish_later(finish);
                } else if let Err(error) = metadata::set_own(&finish.dir, &finish.change) {
                    self.fail(&node.relative, error.into());
                }
            }
            let Above::Node(above) = &node.above else {
                return;
            };
            node = Arc::clone(above);
        }
    }

    fn fail(&self, relative: &[u8], error: FileOpError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let cancelled = matches!(error, FileOpError::Cancelled(_));
        let key = if cancelled { &[][..] } else { relative };
        let first = failure.as_ref();
        if first.is_none_or(|(path, _)| path_order(key, path) == Ordering::Less) {
            *failure = Some((key.to_vec(), error));
        }
    }

    fn is_behind_failure(&self, relative: &[u8]) -> bool {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let first = failure.as_ref();
        first.is_some_and(|(path, _)| path_order(relative, path) == Ordering::Greater)
    }
}

/// Compares paths as a walk meets them: name by name, a directory before what is inside.
fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|&byte| byte == b'/')
        .cmp(b.split(|&byte| byte == b'/'))
}
