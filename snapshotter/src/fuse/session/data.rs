//! Requests about what files hold.

use fuser::FileHandle;
use fuser::FopenFlags;
use fuser::INodeNo;
use fuser::OpenFlags;
use fuser::ReplyCreate;
use fuser::ReplyData;
use fuser::ReplyEmpty;
use fuser::ReplyLseek;
use fuser::ReplyOpen;
use fuser::ReplyWrite;

use super::answers;
use super::answers::answer;
use super::names;
use super::names::Place;
use crate::fuse::caller::Caller;
use crate::fuse::names::NewEntry;
use crate::fuse::open::Access;
use crate::fuse::open::Way;
use crate::fuse::overlay::Overlay;
use crate::fuse::words::FOREVER;
use crate::fuse::words::GENERATION;
use crate::fuse::words::open_flags;
use crate::fuse::words::with_buffer;

/// Open files are known by their nodes.
const HANDLE: FileHandle = FileHandle(0);

pub(super) fn open(fs: &Overlay, ino: INodeNo, flags: OpenFlags, caller: Caller, reply: ReplyOpen) {
    let opened = || {
        let node = fs.node(ino)?;
        let access = fs.open(&node, open_flags(flags.0), caller)?;
        Ok((node, access))
    };
    answer!(reply, opened(), (node, access) => {
        match fs.way(&node, access, |fd| reply.open_backing(fd)) {
            Way::Through(id) => reply.opened_passthrough(HANDLE, FopenFlags::empty(), &id),
            Way::Cached => reply.opened(HANDLE, FopenFlags::FOPEN_KEEP_CACHE),
        }
    });
}

pub(super) fn create(fs: &Overlay, place: Place<'_>, new: NewEntry, reply: ReplyCreate) {
    let made = names::at(fs, place, |at| fs.create(at, new));
    answer!(reply, made, (node, raw) => {
        let (attr, access) = (fs.attributes(&node, &raw), Access::to_write(&raw));
        match fs.way(&node, access, |fd| reply.open_backing(fd)) {
            Way::Through(id) => {
                let flags = FopenFlags::empty();
                reply.created_passthrough(&FOREVER, &attr, GENERATION, HANDLE, flags, &id);
            }
            Way::Cached => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE;
                reply.created(&FOREVER, &attr, GENERATION, HANDLE, flags);
            }
        }
    });
}

pub(super) fn read(fs: &Overlay, ino: INodeNo, offset: u64, size: u32, reply: ReplyData) {
    with_buffer(usize::try_from(size).unwrap_or(0), |buffer| {
        let read = fs.node(ino).and_then(|node| fs.read(&node, buffer, offset));
        answer!(reply, read, length => reply.data(&buffer[..length]));
    });
}

/// Writes; `unprivileged` takes set-id bits away.
pub(super) fn write(
    fs: &Overlay,
    ino: INodeNo,
    (offset, data): (u64, &[u8]),
    unprivileged: bool,
    reply: ReplyWrite,
) {
    let written = || fs.write(&*fs.node(ino)?, data, offset, unprivileged);
    answer!(reply, written(), length => reply.written(length));
}

pub(super) fn release(fs: &Overlay, ino: INodeNo, flags: OpenFlags, reply: ReplyEmpty) {
    if let Ok(node) = fs.node(ino) {
        fs.release(&node, open_flags(flags.0));
    }
    reply.ok();
}

pub(super) fn allocate(
    fs: &Overlay,
    ino: INodeNo,
    mode: i32,
    (offset, length): (u64, u64),
    reply: ReplyEmpty,
) {
    let done = || fs.allocate(&*fs.node(ino)?, mode, offset, length);
    answers::done(done(), reply);
}

pub(super) fn seek(fs: &Overlay, ino: INodeNo, offset: i64, whence: i32, reply: ReplyLseek) {
    let found = || fs.seek(&*fs.node(ino)?, offset, whence);
    answer!(reply, found(), offset => reply.offset(offset));
}

pub(super) fn copy_range(
    fs: &Overlay,
    (from, from_offset): (INodeNo, u64),
    (to, to_offset): (INodeNo, u64),
    length: u64,
    reply: ReplyWrite,
) {
    let copied = || {
        let (from, to) = (fs.node(from)?, fs.node(to)?);
        fs.copy_range((&from, from_offset), (&to, to_offset), length)
    };
    answer!(reply, copied(), length => reply.written(length));
}
