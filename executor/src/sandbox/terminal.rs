//! A terminal for the program (row EXE-19).
//!
//! It is made on the container's own `/dev/pts`, so that its name means something in there. A
//! process that joins finds what the container has made of that place, so the kernel is asked
//! whether what was opened really is of a file system of terminals.

use std::io;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;

use lamina_types::IoContext;
use lamina_types::RootedPath;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Uid;
use rustix::pty::OpenptFlags;

use super::Step;
use crate::channel;
use crate::in_root;
use crate::wire::Failure;
use crate::wire::Report;

/// What `statfs` says of a file system of terminals.
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Makes a terminal, gives its other side to the daemon, and makes it the standard streams and the
/// controlling terminal. To be called by the leader of a new session.
pub(super) fn connect(step: &Step) -> Result<(), Failure> {
    let (ours, theirs) = make(step.root()).at("make a terminal")?;
    let user = Uid::from_raw(step.description.user.uid);
    rustix::fs::fchown(&theirs, Some(user), None).at("give the terminal to the user")?;
    let report = serde_json::to_vec(&Report::Terminal).map_err(io::Error::from);
    report
        .and_then(|report| channel::send(&step.socket, &report, &[ours.as_fd()]))
        .at("hand the terminal over")?;
    rustix::process::ioctl_tiocsctty(&theirs).at("take the terminal")?;
    stand_in(&theirs)
        .at("connect the standard streams")
        .map_err(Into::into)
}

/// Returns both sides.
fn make(root: &OwnedFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let dir = in_root::open_without_links(root, &RootedPath::new("/dev/pts"))?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let flags = flags | OFlags::CLOEXEC;
    let ours = rustix::fs::openat(&dir, c"ptmx", flags, Mode::empty())?;
    if u64::try_from(rustix::fs::fstatfs(&ours)?.f_type) != Ok(DEVPTS_MAGIC) {
        let error = "/dev/pts of the container is no file system of terminals";
        return Err(io::Error::other(error));
    }
    rustix::pty::unlockpt(&ours)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags)?;
    Ok((ours, theirs))
}

fn stand_in(terminal: &OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdin(terminal)?;
    rustix::stdio::dup2_stdout(terminal)?;
    Ok(rustix::stdio::dup2_stderr(terminal)?)
}
