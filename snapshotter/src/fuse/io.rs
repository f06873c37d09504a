//! Reading and writing open files.

use std::os::fd::OwnedFd;

use rustix::fs::FallocateFlags;
use rustix::fs::SeekFrom;
use rustix::fs::StatVfs;
use rustix::io::Errno;
use rustix::io::Result;

use super::node::Node;
use super::numbers::ROOT;
use super::overlay::Overlay;

/// The most bytes that one request copies, so that its answer has room for the number.
const MAX_COPY_BYTES: u64 = 1 << 30;

impl Overlay {
    /// Fills `buffer`; returns less than its length only at the end of the file.
    pub(super) fn read(&self, node: &Node, buffer: &mut [u8], offset: u64) -> Result<usize> {
        read_at(&*self.data_fd(node, false)?, buffer, offset)
    }

    /// Writes `data`; `unprivileged` if the rights of the file's owner must go.
    pub(super) fn write(
        &self,
        node: &Node,
        data: &[u8],
        offset: u64,
        unprivileged: bool,
    ) -> Result<u32> {
        let fd = self.data_fd(node, true)?;
        let written = self.change_data(node, &fd, || write_at(&fd, data, offset))?;
        if unprivileged {
            self.drop_set_ids(&fd)?;
        }
        u32::try_from(written).map_err(|_| Errno::OVERFLOW)
    }

    /// Allocates or punches; `mode` is that of `fallocate(2)`.
    pub(super) fn allocate(&self, node: &Node, mode: i32, offset: u64, length: u64) -> Result<()> {
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        let fd = self.data_fd(node, true)?;
        self.change_data(node, &fd, || {
            rustix::fs::fallocate(&*fd, mode, offset, length)
        })
    }

    /// Finds data or a hole; the kernel knows the other kinds of seeking itself.
    pub(super) fn seek(&self, node: &Node, offset: i64, whence: i32) -> Result<i64> {
        let offset = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
        let wanted = match whence {
            libc::SEEK_DATA => SeekFrom::Data(offset),
            libc::SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        let found = rustix::fs::seek(&*self.data_fd(node, false)?, wanted)?;
        i64::try_from(found).map_err(|_| Errno::OVERFLOW)
    }

    /// Copies bytes from one open file to another, in the host's kernel.
    pub(super) fn copy_range(
        &self,
        (from, mut read): (&Node, u64),
        (changed, mut written): (&Node, u64),
        length: u64,
    ) -> Result<u32> {
        let (from, to) = (self.data_fd(from, false)?, self.data_fd(changed, true)?);
        let length = usize::try_from(length.min(MAX_COPY_BYTES)).unwrap_or(usize::MAX);
        let (read, written) = (Some(&mut read), Some(&mut written));
        let copied = self.change_data(changed, &to, || {
            rustix::fs::copy_file_range(&from, read, &to, written, length)
        })?;
        u32::try_from(copied).map_err(|_| Errno::OVERFLOW)
    }

    /// Returns the target of a symlink.
    pub(super) fn read_link(&self, node: &Node) -> Result<Vec<u8>> {
        let (part, name) = self.holder(node)?;
        part.owners.read_link(&*part.fd, &name)
    }

    /// Returns how full the file system of the upper is.
    pub(super) fn space(&self) -> Result<StatVfs> {
        let root = self.table.get(ROOT)?;
        rustix::fs::fstatvfs(self.top(&root)?.fd)
    }
}

/// Reads at most `buffer.len()` bytes; fewer only at the end of the file.
fn read_at(fd: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(Errno::INTR) => {}
            Err(_) if filled > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all of `data`.
fn write_at(fd: &OwnedFd, data: &[u8], offset: u64) -> Result<usize> {
    let mut written = 0;
    while written < data.len() {
        match rustix::io::pwrite(fd, &data[written..], offset + written as u64) {
            Ok(0) => break,
            Ok(length) => written += length,
            Err(Errno::INTR) => {}
            Err(_) if written > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
