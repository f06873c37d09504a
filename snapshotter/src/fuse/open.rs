//! Open files.
//!
//! All who have a file open share one descriptor, which the node holds, so a file that is copied up
//! or loses its last name stays the same file for all of them.
//!
//! Data takes one of two ways:
//!
//! - *through*: the kernel reads and writes the file on the host itself (passthrough), where it grants
//!   that, which is to root of the machine only;
//! - *cached*: the kernel keeps pages, and writes them back in large requests where it passes nothing
//!   through.
//!
//! Passthrough binds the kernel's inode to one file on the host for as long as it is open. So who opens
//! a file for writing that was copied up while others read the original cannot join them: the copy
//! becomes a file of its own, with another number, and the kernel is told to look the name up again
//! (`ESTALE`, upon which it does). The others go on reading the original, as on the kernel's overlay.

use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use fuser::BackingId;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::attr::SET_IDS;
use super::caller::Caller;
use super::copy_up::Data;
use super::node::Node;
use super::node::Place;
use super::overlay::Overlay;
use crate::fdio;
use crate::fdio::RawStat;

/// The kernel's own flag for a file that it opens to run it (`__FMODE_EXEC`).
const EXECUTE: OFlags = OFlags::from_bits_retain(0o40);

/// What was agreed with the kernel about data.
#[derive(Default)]
pub(super) struct IoMode {
    passes_through: AtomicBool,
    writes_back: AtomicBool,
    knows_all_times: AtomicBool,
}

/// The one descriptor of all who have a file open.
pub(super) struct OpenFile {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) writable: bool,
    /// It is a file of a sealed layer, which must not change in any way.
    pub(super) sealed: bool,
    handles: u32,
    /// Those of the handles that belong to running programs.
    programs: u32,
    backing: Option<Arc<BackingId>>,
    /// The kernel keeps pages for those who have it open.
    cached: bool,
    /// The kernel reads the original of a file that was copied up since.
    outdated: bool,
}

/// What a handle is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Reads,
    Writes,
    /// To a program that runs with the rights of its owner. It must lose them, which the kernel leaves out
    /// when it passes writes through.
    WritesPrivileged,
}

/// The way that data takes.
pub(super) enum Way {
    Cached,
    Through(Arc<BackingId>),
}

impl IoMode {
    /// Notes that the kernel does the reading and writing itself.
    pub(super) fn agree_to_pass_through(&self) {
        self.passes_through.store(true, Ordering::Release);
    }

    /// Notes that the kernel gathers writes.
    pub(super) fn agree_to_write_back(&self) {
        self.writes_back.store(true, Ordering::Release);
    }

    fn passes_through(&self) -> bool {
        self.passes_through.load(Ordering::Acquire)
    }

    /// Says whether the kernel gathers writes, and therefore sets the times of files itself.
    pub(super) fn writes_back(&self) -> bool {
        self.writes_back.load(Ordering::Acquire)
    }

    /// Notes that nobody writes any more: what still arrives is older than the times of files.
    pub(super) fn know_all_times(&self) {
        self.knows_all_times.store(true, Ordering::Release);
    }

    pub(super) fn knows_all_times(&self) -> bool {
        self.knows_all_times.load(Ordering::Acquire)
    }
}

impl OpenFile {
    /// Opens a file of the upper, or a `sealed` one, for the first handle.
    pub(super) fn new(fd: OwnedFd, writable: bool, sealed: bool) -> Self {
        Self {
            fd: Arc::new(fd),
            writable,
            sealed,
            handles: 1,
            programs: 0,
            backing: None,
            cached: false,
            outdated: false,
        }
    }
}

