//! Everything but directories: in parallel, linked from the last layer where nothing changed.

use std::fs::File;
use std::os::fd::OwnedFd;

use lamina_session::host;
use lamina_session::host::HostEntry;
use lamina_snapshotter::FileDigester;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::WriteDir;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use rayon::prelude::*;

use super::Builder;
use super::tree::Plan;
use crate::SourceError;
use crate::local::copy::Flow;
use crate::local::shared;
use crate::local::shared::OldFolder;

/// One directory on the three sides of a transfer.
struct Folder {
    host: OwnedFd,
    made: WriteDir,
    /// In the layer of the last transfer, if it was there.
    previous: Option<OldFolder>,
}

impl Builder<'_> {
    /// Makes the files; says for each entry of the plan whether it stayed the same meanwhile.
    pub(super) fn make_files(&self, plan: &Plan<'_>) -> Result<Vec<bool>, SourceError> {
        let made: Vec<Vec<(usize, bool)>> = plan
            .files
            .par_iter()
            .map(|(path, files)| self.fill(plan, path, files))
            .collect::<Result<_, _>>()?;
        let mut stable = vec![true; plan.entries.len()];
        for (at, same) in made.into_iter().flatten() {
            stable[at] = same;
        }
        for (further, first) in &plan.hard_links {
            stable[*further] = stable[*first];
        }
        Ok(stable)
    }

    fn fill(
        &self,
        plan: &Plan<'_>,
        path: &[u8],
        files: &[usize],
    ) -> Result<Vec<(usize, bool)>, SourceError> {
        let Some(folder) = self.open(path)? else {
            return Ok(files.iter().map(|at| (*at, false)).collect());
        };
        files
            .par_iter()
            .map(|at| {
                self.cancel.check()?;
                let same = self.make(&folder, &plan.entries[*at])?;
                Ok((*at, same))
            })
            .collect()
    }

    /// `None` if the client's directory has vanished since the walk.
    fn open(&self, path: &[u8]) -> Result<Option<Folder>, SourceError> {
        let host = match host::open_below(self.root, path) {
            Err(error) if host::is_gone(error) => return Ok(None),
            opened => opened.at(String::from_utf8_lossy(path))?,
        };
        let place = RootedPath::new(path);
        let made = self.upper.dir(&place)?;
        let previous = self.previous.and_then(|previous| {
            let tree = LayerStack::new([previous.layer.clone()]).tree();
            let folder = tree.lookup(&place, Follow::Parents).ok()?;
            OldFolder::new(folder, &made).ok()
        });
        Ok(Some(Folder {
            host,
            made,
            previous,
        }))
    }

    /// Makes one entry; says whether it is what the walk saw.
    fn make(&self, folder: &Folder, entry: &HostEntry) -> Result<bool, SourceError> {
        if self.link_unchanged(folder, entry)? {
            return Ok(true);
        }
        let name = entry.split().1;
        match entry.kind() {
            FileKind::File => return self.copy_file(folder, entry),
            FileKind::Symlink => match host::symlink_target(&folder.host, name) {
                Err(error) if host::is_gone(error) => return Ok(false),
                target => folder.made.symlink(name, &target.at(entry.shown())?)?,
            },
            _ => folder.made.make_node(name, &shared::node(entry))?,
        }
        let xattrs = self.ownership.xattrs(&folder.host, name);
        let change = self.ownership.metadata(&entry.fingerprint, xattrs);
        folder.made.set_metadata(name, &change)?;
        Ok(true)
    }

    /// Takes a file from the last layer if it has not changed since.
    fn link_unchanged(&self, folder: &Folder, entry: &HostEntry) -> Result<bool, SourceError> {
        let (Some(previous), Some(old_folder)) = (self.previous, &folder.previous) else {
            return Ok(false);
        };
        let known = previous.entries.get(&entry.path);
        let same = known.is_some_and(|known| known.trusted && known.entry == *entry);
        if !same || entry.kind() != FileKind::File {
            return Ok(false);
        }
        old_folder.link(&folder.made, entry)
    }

    fn copy_file(&self, folder: &Folder, entry: &HostEntry) -> Result<bool, SourceError> {
        let name = entry.split().1;
        let opened = match host::open_file(&folder.host, name) {
            Err(error) if host::is_gone(error) => return Ok(false),
            opened => opened.at(entry.shown())?,
        };
        let found = host::look_opened(&opened).at(entry.shown())?;
        if found.kind != FileKind::File {
            // Replaced by something else since the walk; the next transfer will see it.
            return Ok(false);
        }
        let mut from = File::from(opened);
        let mut to = folder.made.create_file(name, found.mode)?;
        let xattrs = self.ownership.xattrs(&folder.host, name);
        let change = self.ownership.metadata(&found, xattrs);
        let mut digester = FileDigester::new(found.mode, found.size, &change);
        let flow = Flow {
            action: self.action,
            cancel: self.cancel,
        };
        let copied = self
            .copier
            .copy(&mut from, &mut to, found.size, &mut digester, flow)?;
        copied.at(entry.shown())?;
        folder.made.finish_file(&to, &change, digester)?;
        Ok(host::look_opened(&from).at(entry.shown())? == entry.fingerprint)
    }
}
