//! Requests about names: what they are of, and making, moving and removing them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use fuser::INodeNo;
use fuser::RenameFlags;
use fuser::ReplyEmpty;
use fuser::ReplyEntry;
use rustix::io::Result;

use super::answers;
use super::answers::answer;
use crate::fuse::attr;
use crate::fuse::caller::Caller;
use crate::fuse::names::NewEntry;
use crate::fuse::names::NewName;
use crate::fuse::overlay::Overlay;
use crate::fuse::words::FOREVER;
use crate::fuse::words::GENERATION;
use crate::fuse::words::reply_entry;

/// A name in a directory, as requests say it.
pub(super) type Place<'a> = (INodeNo, &'a OsStr);

/// Does `work` at a place, unless its directory is not known.
pub(super) fn at<T>(
    fs: &Overlay,
    (parent, name): Place<'_>,
    work: impl FnOnce(&NewName<'_>) -> Result<T>,
) -> Result<T> {
    let parent = &fs.node(parent)?;
    let name = name.as_bytes();
    work(&NewName { parent, name })
}

pub(super) fn look_up(fs: &Overlay, (parent, name): Place<'_>, reply: ReplyEntry) {
    let found = || fs.lookup(&fs.node(parent)?, name.as_bytes());
    answer!(reply, found(), found => match found {
        Some((node, raw)) => reply_entry(reply, fs, &node, &raw),
        None => reply.entry(&FOREVER, &attr::no_file(), GENERATION),
    });
}

pub(super) fn make_node(
    fs: &Overlay,
    place: Place<'_>,
    new: NewEntry,
    device: u32,
    reply: ReplyEntry,
) {
    let made = at(fs, place, |at| {
        let (kind, device) = (attr::node_kind(new.mode)?, attr::decode_device(device));
        fs.make_node(at, new, kind, device)
    });
    answers::entry(fs, made, reply);
}

pub(super) fn make_dir(fs: &Overlay, place: Place<'_>, new: NewEntry, reply: ReplyEntry) {
    let made = at(fs, place, |at| fs.make_dir(at, new));
    answers::entry(fs, made, reply);
}

pub(super) fn symlink(
    fs: &Overlay,
    place: Place<'_>,
    target: &Path,
    caller: Caller,
    reply: ReplyEntry,
) {
    let target = target.as_os_str().as_bytes();
    let made = at(fs, place, |at| fs.symlink(at, target, caller));
    answers::entry(fs, made, reply);
}

pub(super) fn link(
    fs: &Overlay,
    ino: INodeNo,
    place: Place<'_>,
    caller: Caller,
    reply: ReplyEntry,
) {
    let linked = at(fs, place, |at| {
        let node = fs.node(ino)?;
        let raw = fs.link(&node, at, caller)?;
        Ok((node, raw))
    });
    answers::entry(fs, linked, reply);
}

pub(super) fn unlink(fs: &Overlay, place: Place<'_>, reply: ReplyEmpty) {
    answers::done(at(fs, place, |at| fs.unlink(at)), reply);
}

pub(super) fn remove_dir(fs: &Overlay, place: Place<'_>, reply: ReplyEmpty) {
    answers::done(at(fs, place, |at| fs.remove_dir(at)), reply);
}

pub(super) fn rename(
    fs: &Overlay,
    (from, to): (Place<'_>, Place<'_>),
    flags: RenameFlags,
    caller: Caller,
    reply: ReplyEmpty,
) {
    let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
    let renamed = at(fs, from, |from| {
        at(fs, to, |to| fs.rename(from, to, flags, caller))
    });
    answers::done(renamed, reply);
}
