//! Open files.
//!
//! All who have a file open share one descriptor, which the node holds, so a file that is copied up
//! or loses its last name stays the same file for all of them.
//!
//! Data takes one of three ways:
//!
//! - *through*: the kernel reads and writes the file on the host itself (passthrough), where it grants
//!   that, which is to root of the machine only;
//! - *cached*: the kernel keeps pages and writes them back later, in large requests;
//! - *direct*: every read and write is a request. Passthrough binds the kernel's inode to one file on
//!   the host while it is open, so this is for those who open a file that was copied up while others
//!   have the original open.

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

/// Whether the kernel does the reading and writing itself.
#[derive(Default)]
pub(super) struct IoMode(AtomicBool);

/// The one descriptor of all who have a file open.
pub(super) struct OpenFile {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) writable: bool,
    /// It is a file of a sealed layer, which must not change in any way.
    pub(super) sealed: bool,
    handles: u32,
    backing: Option<Arc<BackingId>>,
    /// The kernel keeps pages for those who have it open.
    cached: bool,
    /// The kernel's reads go to a file that was copied up since.
    outdated: bool,
}

/// The way that data takes.
pub(super) enum Way {
    Cached,
    Direct,
    Through(Arc<BackingId>),
}

impl IoMode {
    /// Notes that the kernel agreed to passthrough.
    pub(super) fn agree(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn passes_through(&self) -> bool {
        self.0.load(Ordering::Acquire)
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
            backing: None,
            cached: false,
            outdated: false,
        }
    }
}

impl Overlay {
    /// Opens a regular file for one more handle. Says whether the handle can write to a program that runs
    /// with the rights of its owner.
    pub(super) fn open(&self, node: &Arc<Node>, flags: OFlags, caller: Caller) -> Result<bool> {
        let truncate = flags.contains(OFlags::TRUNC);
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR) || truncate;
        if writes {
            let data = if truncate { Data::Dropped } else { Data::Kept };
            self.copy_up(node, data, caller)?;
        }
        let fd = self.open_shared(node, writes)?;
        if truncate {
            rustix::fs::ftruncate(&fd, 0).inspect_err(|_| self.release(node))?;
        }
        let privileged = || fdio::stat_fd(&fd).is_ok_and(|raw| raw.permissions() & SET_IDS != 0);
        Ok(writes && privileged())
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
            // Opened once more by whoever has it open, through `/proc`.
            let open = node.open_fd().filter(|_| node.is_open_in_upper());
            let path = fdio::proc_path(&open.ok_or(Errno::NOENT)?);
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

    /// Ends one handle.
    pub(super) fn release(&self, node: &Node) {
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

    /// Chooses the way for a handle that was just opened; `privileged` as [`Overlay::open`] says.
    /// `register` tells the kernel of a file on the host.
    pub(super) fn way(
        &self,
        node: &Node,
        privileged: bool,
        register: impl FnOnce(BorrowedFd<'_>) -> std::io::Result<BackingId>,
    ) -> Way {
        if !self.io_mode.passes_through() {
            return Way::Cached;
        }
        match node.state().open.as_mut() {
            Some(open) => open.choose(privileged, register),
            None => Way::Cached,
        }
    }
}

impl OpenFile {
    /// Chooses the way of one more handle, which must fit those of the others.
    ///
    /// A file that runs with the rights of its owner must lose them when it is written to, which the
    /// kernel leaves out on the way through.
    fn choose(
        &mut self,
        privileged: bool,
        register: impl FnOnce(BorrowedFd<'_>) -> std::io::Result<BackingId>,
    ) -> Way {
        match &self.backing {
            Some(_) if privileged || self.outdated => return Way::Direct,
            Some(backing) => return Way::Through(Arc::clone(backing)),
            None if privileged || self.cached => {
                self.cached = true;
                return Way::Cached;
            }
            None => {}
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
