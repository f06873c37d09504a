//! Requests about what a file is, not what it holds.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use fuser::INodeNo;
use fuser::ReplyAttr;
use fuser::ReplyData;
use fuser::ReplyEmpty;
use fuser::ReplyStatfs;
use fuser::ReplyXattr;
use rustix::fs::XattrFlags;

use super::answers;
use super::answers::answer;
use crate::fuse::attr::AttrChange;
use crate::fuse::caller::Caller;
use crate::fuse::overlay::Overlay;
use crate::fuse::words::reply_sized;

pub(super) fn get(fs: &Overlay, ino: INodeNo, reply: ReplyAttr) {
    let described = || {
        let node = fs.node(ino)?;
        let raw = fs.stat(&node)?;
        Ok((node, raw))
    };
    answers::attributes(fs, described(), reply);
}

pub(super) fn set(
    fs: &Overlay,
    ino: INodeNo,
    change: &AttrChange,
    caller: Caller,
    reply: ReplyAttr,
) {
    let changed = || {
        let node = fs.node(ino)?;
        let raw = fs.set_attributes(&node, change, caller)?;
        Ok((node, raw))
    };
    answers::attributes(fs, changed(), reply);
}

pub(super) fn link_target(fs: &Overlay, ino: INodeNo, reply: ReplyData) {
    let target = fs.node(ino).and_then(|node| fs.read_link(&node));
    answer!(reply, target, target => reply.data(&target));
}

pub(super) fn set_extended(
    fs: &Overlay,
    ino: INodeNo,
    (name, value): (&OsStr, &[u8]),
    flags: i32,
    caller: Caller,
    reply: ReplyEmpty,
) {
    let flags = XattrFlags::from_bits_retain(flags.unsigned_abs());
    let attribute = (name.as_bytes(), value);
    let set = || fs.set_xattr(&fs.node(ino)?, attribute, flags, caller);
    answers::done(set(), reply);
}

pub(super) fn get_extended(fs: &Overlay, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
    let value = || fs.get_xattr(&fs.node(ino)?, name.as_bytes());
    answer!(reply, value(), value => reply_sized(reply, &value, size));
}

pub(super) fn list_extended(fs: &Overlay, ino: INodeNo, size: u32, reply: ReplyXattr) {
    let names = || fs.list_xattrs(&fs.node(ino)?);
    answer!(reply, names(), names => reply_sized(reply, &names, size));
}

pub(super) fn remove_extended(
    fs: &Overlay,
    ino: INodeNo,
    name: &OsStr,
    caller: Caller,
    reply: ReplyEmpty,
) {
    let removed = || fs.remove_xattr(&fs.node(ino)?, name.as_bytes(), caller);
    answers::done(removed(), reply);
}

pub(super) fn space(fs: &Overlay, reply: ReplyStatfs) {
    answer!(reply, fs.space(), space => reply.statfs(
        space.f_blocks,
        space.f_bfree,
        space.f_bavail,
        space.f_files,
        space.f_ffree,
        u32::try_from(space.f_bsize).unwrap_or(0),
        u32::try_from(space.f_namemax).unwrap_or(0),
        u32::try_from(space.f_frsize).unwrap_or(0),
    ));
}
