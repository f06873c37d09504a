//! What is to be made, and the parts of it that need an order: directories and hard links.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::os::fd::OwnedFd;

use lamina_session::host;
use lamina_session::host::HostEntry;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;

use super::Builder;
use crate::SourceError;
use crate::local::shared;

/// The entries by what is done with them.
pub(super) struct Plan<'a> {
    pub(super) entries: &'a [HostEntry],
    /// In path order.
    pub(super) directories: Vec<&'a HostEntry>,
    /// Index of everything else, by directory.
    pub(super) files: Vec<(&'a [u8], Vec<usize>)>,
    /// Index of a further name, and of the first name of the same file.
    pub(super) hard_links: Vec<(usize, usize)>,
}

impl<'a> Plan<'a> {
    pub(super) fn of(entries: &'a [HostEntry], is_root: bool) -> Self {
        let mut plan = Self {
            entries,
            directories: Vec::new(),
            files: Vec::new(),
            hard_links: Vec::new(),
        };
        let mut folders: HashMap<&[u8], usize> = HashMap::new();
        let mut first_names: HashMap<(u64, u64), usize> = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            let found = &entry.fingerprint;
            if found.kind == FileKind::Directory {
                plan.directories.push(entry);
                continue;
            }
            if !shared::can_make(entry, is_root) {
                continue;
            }
            if found.links > 1 {
                let first = *first_names.entry((found.device, found.inode)).or_insert(at);
                if first != at {
                    plan.hard_links.push((at, first));
                    continue;
                }
            }
            let folder = entry.split().0;
            let place = *folders.entry(folder).or_insert_with(|| {
                plan.files.push((folder, Vec::new()));
                plan.files.len() - 1
            });
            plan.files[place].1.push(at);
        }
        plan
    }
}

impl Builder<'_> {
    /// Makes the directories, open to their owner only until they are finished.
    pub(super) fn make_directories(&self, plan: &Plan<'_>) -> Result<(), SourceError> {
        let mut open = vec![(Vec::new(), self.upper.root()?)];
        for entry in &plan.directories {
            self.cancel.check()?;
            let (folder, name) = entry.split();
            while open.len() > 1 && open.last().is_some_and(|(path, _)| path != folder) {
                open.pop();
            }
            // The walk lists a directory before what is in it, so the last one is the parent.
            if let Some((_, parent)) = open.last() {
                let made = parent.make_dir(name, 0o700)?;
                open.push((entry.path.clone(), made));
            }
        }
        Ok(())
    }

    /// Gives the directories their metadata, children first: making them changed their parents.
    pub(super) fn finish_directories(&self, plan: &Plan<'_>) -> Result<(), SourceError> {
        for entry in plan.directories.iter().rev() {
            self.cancel.check()?;
            let (folder, name) = entry.split();
            let xattrs = match host::open_below(self.root, folder) {
                Err(error) if host::is_gone(error) => BTreeMap::new(),
                parent => {
                    let parent: OwnedFd = parent.at(entry.shown())?;
                    self.ownership.xattrs(&parent, name)
                }
            };
            let mut change = self.ownership.metadata(&entry.fingerprint, xattrs);
            change.mode = Some(entry.fingerprint.mode);
            let dir = self.upper.dir(&RootedPath::new(&entry.path))?;
            dir.set_own_metadata(&change)?;
        }
        Ok(())
    }

    pub(super) fn make_hard_links(&self, plan: &Plan<'_>) -> Result<(), SourceError> {
        for (further, first) in &plan.hard_links {
            self.cancel.check()?;
            let (entry, first) = (&plan.entries[*further], &plan.entries[*first]);
            // The first name may have vanished from the client's directory since the walk.
            shared::link_name(&self.upper, &entry.path, &first.path)?;
        }
        Ok(())
    }
}
