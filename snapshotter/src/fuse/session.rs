//! Requests of the kernel's, each one call of [`Overlay`] and one reply.
//!
//! A panic in a call ends that request with `EIO`: the reply, dropped unused, says so. What the kernel
//! need not ask again is answered with "not implemented", once: opening of directories, flushes and syncs.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::BsdFileFlags;
use fuser::CopyFileRangeFlags;
use fuser::FileHandle;
use fuser::FopenFlags;
use fuser::INodeNo;
use fuser::KernelConfig;
use fuser::LockOwner;
use fuser::OpenFlags;
use fuser::RenameFlags;
use fuser::ReplyAttr;
use fuser::ReplyCreate;
use fuser::ReplyData;
use fuser::ReplyDirectory;
use fuser::ReplyDirectoryPlus;
use fuser::ReplyEmpty;
use fuser::ReplyEntry;
use fuser::ReplyLseek;
use fuser::ReplyOpen;
use fuser::ReplyStatfs;
use fuser::ReplyWrite;
use fuser::ReplyXattr;
use fuser::Request;
use fuser::TimeOrNow;
use fuser::WriteFlags;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::OverlayFs;
use super::attr;
use super::attr::AttrChange;
use super::init;
use super::names::NewName;
use super::node::Node;
use super::open::Access;
use super::open::Way;
use super::overlay::Overlay;
use super::words::FOREVER;
use super::words::GENERATION;
use super::words::caller;
use super::words::new_entry;
use super::words::number;
use super::words::open_flags;
use super::words::reply_entry;
use super::words::reply_sized;
use super::words::with_buffer;

impl OverlayFs {
    /// Runs one request; what it has not replied to when it panics fails with `EIO`.
    fn serve(&self, request: impl FnOnce(&Overlay)) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| request(&self.0))).is_err() {
            tracing::error!("a request of a file system panicked; it failed, the mount goes on");
        }
    }
}

/// Sends the value of a result, or its error.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $send:expr) => {
        match $result {
            Ok($value) => $send,
            Err(error) => $reply.error(number(error)),
        }
    };
}

