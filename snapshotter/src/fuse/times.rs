//! When files were modified, where the kernel knows it: it gathers writes, notes the time when a program
//! writes, and hands the data on later.
//!
//! It also hands on the time, in a request of its own, as a rule when the file is closed. In two cases it
//! does not:
//!
//! - it believes that the server has the time, since the file has it from the same tick of the clock;
//! - its own threads wrote the file back, after half a minute or because somebody called `sync`. They ask
//!   as root of the machine, who is nobody in a user namespace, so the request fails before it is sent.
//!
//! So data that arrives changes the time as writing does, which is not far from the truth. When a mount
//! ends, the kernel is asked for what it has not told. It answers from memory; of files that it has
//! forgotten by then, the time of the arrival stays.

use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lamina_types::FileKind;
use rustix::fs::AtFlags;
use rustix::fs::StatxFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::copy_up::keeping_mtime;
use super::node::Node;
use super::numbers::ROOT;
use super::overlay::Overlay;
use crate::fdio::RawStat;
use crate::metadata;

impl Overlay {
    /// Changes the data of a file, which is open behind `fd`, by `change`.
    pub(super) fn change_data<T>(
        &self,
        node: &Node,
        fd: &OwnedFd,
        change: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if !self.io_mode.writes_back() {
            return change();
        }
        let _busy = node.lock_busy();
        if self.io_mode.knows_all_times() {
            return keeping_mtime(fd, change);
        }
        let changed = change()?;
        node.note_time_told(false);
        Ok(changed)
    }

    /// Asks the kernel for the times that it has not told, by the names that files have below `mount`.
    /// Nobody may be using the mount. Data that still arrives leaves times alone.
    pub(super) fn settle_times(&self, mount: BorrowedFd<'_>) {
        if !self.io_mode.writes_back() {
            return;
        }
        self.io_mode.know_all_times();
        for node in self.table.all() {
            if node.kind == FileKind::File
                && let Err(error) = self.settle_time(&node, mount)
            {
                tracing::debug!(ino = node.ino, %error, "the time of a file is that of its data");
            }
        }
    }

    fn settle_time(&self, node: &Arc<Node>, mount: BorrowedFd<'_>) -> Result<()> {
        let _busy = node.lock_busy();
        if node.is_time_told() {
            return Ok(());
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        let wanted = StatxFlags::MTIME | StatxFlags::INO;
        let shown = rustix::fs::statx(mount, self.path(node)?, flags, wanted)?;
        if shown.stx_ino != node.ino {
            return Err(Errno::STALE);
        }
        metadata::set_mtime(&self.path_fd(node)?, RawStat::from(shown).mtime_ns())
    }

    /// Returns a path of `node` from the root on.
    fn path(&self, node: &Node) -> Result<Vec<u8>> {
        let mut name = node.any_name()?;
        let mut names = vec![name.name];
        while name.parent != ROOT {
            name = self.table.get(name.parent)?.any_name()?;
            names.push(name.name);
        }
        names.reverse();
        Ok(names.join(&b'/'))
    }
}
