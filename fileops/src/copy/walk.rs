//! The walk through a source tree.
//!
//! Every directory is one task and so is every run of [`RUN`] names in it; no task waits for another,
//! so the depth of a tree costs no stack. A directory counts the work inside it and is finished by
//! whoever does the last piece.

use std::ops::Range;
use std::sync::Arc;

use lamina_snapshotter::Entry;
use lamina_snapshotter::Linker;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::FirstError;
use lamina_types::RootedPath;
use rayon::Scope;

use super::file::FileCopier;
use super::file::LargeFile;
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

/// A name in a directory of the target.
struct Place<'a> {
    dir: &'a WriteDir,
    /// The directory was made by the copy, so that nothing is in the way.
    is_new: bool,
    name: &'a [u8],
}

/// One source under way to one place.
pub(crate) struct Walk<'a> {
    target: &'a Target,
    settings: &'a Settings,
    cancel: &'a CancelToken,
    files: FileCopier<'a>,
    links: Links,
    failure: FirstError<FileOpError>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(target: &'a Target, settings: &'a Settings, cancel: &'a CancelToken) -> Self {
        Self {
            target,
            settings,
            cancel,
            files: FileCopier::new(settings, cancel),
            links: Links::default(),
            failure: FirstError::new(),
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
            (false, Above::Outside(parent)) => {
                return self.files(&[(name.to_vec(), source)], &parent);
            }
            (false, _) => {
                let path = place.to_string();
                return Err(FileOpError::IsADirectory { path });
            }
        }
        self.finish()
    }

    /// Copies files, which have different names, into `parent` as what they are named here.
    pub(crate) fn files(
        self,
        files: &[(Vec<u8>, Entry)],
        parent: &WriteDir,
    ) -> Result<(), FileOpError> {
        rayon::in_place_scope(|scope| {
            let mut runs = files.chunks(RUN);
            let first = runs.next().unwrap_or_default();
            for run in runs {
                scope.spawn(|scope| self.run_of_files(scope, run, parent));
            }
            self.run_of_files(scope, first, parent);
        });
        self.finish()
    }

    fn run_of_files<'s>(
        &'s self,
        scope: &Scope<'s>,
        files: &[(Vec<u8>, Entry)],
        parent: &WriteDir,
    ) {
        for (name, source) in files {
            if self.failure.is_behind(name) {
                break;
            }
            let place = Place {
                dir: parent,
                is_new: false,
                name,
            };
            let done = self.cancel.check().map_err(FileOpError::from);
            if let Err(error) = done.and_then(|()| self.put(scope, source, &place, None)) {
                self.fail(name, error);
            }
        }
    }

    /// Reports the first error, or does what had to wait for all else.
    fn finish(self) -> Result<(), FileOpError> {
        self.failure.into_result()?;
        self.links.finish(&self.target.upper, &self.files)
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
        match node.source.read_dir_while(self.cancel) {
            Ok(names) => {
                let names: Arc<[Vec<u8>]> = names.into();
                for start in (0..names.len()).step_by(RUN) {
                    let (node, names) = (Arc::clone(&node), Arc::clone(&names));
                    let run = start..names.len().min(start + RUN);
                    node.begin();
                    scope.spawn(move |scope| self.names(scope, node, &names[run]));
                }
            }
            Err(error) => self.fail(&node.relative, error.into()),
        }
        self.end(node);
    }

    fn names<'s>(&'s self, scope: &Scope<'s>, node: Arc<Node>, names: &[Vec<u8>]) {
        match self.linker(&node) {
            Ok(linker) => self.names_of(scope, (&node, linker), names),
            Err(error) => self.fail(&node.relative, error),
        }
        self.end(node);
    }

    /// Returns what links files into the copy of `node`, if nothing about them changes and nothing can
    /// be in their way.
    fn linker(&self, node: &Node) -> Result<Option<Linker>, FileOpError> {
        if !self.settings.keep_all() || node.role == Role::Passage {
            return Ok(None);
        }
        let (dir, is_new) = node.open(self.settings)?;
        let linker = is_new.then(|| dir.linker(&node.source)).transpose();
        Ok(linker?)
    }

    fn names_of<'s>(
        &'s self,
        scope: &Scope<'s>,
        (node, linker): (&Arc<Node>, Option<Linker>),
        names: &[Vec<u8>],
    ) {
        for name in names {
            let relative = node.relative_child(name);
            if self.failure.is_behind(&relative) {
                break;
            }
            let done = self.name(scope, (node, linker.as_ref()), name, &relative);
            if let Err(error) = done {
                self.fail(&relative, error);
            }
        }
    }

    fn name<'s>(
        &'s self,
        scope: &Scope<'s>,
        (node, linker): (&Arc<Node>, Option<&Linker>),
        name: &[u8],
        relative: &[u8],
    ) -> Result<(), FileOpError> {
        self.cancel.check()?;
        let verdict = self.settings.verdict(relative, &node.matched);
        if !verdict.included && !verdict.walked {
            return Ok(());
        }
        if verdict.included
            && let Some(linker) = linker
            && self.files.link_unseen(linker, name)?
        {
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
            let (parent, is_new) = node.open(self.settings)?;
            let place = Place {
                dir: &parent,
                is_new,
                name,
            };
            self.put(scope, &source, &place, Some(node))?;
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

    /// Puts anything but a directory, which is in `node` if there is one, in place of what may be there.
    fn put<'s>(
        &'s self,
        scope: &Scope<'s>,
        source: &Entry,
        place: &Place<'_>,
        node: Option<&Arc<Node>>,
    ) -> Result<(), FileOpError> {
        let Place { dir, name, .. } = *place;
        self.clear(place)?;
        if let Some(node) = node
            && self.links.is_further_name(source, dir, name)
        {
            node.await_links();
            return Ok(());
        }
        if let Some(large) = self.files.put(source, dir, name)? {
            let relative = node.map_or_else(|| name.to_vec(), |node| node.relative_child(name));
            self.spread(scope, (large, relative), node);
        }
        Ok(())
    }

    /// Removes what is in the way of a file.
    fn clear(&self, place: &Place<'_>) -> Result<(), FileOpError> {
        let existing = match place.is_new {
            true => None,
            false => place.dir.lookup(place.name)?,
        };
        let Some(existing) = existing else {
            return Ok(());
        };
        if existing.stat().is_dir() && !self.settings.replace {
            let path = place.dir.path().join(place.name).to_string();
            return Err(FileOpError::IsADirectory { path });
        }
        Ok(place.dir.remove(place.name)?)
    }

    /// Spawns the work for a large file and its path, which is in `node` if there is one.
    fn spread<'s>(
        &'s self,
        scope: &Scope<'s>,
        large: (LargeFile, Vec<u8>),
        node: Option<&Arc<Node>>,
    ) {
        let large = Arc::new(large);
        for range in large.0.ranges() {
            let (large, node) = (Arc::clone(&large), node.cloned());
            node.iter().for_each(|node| node.begin());
            scope.spawn(move |_| self.range(&large, range, node));
        }
    }

    /// Copies a range of the large file at a path.
    fn range(
        &self,
        (large, relative): &(LargeFile, Vec<u8>),
        range: Range<u64>,
        node: Option<Arc<Node>>,
    ) {
        if !self.failure.is_behind(relative)
            && let Err(error) = self.files.copy_range(large, range)
        {
            self.fail(relative, error);
        }
        if let Some(node) = node {
            self.end(node);
        }
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
        let cancelled = matches!(error, FileOpError::Cancelled(_));
        let path = if cancelled { &[][..] } else { relative };
        self.failure.note(path, error);
    }
}
