//! The half of a transfer that makes the layer.

mod data;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lamina_session::FileEntry;
use lamina_session::LocalOwner;
use lamina_session::SessionError;
use lamina_session::host::HostEntry;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Entry;
use lamina_snapshotter::FileDigester;
use lamina_snapshotter::Follow;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::Upper;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use tokio::sync::OwnedSemaphorePermit;

use super::super::copy::DataCopier;
use super::super::copy::Flow;
use super::super::copy::Ownership;
use super::super::index::IndexEntry;
use super::super::shared;
use super::super::shared::OldFolder;
use crate::SourceError;
use crate::report::Action;
use data::Incoming;

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// One thing to do.
pub(super) enum Task {
    /// Start a layer.
    Begin,
    /// Take an entry from the last layer.
    Keep {
        entry: HostEntry,
        hard_link: Option<Vec<u8>>,
    },
    /// Make an entry; the data of a file that is not empty follows under its number.
    Make {
        id: u32,
        entry: HostEntry,
        sent: FileEntry,
    },
    Data {
        id: u32,
        data: Bytes,
        /// Lets further data in when this is written.
        held: OwnedSemaphorePermit,
    },
    End {
        id: u32,
    },
}

/// A directory on the way to the current entry.
struct Level {
    path: Vec<u8>,
    made: WriteDir,
    /// In the last layer, if it was there.
    old: Option<OldFolder>,
}

/// Makes one layer. Dropping it removes what was made.
pub(super) struct Writer {
    active: ActiveLayer,
    upper: Upper,
    ownership: Ownership,
    copier: DataCopier,
    action: Arc<Action>,
    /// Never empty: the root is the first.
    levels: Vec<Level>,
    incoming: Incoming,
    /// Metadata of directories, set at the end: making what is in them changes their times.
    directories: Vec<(Vec<u8>, MetadataChange)>,
    /// Further names and the first ones, whose data may still be on its way.
    hard_links: Vec<(Vec<u8>, Vec<u8>)>,
    entries: Vec<IndexEntry>,
}

impl Writer {
    pub(super) fn start(
        store: &SnapshotStore,
        description: String,
        last: Option<Layer>,
        action: Arc<Action>,
    ) -> Result<Self, SourceError> {
        let mut active = store.prepare(&LayerStack::empty())?;
        active.describe(description);
        let upper = active.writer();
        let old = last.map(|layer| {
            let tree = LayerStack::new([layer]).tree();
            tree.lookup(&RootedPath::root(), Follow::Parents)
        });
        let made = upper.root()?;
        let old = old.transpose()?.map(|old| OldFolder::new(old, &made));
        let root = Level {
            path: Vec::new(),
            old: old.transpose()?,
            made,
        };
        Ok(Self {
            active,
            ownership: Ownership::new(LocalOwner::AsIs),
            copier: DataCopier::default(),
            action,
            levels: vec![root],
            incoming: Incoming::new(upper.clone()),
            upper,
            directories: Vec::new(),
            hard_links: Vec::new(),
            entries: Vec::new(),
        })
    }

    /// Does the tasks: entries in their order, then the data of several files at once.
    pub(super) fn apply(
        &mut self,
        tasks: &mut Vec<Task>,
        cancel: &CancelToken,
    ) -> Result<(), SourceError> {
        for task in tasks.drain(..) {
            cancel.check()?;
            match task {
                Task::Begin => {}
                Task::Keep { entry, hard_link } => {
                    self.keep(&entry, hard_link, cancel)?;
                    self.note(entry, true);
                }
                Task::Make { id, entry, sent } => self.make(id, entry, sent)?,
                Task::Data { id, data, held } => self.incoming.data(id, data, held),
                Task::End { id } => self.incoming.end(id),
            }
        }
        for complete in self.incoming.write(&self.action, cancel)? {
            self.entries[complete.position].trusted = complete.as_announced;
        }
        Ok(())
    }

    /// Seals the layer; returns it with what the next transfer is to be compared with.
    pub(super) fn finish(
        self,
        cancel: &CancelToken,
    ) -> Result<(Layer, Vec<IndexEntry>), SourceError> {
        for (further, first) in &self.hard_links {
            cancel.check()?;
            if !shared::link_name(&self.upper, further, first)? {
                return Err(refuse(
                    further,
                    "the first name of this hard link is missing",
                ));
            }
        }
        for (path, change) in self.directories.iter().rev() {
            cancel.check()?;
            let directory = self.upper.dir(&RootedPath::new(path))?;
            directory.set_own_metadata(change)?;
        }
        let Self {
            active, entries, ..
        } = self;
        Ok((active.commit(cancel)?, entries))
    }

    fn note(&mut self, entry: HostEntry, trusted: bool) {
        self.entries.push(IndexEntry { entry, trusted });
    }

    /// Goes to the directory that holds `entry`.
    fn enter(&mut self, entry: &HostEntry) -> Result<&Level, SourceError> {
        let folder = entry.split().0;
        while self.levels.len() > 1 && self.levels.last().is_some_and(|top| top.path != folder) {
            self.levels.pop();
        }
        let top = self.levels.last();
        top.filter(|top| top.path == folder)
            .ok_or_else(|| refuse(&entry.path, "its directory was not sent"))
    }

