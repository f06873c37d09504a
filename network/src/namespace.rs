//! New network namespaces.
//!
//! A namespace belongs to a thread, so one is made by a thread that does nothing else and ends. The
//! namespace lives on by its descriptor, and by whatever process enters it.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::thread;

use nix::sched::CloneFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::links::Links;

/// A network namespace that nobody is in.
pub(crate) struct NewNamespace {
    pub(crate) fd: OwnedFd,
    /// Works on what is inside.
    pub(crate) links: Links,
}

/// Makes a network namespace. Its loopback interface is up.
pub(crate) fn make() -> io::Result<NewNamespace> {
    on_thread(|| {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
        let fd = current()?;
        let mut links = Links::open()?;
        links.bring_loopback_up()?;
        Ok(NewNamespace { fd, links })
    })
}

/// Enters a network namespace with this thread alone.
pub(crate) fn enter(namespace: impl AsFd) -> io::Result<()> {
    Ok(nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Returns the namespace that this thread is in.
pub(crate) fn current() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(
        c"/proc/thread-self/ns/net",
        flags,
        Mode::empty(),
    )?)
}

fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let thread = thread::Builder::new()
        .name("lamina-netns".to_owned())
        .spawn(work)?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}
