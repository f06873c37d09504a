//! Requests of the kernel's, each one call of [`Overlay`] and one reply.
//!
//! Here is the library's trait, whose methods hand requests on: about [`names`], [`attributes`], [`data`] and
//! [`listings`].
//!
//! A panic in a call ends that request with `EIO`: the reply, dropped unused, says so. What the kernel
//! need not ask again is answered with "not implemented", once: opening of directories, flushes and syncs.

mod answers;
mod attributes;
mod data;
mod listings;
mod names;

use std::ffi::OsStr;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::BsdFileFlags;
use fuser::CopyFileRangeFlags;
use fuser::FileHandle;
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
use rustix::io::Errno;
use rustix::io::Result;

use super::OverlayFs;
use super::attr;
use super::attr::AttrChange;
use super::init;
use super::node::Node;
use super::overlay::Overlay;
use super::words::caller;
use super::words::new_entry;
use super::words::number;

impl OverlayFs {
    /// Runs one request; what it has not replied to when it panics fails with `EIO`.
    fn serve(&self, request: impl FnOnce(&Overlay)) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| request(&self.0))).is_err() {
            tracing::error!("a request of a file system panicked; it failed, the mount goes on");
        }
    }
}

impl fuser::Filesystem for OverlayFs {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        init::negotiate(&self.0, config);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.serve(|fs| names::look_up(fs, (parent, name), reply));
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.serve(|fs| fs.table.forget(ino.0, lookups));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.serve(|fs| attributes::get(fs, ino, reply));
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
        let change = AttrChange {
            mode,
            uid,
            gid,
            size,
            atime: atime.map(attr::requested_time),
            mtime: mtime.map(attr::requested_time),
        };
        self.serve(|fs| attributes::set(fs, ino, &change, caller(request), reply));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.serve(|fs| attributes::link_target(fs, ino, reply));
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
        let new = new_entry(mode, umask, request);
        self.serve(|fs| names::make_node(fs, (parent, name), new, rdev, reply));
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
        let new = new_entry(mode, umask, request);
        self.serve(|fs| names::make_dir(fs, (parent, name), new, reply));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(|fs| names::unlink(fs, (parent, name), reply));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(|fs| names::remove_dir(fs, (parent, name), reply));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        self.serve(|fs| names::symlink(fs, (parent, link_name), target, caller(request), reply));
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
        let places = ((parent, name), (newparent, newname));
        self.serve(|fs| names::rename(fs, places, flags, caller(request), reply));
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.serve(|fs| names::link(fs, ino, (newparent, newname), caller(request), reply));
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.serve(|fs| data::open(fs, ino, flags, caller(request), reply));
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
        let new = new_entry(mode, umask, request);
        self.serve(|fs| data::create(fs, (parent, name), new, reply));
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
        self.serve(|fs| data::read(fs, ino, offset, size, reply));
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
        let unprivileged = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        self.serve(|fs| data::write(fs, ino, (offset, data), unprivileged, reply));
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
        self.serve(|fs| data::release(fs, ino, flags, reply));
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
        reply: ReplyDirectory,
    ) {
        self.serve(|fs| listings::names(fs, ino, offset, reply));
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.serve(|fs| listings::described(fs, ino, offset, reply));
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(number(Errno::NOSYS));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.serve(|fs| attributes::space(fs, reply));
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
        let attribute = (name, value);
        self.serve(|fs| {
            attributes::set_extended(fs, ino, attribute, flags, caller(request), reply)
        });
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.serve(|fs| attributes::get_extended(fs, ino, name, size, reply));
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.serve(|fs| attributes::list_extended(fs, ino, size, reply));
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(|fs| attributes::remove_extended(fs, ino, name, caller(request), reply));
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
        self.serve(|fs| data::allocate(fs, ino, mode, (offset, length), reply));
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
        self.serve(|fs| data::seek(fs, ino, offset, whence, reply));
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
        let (from, to) = ((ino_in, offset_in), (ino_out, offset_out));
        self.serve(|fs| data::copy_range(fs, from, to, len, reply));
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
        let fs = OverlayFs(Arc::new(overlay));
        let mut served = 0;
        fs.serve(|_| panic!("a request that goes wrong"));
        fs.serve(|_| served += 1);
        assert_eq!(served, 1);
    }
}