    /// Takes an entry over from the last layer.
    fn keep(
        &mut self,
        entry: &HostEntry,
        hard_link: Option<Vec<u8>>,
        cancel: &CancelToken,
    ) -> Result<(), SourceError> {
        if let Some(first) = hard_link {
            self.hard_links.push((entry.path.clone(), first));
            return Ok(());
        }
        let is_root = self.ownership.is_root();
        let level = self.enter(entry)?;
        if !shared::can_make(entry, is_root) {
            return Ok(());
        }
        if let (FileKind::File, Some(old)) = (entry.kind(), &level.old)
            && old.link(&level.made, entry)?
        {
            return Ok(());
        }
        let Some(folder) = &level.old else {
            return Err(refuse(
                &entry.path,
                "its directory is not in the last layer",
            ));
        };
        let old = folder.entry.child(entry.split().1)?;
        if entry.kind() == FileKind::File {
            return self.copy_old(entry, &old, cancel);
        }
        let xattrs = old.stat().xattrs.clone();
        let target = old.stat().link_target.clone();
        self.make_other(entry, &target, xattrs)
    }

    /// Copies a file of the last layer that can have no further link.
    fn copy_old(
        &mut self,
        entry: &HostEntry,
        old: &Entry,
        cancel: &CancelToken,
    ) -> Result<(), SourceError> {
        let made = self.enter(entry)?.made.clone();
        let mut to = made.create_file(entry.split().1, entry.fingerprint.mode)?;
        let (mut from, size) = (old.open()?, entry.fingerprint.size);
        let xattrs = old.stat().xattrs.clone();
        let change = self.ownership.metadata(&entry.fingerprint, xattrs);
        let mut digester = FileDigester::new(entry.fingerprint.mode, size, &change);
        let flow = Flow {
            action: &self.action,
            cancel,
        };
        let copied = self
            .copier
            .copy(&mut from, &mut to, size, &mut digester, flow)?;
        copied.at(entry.shown())?;
        Ok(made.finish_file(&to, &change, digester)?)
    }

    /// Makes an entry that is new.
    fn make(&mut self, id: u32, entry: HostEntry, sent: FileEntry) -> Result<(), SourceError> {
        let is_file = entry.kind() == FileKind::File;
        let mut xattrs = sent.stat.xattrs;
        xattrs.retain(|name, _| self.ownership.keeps(name));
        if let Some(first) = sent.hard_link {
            self.hard_links.push((entry.path.clone(), first));
        } else if is_file && entry.fingerprint.size > 0 {
            self.enter(&entry)?;
            let change = self.ownership.metadata(&entry.fingerprint, xattrs);
            self.incoming.expect(id, &entry, change, self.entries.len());
            self.note(entry, false);
            return Ok(());
        } else {
            let is_root = self.ownership.is_root();
            self.enter(&entry)?;
            if shared::can_make(&entry, is_root) {
                self.make_other(&entry, &sent.stat.link_target, xattrs)?;
            }
        }
        self.note(entry, true);
        Ok(())
    }

    /// Makes anything but a file with data.
    fn make_other(
        &mut self,
        entry: &HostEntry,
        link_target: &[u8],
        xattrs: Xattrs,
    ) -> Result<(), SourceError> {
        let mut change = self.ownership.metadata(&entry.fingerprint, xattrs);
        let name = entry.split().1;
        let level = self.enter(entry)?;
        match entry.kind() {
            FileKind::Directory => {
                let level = descend(level, entry)?;
                self.levels.push(level);
                change.mode = Some(entry.fingerprint.mode);
                self.directories.push((entry.path.clone(), change));
                return Ok(());
            }
            FileKind::File => {
                let digester = FileDigester::new(entry.fingerprint.mode, 0, &change);
                let file = level.made.create_file(name, entry.fingerprint.mode)?;
                return Ok(level.made.finish_file(&file, &change, digester)?);
            }
            FileKind::Symlink => level.made.symlink(name, link_target)?,
            _ => level.made.make_node(name, &shared::node(entry))?,
        }
        Ok(level.made.set_metadata(name, &change)?)
    }
}

/// Makes a directory, open to its owner only until it is finished.
fn descend(parent: &Level, entry: &HostEntry) -> Result<Level, SourceError> {
    let name = entry.split().1;
    let made = parent.made.make_dir(name, 0o700)?;
    let old = parent.old.as_ref();
    let old = old.and_then(|old| old.entry.child(name).ok());
    let old = old.filter(|old| old.stat().is_dir());
    let old = old.map(|old| OldFolder::new(old, &made)).transpose()?;
    Ok(Level {
        path: entry.path.clone(),
        made,
        old,
    })
}

fn refuse(path: &[u8], reason: &str) -> SourceError {
    let path = String::from_utf8_lossy(path);
    SessionError::Protocol(format!("{path}: {reason}")).into()
}
