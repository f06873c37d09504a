//! What system calls do to the model, as their manual pages say; the order of errors is the kernel's.
//!
//! Everything is done by root, so permissions never matter. Three rules are overlayfs's own and apply
//! only to it:
//!
//! - [`Model::check_movable`]: a directory that lower layers have cannot be renamed (`EXDEV`);
//! - [`Model::copy_up`]: a file that lower layers have under several names is a file for each of them
//!   once it is changed;
//! - [`Model::rename_to_itself`]: in a user namespace the copy of a file and later links to it do not
//!   know of each other (`ESTALE`).

use std::collections::BTreeMap;

use rustix::fs::FileType;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::model::Content;
use super::model::Id;
use super::model::Inode;
use super::model::Last;
use super::model::Model;
use super::model::Origin;
use super::model::Place;
use crate::support::steps::FILE_MODE;
use crate::support::steps::NANOSECONDS;
use crate::support::steps::NODE_MODE;
use crate::support::steps::Step;

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o010;

impl Model {
    /// Carries `step` out; returns what it reads.
    pub(super) fn run(&mut self, step: &Step) -> Result<Vec<u8>> {
        match step {
            Step::MakeDir(path, mode) => self.make_dir(path, *mode),
            Step::Write(path, flags, text) => self.write(path, *flags, text.as_bytes()),
            Step::Truncate(path, size) => self.truncate(path, *size),
            Step::Symlink(path, target) => {
                self.make(path, Content::Symlink(target), 0o777).map(drop)
            }
            Step::Node(path, kind) => self.make_node(path, *kind),
            Step::Unlink(path) => self.unlink(path),
            Step::RemoveDir(path) => self.remove_dir(path),
            Step::RemoveTree(path) => self.remove_tree(path),
            Step::Rename(from, to, flags) => self.rename(from, to, *flags),
            Step::Link(from, to) => self.link(from, to),
            Step::Chmod(path, mode) => self.chmod(path, *mode),
            Step::Chown(path, id) => self.chown(path, *id),
            Step::Attribute(path, value) => self.set_attribute(path, Some(value)),
            Step::NoAttribute(path) => self.set_attribute(path, None),
            Step::Time(path, seconds) => self.set_time(path, *seconds),
            Step::WriteUnnamed(path, text) => return self.write_unnamed(path, text.as_bytes()),
            Step::Read(path) => return self.read(path),
        }
        .map(|()| Vec::new())
    }

    /// Makes what is at `place` ready to be changed.
    fn copy_up(&mut self, place: &Place) -> Result<Id> {
        let id = place.existing()?;
        let inode = &self.inodes[id];
        if inode.origin != Origin::Lower || inode.is_dir() {
            return Ok(id);
        }
        if !self.rules.overlay || self.links(id) == 1 {
            self.inodes[id].origin = Origin::CopiedUp;
            return Ok(id);
        }
        let mut copy = inode.clone();
        copy.origin = Origin::CopiedUp;
        self.inodes.push(copy);
        let (copy, time) = (self.inodes.len() - 1, self.inodes[place.dir].mtime_ns);
        self.set_entry(place.dir, &place.name, Some(copy));
        self.inodes[place.dir].mtime_ns = time;
        Ok(copy)
    }

    /// Checks that a directory can be renamed.
    fn check_movable(&self, id: Id) -> Result<()> {
        let inode = &self.inodes[id];
        match self.rules.overlay && inode.is_dir() && inode.origin == Origin::Lower {
            true => Err(Errno::XDEV),
            false => Ok(()),
        }
    }

    fn make(&mut self, path: &str, content: Content, mode: u32) -> Result<Id> {
        let place = self.walk(path, Last::Stay)?;
        match place.found {
            Some(_) => Err(Errno::EXIST),
            None => Ok(self.make_at(&place, content, mode)),
        }
    }

    fn make_at(&mut self, place: &Place, content: Content, mode: u32) -> Id {
        let dir = &self.inodes[place.dir];
        let group = match dir.mode & SET_GROUP {
            0 => 0,
            _ => dir.owner.1,
        };
        let id = self.add(content, mode, (0, group));
        self.set_entry(place.dir, &place.name, Some(id));
        id
    }

    fn make_dir(&mut self, path: &str, mode: u32) -> Result<()> {
        self.make(path, Content::Directory(BTreeMap::new()), mode)
            .map(drop)
    }

    fn make_node(&mut self, path: &str, kind: FileType) -> Result<()> {
        assert_eq!(kind, FileType::Fifo, "the model knows no other");
        let mode = NODE_MODE & !self.rules.umask;
        self.make(path, Content::Fifo, mode).map(drop)
    }