impl fuser::Filesystem for OverlayFs {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        init::negotiate(&self.0, config);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.serve(|fs| {
            let found = || fs.lookup(&fs.node(parent)?, name.as_bytes());
            answer!(reply, found(), found => match found {
                Some((node, raw)) => reply_entry(reply, fs, &node, &raw),
                None => reply.entry(&FOREVER, &attr::no_file(), GENERATION),
            });
        });
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.serve(|fs| fs.table.forget(ino.0, lookups));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.serve(|fs| {
            let described = || {
                let node = fs.node(ino)?;
                let raw = fs.stat(&node)?;
                Ok((node, raw))
            };
            answer!(reply, described(), (node, raw) => {
                reply.attr(&FOREVER, &fs.attributes(&node, &raw));
            });
        });
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.serve(|fs| {
            let change = AttrChange {
                mode,
                uid,
                gid,
                size,
                atime: atime.map(attr::requested_time),
                mtime: mtime.map(attr::requested_time),
            };
            let changed = || {
                let node = fs.node(ino)?;
                let raw = fs.set_attributes(&node, &change, caller(request))?;
                Ok((node, raw))
            };
            answer!(reply, changed(), (node, raw) => {
                reply.attr(&FOREVER, &fs.attributes(&node, &raw));
            });
        });
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.serve(|fs| {
            let target = || fs.read_link(&*fs.node(ino)?);
            answer!(reply, target(), target => reply.data(&target));
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        self.serve(|fs| {
            let made = || {
                let (parent, name) = (&fs.node(parent)?, name.as_bytes());
                let (kind, device) = (attr::node_kind(mode)?, attr::decode_device(rdev));
                let new = new_entry(mode, umask, request);
                fs.make_node(&NewName { parent, name }, new, kind, device)
            };
            answer!(reply, made(), (node, raw) => reply_entry(reply, fs, &node, &raw));
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        self.serve(|fs| {
            let made = || {
                let (parent, name) = (&fs.node(parent)?, name.as_bytes());
                fs.make_dir(&NewName { parent, name }, new_entry(mode, umask, request))
            };
            answer!(reply, made(), (node, raw) => reply_entry(reply, fs, &node, &raw));
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(|fs| {
            let (parent, name) = (fs.node(parent), name.as_bytes());
            let removed = parent.and_then(|parent| {
                let parent = &parent;
                fs.unlink(&NewName { parent, name })
            });
            answer!(reply, removed, () => reply.ok());
        });
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(|fs| {
            let (parent, name) = (fs.node(parent), name.as_bytes());
            let removed = parent.and_then(|parent| {
                let parent = &parent;
                fs.remove_dir(&NewName { parent, name })
            });
            answer!(reply, removed, () => reply.ok());
        });
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        self.serve(|fs| {
            let made = || {
                let (parent, name) = (&fs.node(parent)?, link_name.as_bytes());
                let target = target.as_os_str().as_bytes();
                fs.symlink(&NewName { parent, name }, target, caller(request))
            };
            answer!(reply, made(), (node, raw) => reply_entry(reply, fs, &node, &raw));
        });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.serve(|fs| {
            let renamed = || {
                let (from, to) = (&fs.node(parent)?, &fs.node(newparent)?);
                let from = NewName {
                    parent: from,
                    name: name.as_bytes(),
                };
                let to = NewName {
                    parent: to,
                    name: newname.as_bytes(),
                };
                let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
                fs.rename(&from, &to, flags, caller(request))
            };
            answer!(reply, renamed(), () => reply.ok());
        });
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.serve(|fs| {
            let linked = || {
                let (node, parent) = (fs.node(ino)?, &fs.node(newparent)?);
                let name = newname.as_bytes();
                let raw = fs.link(&node, &NewName { parent, name }, caller(request))?;
                Ok((node, raw))
            };
            answer!(reply, linked(), (node, raw) => reply_entry(reply, fs, &node, &raw));
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.serve(|fs| {
            let flags = open_flags(flags.0);
            let opened = || {
                let node = fs.node(ino)?;
                let access = fs.open(&node, flags, caller(request))?;
                Ok((node, access))
            };
            answer!(reply, opened(), (node, access) => {
                let handle = FileHandle(0);
                match fs.way(&node, access, |fd| reply.open_backing(fd)) {
                    Way::Through(id) => {
                        reply.opened_passthrough(handle, FopenFlags::empty(), &id);
                    }
                    Way::Cached => reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE),
                }
            });
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        self.serve(|fs| {
            let made = || {
                let (parent, name) = (&fs.node(parent)?, name.as_bytes());
                fs.create(&NewName { parent, name }, new_entry(mode, umask, request))
            };
            answer!(reply, made(), (node, raw) => {
                let (attr, handle) = (fs.attributes(&node, &raw), FileHandle(0));
                let access = Access::to_write(&raw);
                match fs.way(&node, access, |fd| reply.open_backing(fd)) {
                    Way::Through(id) => {
                        let flags = FopenFlags::empty();
                        reply.created_passthrough(&FOREVER, &attr, GENERATION, handle, flags, &id);
                    }
                    Way::Cached => {
                        let flags = FopenFlags::FOPEN_KEEP_CACHE;
                        reply.created(&FOREVER, &attr, GENERATION, handle, flags);
                    }
                }
            });
        });
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.serve(|fs| {
            with_buffer(usize::try_from(size).unwrap_or(0), |buffer| {
                let read = fs.node(ino).and_then(|node| fs.read(&node, buffer, offset));
                answer!(reply, read, length => reply.data(&buffer[..length]));
            });
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.serve(|fs| {
            let unprivileged = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
            let written = || fs.write(&*fs.node(ino)?, data, offset, unprivileged);
            answer!(reply, written(), length => reply.written(length));
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(number(Errno::NOSYS));
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        flags: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.serve(|fs| {
            if let Ok(node) = fs.node(ino) {
                fs.release(&node, open_flags(flags.0));
            }
            reply.ok();
        });
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(number(Errno::NOSYS));
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(number(Errno::NOSYS));
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.serve(|fs| {
            let listing = || fs.listing(&fs.node(ino)?, offset);
            answer!(reply, listing(), listing => {
                for listed in listing.after(offset) {
                    let name = OsStr::from_bytes(&listed.name);
                    if reply.add(INodeNo(listed.ino), listed.cookie, listed.kind, name) {
                        break;
                    }
                }
                reply.ok();
            });
        });
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.serve(|fs| {
            let listing = || {
                let node = fs.node(ino)?;
                Ok((fs.listing(&node, offset)?, node))
            };
            answer!(reply, listing(), (listing, node) => {
                let mut told = false;
                for listed in listing.after(offset) {
                    let full = fs.describe_listed(&node, listed, |attr| {
                        let (ino, name) = (attr.ino, OsStr::from_bytes(&listed.name));
                        reply.add(ino, listed.cookie, name, &FOREVER, attr, GENERATION)
                    });
                    match full {
                        Ok(false) => told = true,
                        // What was told counts; the kernel will ask for this one again.
                        Err(_) if told => break,
                        Err(error) => return reply.error(number(error)),
                        Ok(true) => break,
                    }
                }
                reply.ok();
            });
        });
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(number(Errno::NOSYS));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.serve(|fs| {
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
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        self.serve(|fs| {
            let flags = XattrFlags::from_bits_retain(flags.unsigned_abs());
            let attribute = (name.as_bytes(), value);
            let set = || fs.set_xattr(&fs.node(ino)?, attribute, flags, caller(request));
            answer!(reply, set(), () => reply.ok());
        });
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.serve(|fs| {
            let value = || fs.get_xattr(&fs.node(ino)?, name.as_bytes());
            answer!(reply, value(), value => reply_sized(reply, &value, size));
        });
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.serve(|fs| {
            let names = || fs.list_xattrs(&fs.node(ino)?);
            answer!(reply, names(), names => reply_sized(reply, &names, size));
        });
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(|fs| {
            let removed = || fs.remove_xattr(&fs.node(ino)?, name.as_bytes(), caller(request));
            answer!(reply, removed(), () => reply.ok());
        });
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.serve(|fs| {
            let done = || fs.allocate(&*fs.node(ino)?, mode, offset, length);
            answer!(reply, done(), () => reply.ok());
        });
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.serve(|fs| {
            let found = || fs.seek(&*fs.node(ino)?, offset, whence);
            answer!(reply, found(), offset => reply.offset(offset));
        });
    }

    fn copy_file_range(
        &self,
        _: &Request,
        ino_in: INodeNo,
        _: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _: FileHandle,
        offset_out: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.serve(|fs| {
            let copied = || {
                let (from, to) = (fs.node(ino_in)?, fs.node(ino_out)?);
                fs.copy_range((&from, offset_in), (&to, offset_out), len)
            };
            answer!(reply, copied(), length => reply.written(length));
        });
    }
}

impl Overlay {
    fn node(&self, ino: INodeNo) -> Result<Arc<Node>> {
        self.table.get(ino.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerStack;
    use crate::XattrNamespace;

    #[test]
    fn a_panic_ends_one_request() {
        let stack = LayerStack::empty();
        let overlay = Overlay::new(&stack, Arc::new([]), XattrNamespace::User.into(), None);
        let fs = OverlayFs(overlay);
        let mut served = 0;
        fs.serve(|_| panic!("a request that goes wrong"));
        fs.serve(|_| served += 1);
        assert_eq!(served, 1);
    }
}