impl Overlay {
    /// Opens a regular file for one more handle. `ESTALE` makes the kernel look the name up again.
    pub(super) fn open(&self, node: &Arc<Node>, flags: OFlags, caller: Caller) -> Result<Access> {
        let truncate = flags.contains(OFlags::TRUNC);
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR) || truncate;
        if !writes {
            self.open_shared(node, false)?;
            node.note_programs(|count| count + u32::from(runs(flags)));
            return Ok(Access::Reads);
        }
        if node.is_running() {
            // The kernel asks those who write before it comes here, but those who only truncate after.
            return Err(Errno::TXTBSY);
        }
        let data = if truncate { Data::Dropped } else { Data::Kept };
        self.copy_up(node, data, caller)?;
        let fd = self.open_shared(node, true)?;
        let access = Access::to_write(&self.stat_fd(&fd)?);
        if !node.joins(access) {
            self.release(node, flags);
            return Err(self.set_apart(node)?);
        }
        if truncate {
            self.change_data(node, &fd, || rustix::fs::ftruncate(&fd, 0))
                .inspect_err(|_| self.release(node, flags))?;
        }
        Ok(access)
    }

    /// Makes what `node` names a file of its own, apart from those who have it open; returns the error
    /// that makes the kernel find it.
    pub(super) fn set_apart(&self, node: &Node) -> Result<Errno> {
        let raw = match node.open_fd() {
            Some(fd) => self.stat_fd(&fd)?,
            None => return Ok(Errno::STALE),
        };
        let mut state = node.state();
        if let Place::File(None) = state.place {
            self.table.numbers.renumber((None, raw.inode()));
            state.names.clear();
            state.place = Place::Gone(raw);
        }
        Ok(Errno::STALE)
    }

    fn open_shared(&self, node: &Arc<Node>, writes: bool) -> Result<Arc<OwnedFd>> {
        {
            let mut state = node.state();
            if let Some(open) = state.open.as_mut()
                && (open.writable || !writes)
            {
                open.handles += 1;
                return Ok(Arc::clone(&open.fd));
            }
        }
        let sealed = node.is_in_lower();
        let fd = self.open_data(node, writes)?;
        let mut state = node.state();
        match state.open.as_mut() {
            Some(open) => {
                open.handles += 1;
                if writes && !open.writable {
                    open.fd = Arc::new(fd);
                    open.writable = true;
                }
                Ok(Arc::clone(&open.fd))
            }
            None => {
                let open = state.open.insert(OpenFile::new(fd, writes, sealed));
                Ok(Arc::clone(&open.fd))
            }
        }
    }

    /// Opens the data of a file where it is; for writing also for reading, since the kernel fills up
    /// pages of which only a part is written.
    fn open_data(&self, node: &Node, writes: bool) -> Result<OwnedFd> {
        let access = if writes { OFlags::RDWR } else { OFlags::RDONLY };
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if let Place::Gone(_) = node.place() {
            // Opened once more by whoever has it open, through `/proc`; or by a name that the kernel knows
            // of a file that was set apart since, which it finds if it looks again.
            let open = node.open_fd().filter(|_| node.is_open_in_upper());
            let path = fdio::proc_path(&open.ok_or(Errno::STALE)?);
            return rustix::fs::open(path, flags, Mode::empty());
        }
        let (part, name) = self.holder(node)?;
        rustix::fs::openat(&part.fd, name, flags | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Returns the descriptor of an open file, or opens it for one use.
    pub(super) fn data_fd(&self, node: &Node, writes: bool) -> Result<Arc<OwnedFd>> {
        {
            let state = node.state();
            if let Some(open) = &state.open
                && (open.writable || !writes)
            {
                return Ok(Arc::clone(&open.fd));
            }
        }
        self.open_data(node, writes).map(Arc::new)
    }

    /// Gives those who have the original open the copy.
    pub(super) fn reopen(&self, node: &Node) -> Result<()> {
        if node.open_fd().is_none() {
            return Ok(());
        }
        let fd = self.open_data(node, false)?;
        if let Some(open) = node.state().open.as_mut() {
            open.fd = Arc::new(fd);
            open.sealed = false;
            open.outdated = open.backing.is_some();
        }
        Ok(())
    }

    /// Ends one handle, which was opened with `flags`.
    pub(super) fn release(&self, node: &Node, flags: OFlags) {
        node.note_programs(|count| count.saturating_sub(u32::from(runs(flags))));
        let mut state = node.state();
        let Some(open) = state.open.as_mut() else {
            return;
        };
        open.handles = open.handles.saturating_sub(1);
        if open.handles == 0 {
            let closed = state.open.take();
            drop(state);
            drop(closed);
        }
    }

    /// Chooses the way for a handle that was just opened. `register` tells the kernel of a file on the
    /// host.
    pub(super) fn way(
        &self,
        node: &Node,
        access: Access,
        register: impl FnOnce(BorrowedFd<'_>) -> std::io::Result<BackingId>,
    ) -> Way {
        if !self.io_mode.passes_through() {
            return Way::Cached;
        }
        match node.state().open.as_mut() {
            Some(open) => open.choose(access, register),
            None => Way::Cached,
        }
    }
}

impl Access {
    /// Says what it means to write to the file that `raw` describes.
    pub(super) fn to_write(raw: &RawStat) -> Self {
        match raw.permissions() & SET_IDS {
            0 => Self::Writes,
            _ => Self::WritesPrivileged,
        }
    }
}

/// Says whether a file is opened to be run as a program.
fn runs(flags: OFlags) -> bool {
    flags.contains(EXECUTE)
}

impl Node {
    /// Changes how many running programs have this file open.
    fn note_programs(&self, change: impl FnOnce(u32) -> u32) {
        if let Some(open) = self.state().open.as_mut() {
            open.programs = change(open.programs);
        }
    }

    fn is_running(&self) -> bool {
        let state = self.state();
        state.open.as_ref().is_some_and(|open| open.programs > 0)
    }

    /// Says whether a handle can go the way of those that are there.
    fn joins(&self, access: Access) -> bool {
        let state = self.state();
        let bound = state.open.as_ref().filter(|open| open.backing.is_some());
        bound.is_none_or(|open| match access {
            Access::Reads => true,
            Access::Writes => !open.outdated,
            Access::WritesPrivileged => false,
        })
    }

    /// Says whether the kernel reads the original of this file, which was copied up.
    pub(super) fn is_outdated(&self) -> bool {
        let state = self.state();
        state.open.as_ref().is_some_and(|open| open.outdated)
    }
}

impl OpenFile {
    /// Chooses the way of one more handle, which must be that of the others.
    fn choose(
        &mut self,
        access: Access,
        register: impl FnOnce(BorrowedFd<'_>) -> std::io::Result<BackingId>,
    ) -> Way {
        if let Some(backing) = &self.backing {
            return Way::Through(Arc::clone(backing));
        }
        if self.cached || access == Access::WritesPrivileged {
            self.cached = true;
            return Way::Cached;
        }
        match register(self.fd.as_fd()) {
            Ok(backing) => Way::Through(Arc::clone(self.backing.insert(Arc::new(backing)))),
            Err(error) => {
                tracing::debug!(%error, "a file cannot be passed through");
                self.cached = true;
                Way::Cached
            }
        }
    }
}