    /// Opens for writing.
    fn open(&mut self, path: &str, flags: OFlags) -> Result<Id> {
        let exclusive = flags.contains(OFlags::CREATE | OFlags::EXCL);
        let last = match exclusive {
            true => Last::Stay,
            false => Last::Follow,
        };
        let place = self.walk(path, last)?;
        let Some(id) = place.found else {
            if !flags.contains(OFlags::CREATE) {
                return Err(Errno::NOENT);
            }
            let mode = FILE_MODE & !self.rules.umask;
            return Ok(self.make_at(&place, Content::File(Vec::new()), mode));
        };
        if exclusive {
            return Err(Errno::EXIST);
        }
        match self.inodes[id].content {
            Content::Directory(_) => Err(Errno::ISDIR),
            Content::File(_) => self.copy_up(&place),
            Content::Fifo if flags.contains(OFlags::RDWR) => Ok(id),
            // Nobody reads.
            Content::Fifo => Err(Errno::NXIO),
            Content::Symlink(_) => panic!("it was followed"),
        }
    }

    /// Changes the content of an open file; a fifo has none.
    fn change(&mut self, id: Id, refusal: Errno, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let inode = &mut self.inodes[id];
        let Content::File(data) = &mut inode.content else {
            return Err(refusal);
        };
        change(data);
        inode.mtime_ns = None;
        if !self.rules.real_root {
            inode.drop_privileges();
        }
        Ok(())
    }

    fn write(&mut self, path: &str, flags: OFlags, text: &[u8]) -> Result<()> {
        let id = self.open(path, flags | OFlags::WRONLY)?;
        if flags.contains(OFlags::TRUNC) {
            self.change(id, Errno::INVAL, Vec::clear)?;
        }
        if text.is_empty() {
            return Ok(());
        }
        self.change(id, Errno::INVAL, |data| {
            let at = match flags.contains(OFlags::APPEND) {
                true => data.len(),
                false => 0,
            };
            put(data, at, text);
        })
    }

    fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        let id = self.open(path, OFlags::RDWR)?;
        let size = usize::try_from(size).map_err(|_| Errno::FBIG)?;
        self.change(id, Errno::INVAL, |data| data.resize(size, 0))
    }

    fn write_unnamed(&mut self, path: &str, text: &[u8]) -> Result<Vec<u8>> {
        let id = self.open(path, OFlags::RDWR)?;
        self.unlink(path)?;
        self.change(id, Errno::SPIPE, |data| put(data, 0, text))?;
        self.content(id)
    }

    fn read(&mut self, path: &str) -> Result<Vec<u8>> {
        let id = self.walk(path, Last::Follow)?.existing()?;
        self.content(id)
    }

    fn content(&self, id: Id) -> Result<Vec<u8>> {
        match &self.inodes[id].content {
            Content::File(data) => Ok(data.clone()),
            Content::Directory(entries) => {
                let names: Vec<&str> = entries.keys().map(String::as_str).collect();
                Ok(names.join("/").into_bytes())
            }
            Content::Fifo | Content::Symlink(_) => Ok(Vec::new()),
        }
    }

    fn unlink(&mut self, path: &str) -> Result<()> {
        let place = self.walk(path, Last::Stay)?;
        if self.inodes[place.existing()?].is_dir() {
            return Err(Errno::ISDIR);
        }
        self.set_entry(place.dir, &place.name, None);
        Ok(())
    }

    fn remove_dir(&mut self, path: &str) -> Result<()> {
        let place = self.walk(path, Last::Stay)?;
        if !self.entries(place.existing()?)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.set_entry(place.dir, &place.name, None);
        Ok(())
    }

    fn remove_tree(&mut self, path: &str) -> Result<()> {
        let place = self.walk(path, Last::Stay)?;
        match self.inodes[place.existing()?].content {
            Content::Directory(_) | Content::Symlink(_) => {}
            Content::File(_) | Content::Fifo => return Err(Errno::NOTDIR),
        }
        self.set_entry(place.dir, &place.name, None);
        Ok(())
    }

    fn link(&mut self, from: &str, to: &str) -> Result<()> {
        let source = self.walk(from, Last::Stay)?;
        let id = source.existing()?;
        let target = self.walk(to, Last::Stay)?;
        if target.found.is_some() {
            return Err(Errno::EXIST);
        }
        if self.inodes[id].is_dir() {
            return Err(Errno::PERM);
        }
        let id = self.copy_up(&source)?;
        self.set_entry(target.dir, &target.name, Some(id));
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
        let (source, target) = (self.walk(from, Last::Stay)?, self.walk(to, Last::Stay)?);
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let id = source.existing()?;
        match target.found {
            Some(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EXIST),
            None if exchange => return Err(Errno::NOENT),
            _ => {}
        }
        self.check_ancestors(&source, &target, exchange)?;
        if self.is_one_file(&source, &target) {
            return self.rename_to_itself(&source, &target);
        }
        if !exchange {
            self.check_kinds(id, target.found)?;
        }
        self.check_movable(id)?;
        match target.found {
            Some(other) if exchange => self.check_movable(other)?,
            Some(other) if self.entries(other).is_ok_and(|names| !names.is_empty()) => {
                return Err(Errno::NOTEMPTY);
            }
            _ => {}
        }
        let id = self.copy_up(&source)?;
        let left_behind = match exchange {
            true => Some(self.copy_up(&target)?),
            false => None,
        };
        self.set_entry(source.dir, &source.name, left_behind);
        self.set_entry(target.dir, &target.name, Some(id));
        Ok(())
    }

    /// Checks that neither end is above the other.
    fn check_ancestors(&self, source: &Place, target: &Place, exchange: bool) -> Result<()> {
        if self.is_above(source.existing()?, target.dir) {
            return Err(Errno::INVAL);
        }
        match target.found {
            Some(id) if self.is_above(id, source.dir) && exchange => Err(Errno::INVAL),
            Some(id) if self.is_above(id, source.dir) => Err(Errno::NOTEMPTY),
            _ => Ok(()),
        }
    }

    /// Says whether both ends are names of one file: then a rename does nothing.
    fn is_one_file(&self, source: &Place, target: &Place) -> bool {
        let Some(id) = source.found.filter(|_| source.found == target.found) else {
            return false;
        };
        source.is_same_name(target)
            || !self.rules.overlay
            || self.inodes[id].origin != Origin::Lower
    }

    /// Does nothing. `ESTALE` stands for either: overlayfs says it for some pairs of names, and does
    /// nothing as well.
    fn rename_to_itself(&self, source: &Place, target: &Place) -> Result<()> {
        let is_copy = self.inodes[source.existing()?].origin == Origin::CopiedUp;
        let rules = self.rules;
        match rules.overlay && !rules.real_root && is_copy && !source.is_same_name(target) {
            true => Err(Errno::STALE),
            false => Ok(()),
        }
    }

    fn check_kinds(&self, moved: Id, replaced: Option<Id>) -> Result<()> {
        let Some(replaced) = replaced else {
            return Ok(());
        };
        match (self.inodes[moved].is_dir(), self.inodes[replaced].is_dir()) {
            (true, false) => Err(Errno::NOTDIR),
            (false, true) => Err(Errno::ISDIR),
            _ => Ok(()),
        }
    }

    fn chmod(&mut self, path: &str, mode: u32) -> Result<()> {
        let place = self.walk(path, Last::Follow)?;
        let id = self.copy_up(&place)?;
        self.inodes[id].mode = mode;
        Ok(())
    }

    fn chown(&mut self, path: &str, owner: u32) -> Result<()> {
        let place = self.walk(path, Last::Stay)?;
        place.existing()?;
        if owner != 0 && !self.rules.real_root {
            return Err(Errno::INVAL);
        }
        let id = self.copy_up(&place)?;
        let inode = &mut self.inodes[id];
        inode.owner = (owner, owner);
        if !inode.is_dir() {
            inode.drop_privileges();
        }
        Ok(())
    }

    fn set_attribute(&mut self, path: &str, value: Option<&'static str>) -> Result<()> {
        let place = self.walk(path, Last::Follow)?;
        let inode = &self.inodes[place.existing()?];
        match inode.content {
            Content::Directory(_) | Content::File(_) => {}
            Content::Symlink(_) | Content::Fifo => return Err(Errno::PERM),
        }
        if value.is_none() && inode.attribute.is_none() {
            return Err(Errno::NODATA);
        }
        let id = self.copy_up(&place)?;
        self.inodes[id].attribute = value;
        Ok(())
    }

    fn set_time(&mut self, path: &str, seconds: i64) -> Result<()> {
        let place = self.walk(path, Last::Stay)?;
        let id = self.copy_up(&place)?;
        let time = i128::from(seconds) * 1_000_000_000 + i128::from(NANOSECONDS);
        self.inodes[id].mtime_ns = Some(time);
        Ok(())
    }
}

impl Inode {
    /// Clears what would let others act as the owner.
    fn drop_privileges(&mut self) {
        self.mode &= match self.mode & GROUP_EXECUTES {
            0 => !SET_USER,
            _ => !(SET_USER | SET_GROUP),
        };
    }
}

/// Writes `text` over what is at `at`.
fn put(data: &mut Vec<u8>, at: usize, text: &[u8]) {
    let end = data.len().max(at + text.len());
    data.resize(end, 0);
    data[at..at + text.len()].copy_from_slice(text);
}
