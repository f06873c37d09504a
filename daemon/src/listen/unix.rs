//! Sockets in the file system (row NET-01).
//!
//! The file that a killed daemon left is replaced, but only after nobody answered on it; any other
//! file stays. What is removed at the end is the file that was made here and no other.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;

use lamina_types::IoContext as _;
use lamina_types::PathError;
use rustix::fs::Mode;
use rustix::net;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use super::ListenError;
use crate::settings::SocketOwner;

/// The user alone, or the user and the group that was chosen.
const PRIVATE: u32 = 0o600;
const SHARED: u32 = 0o660;

/// Connections that wait to be taken: many clients may dial before there is an engine.
const BACKLOG: i32 = 1024;

/// The file of a socket, removed with the value.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> Result<Self, PathError> {
        let data = fs::symlink_metadata(path).at(path.display())?;
        Ok(Self {
            path: path.to_owned(),
            identity: (data.dev(), data.ino()),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|data| (data.dev(), data.ino()) == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}

/// Listens on `path`, making the folders that lead to it.
pub(super) fn bind(
    path: &Path,
    owner: SocketOwner,
) -> Result<(UnixListener, SocketFile), ListenError> {
    if let Some(folder) = path.parent() {
        // Others may pass through; the socket itself says who may connect.
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o711)
            .create(folder)
            .at(folder.display())?;
    }
    remove_stale(path)?;
    let listener = listen(path).at(path.display())?;
    let file = SocketFile::of(path)?;
    if owner != SocketOwner::default() {
        std::os::unix::fs::lchown(path, owner.uid, owner.gid).at(path.display())?;
    }
    let mode = if owner.gid.is_some() { SHARED } else { PRIVATE };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at(path.display())?;
    Ok((listener, file))
}

/// Makes a socket that only this user can connect to. The kernel takes the file's mode from the
/// socket, so there is no moment in which others could.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(PRIVATE))?;
    net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let shown = || path.display().to_string();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error).at(path.display())?,
        Ok(data) if !data.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: shown() });
        }
        Ok(_) => {}
    }
    match dial(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path).at(path.display())?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full queue, or a socket that may not be touched: somebody's in any case.
        Ok(()) | Err(_) => Err(ListenError::Busy { path: shown() }),
    }
}

/// Connects to a socket and hangs up. Does not wait for room in the queue of one who listens:
/// [`io::ErrorKind::WouldBlock`] says that there is none.
fn dial(path: &Path) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(net::connect(&socket, &SocketAddrUnix::new(path)?)?)
}

/// Says whether somebody listens on a socket that this user may connect to. Does not wait.
#[must_use]
pub fn is_served(path: &Path) -> bool {
    dial(path).map_or_else(|error| error.kind() == io::ErrorKind::WouldBlock, |()| true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o7777
    }

    /// Listens, and lets nobody in: as a daemon that hangs.
    fn full_queue(path: &Path) -> (UnixListener, UnixStream) {
        let listener = UnixListener::bind(path).expect("bound");
        net::listen(&listener, 0).expect("a shorter queue");
        let first = UnixStream::connect(path).expect("the queue has one place");
        (listener, first)
    }

    #[test]
    fn a_full_queue_is_somebodys_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.sock");
        assert!(!is_served(&path));
        let queue = full_queue(&path);
        assert!(is_served(&path));
        let busy = bind(&path, SocketOwner::default()).expect_err("in use");
        assert!(matches!(busy, ListenError::Busy { .. }), "{busy}");
        drop(queue);
        assert!(!is_served(&path), "a file that is left");
    }

    #[test]
    fn a_socket_is_private_unless_a_group_is_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b/x.sock");
        let (listener, file) = bind(&path, SocketOwner::default()).expect("bound");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("a/b")), 0o711);
        drop((listener, file));
        assert!(!path.exists(), "the file goes with its listener");

        let group = rustix::process::getgid().as_raw();
        let owner = SocketOwner {
            uid: None,
            gid: Some(group),
        };
        let (_listener, _file) = bind(&path, owner).expect("bound");
        assert_eq!(mode(&path), 0o660);
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.sock");
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "closing leaves the file");
        let (_listener, _file) = bind(&path, SocketOwner::default()).expect("replaced");
        UnixStream::connect(&path).expect("somebody listens");
    }

    #[test]
    fn what_is_in_use_or_no_socket_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.sock");
        let _other = UnixListener::bind(&path).expect("bound");
        let busy = bind(&path, SocketOwner::default()).expect_err("in use");
        assert!(matches!(busy, ListenError::Busy { .. }), "{busy}");

        let file = folder.path().join("file");
        fs::write(&file, "precious").expect("written");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        for other in [&file, &link] {
            let error = bind(other, SocketOwner::default()).expect_err("no socket");
            assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
        }
        assert_eq!(fs::read(&file).expect("there"), b"precious");
    }

    #[test]
    fn the_file_of_another_daemon_is_not_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.sock");
        let (listener, file) = bind(&path, SocketOwner::default()).expect("bound");
        fs::rename(&path, folder.path().join("moved")).expect("moved");
        let _other = UnixListener::bind(&path).expect("bound");
        drop((listener, file));
        assert!(path.exists());
    }
}
