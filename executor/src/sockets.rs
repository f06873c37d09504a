//! Unix sockets in a step whose connections are served by the caller (rows EXC-27, SVC-16).
//!
//! The socket is made in a directory of ours and bound into the step, so it works whatever the
//! root is made of, and nobody else can reach it: the directory is closed to others. It is served
//! as long as the step lives; then its connections are dropped and its file is removed.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lamina_types::CancelToken;
use lamina_types::IoContext;
use rustix::fs::AtFlags;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Uid;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::ExecError;
use crate::detached::by_descriptor;
use crate::error::Doing;
use crate::userns;

/// Serves one connection of a step; dropped when the step ends.
pub type OnConnect =
    Arc<dyn Fn(UnixStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// How long to wait when no connection can be accepted, for want of descriptors mostly.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the sockets of all steps are.
pub(crate) struct SocketDir {
    dir: Arc<OwnedFd>,
    next: AtomicU64,
}

/// A socket that listens, and is not served yet.
pub(crate) struct Listening {
    listener: StdListener,
    on_connect: OnConnect,
    file: SocketFile,
}

/// Removes the socket's file in the end.
struct SocketFile {
    dir: Arc<OwnedFd>,
    name: String,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::unlinkat(&*self.dir, &self.name, AtFlags::empty()) {
            tracing::debug!(%error, "the socket of a step stays");
        }
    }
}

impl SocketDir {
    /// Makes the directory, empty.
    pub(crate) fn open(path: &Path) -> Result<Self, ExecError> {
        match rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)) {
            Err(rustix::io::Errno::EXIST) => {
                for entry in std::fs::read_dir(path).at(path.display())? {
                    let entry = entry.at(path.display())?;
                    std::fs::remove_file(entry.path()).at(path.display())?;
                }
            }
            result => result.at(path.display())?,
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).at(path.display())?;
        Ok(Self {
            dir: Arc::new(dir),
            next: AtomicU64::new(0),
        })
    }

    /// Makes a socket with this owner and mode; returns it and a place to bind from.
    pub(crate) fn listen(
        &self,
        on_connect: OnConnect,
        (uid, gid): (u32, u32),
        mode: u32,
    ) -> Result<(Listening, OwnedFd), ExecError> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        // By descriptor, since the path of a socket may have 107 bytes at most.
        let path = by_descriptor(&self.dir).join(&name);
        let listener = StdListener::bind(path).doing("make a socket for a step")?;
        let file = SocketFile {
            dir: Arc::clone(&self.dir),
            name,
        };
        listener
            .set_nonblocking(true)
            .doing("make a socket for a step")?;
        let place = self.dress(&file.name, (uid, gid), mode).map_err(explain)?;
        let listening = Listening {
            listener,
            on_connect,
            file,
        };
        Ok((listening, place))
    }

    fn dress(&self, name: &str, (uid, gid): (u32, u32), mode: u32) -> io::Result<OwnedFd> {
        let dir = self.dir.as_fd();
        if (uid, gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        let mode = Mode::from_raw_mode(mode & 0o777);
        rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
    }
}

/// An owner that is not mapped is refused with EINVAL.
fn explain(error: io::Error) -> ExecError {
    if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) {
        return ExecError::NeedsMoreIds(userns::more_ids_help("a socket with another owner"));
    }
    ExecError::System {
        doing: "make a socket for a step",
        source: error,
    }
}

/// Serves sockets until the step has ended, or until it is dropped.
pub(crate) struct Served {
    tasks: JoinSet<()>,
    _files: Vec<SocketFile>,
}

impl Served {
    /// Begins to serve, until `ended` is cancelled; to be called on the runtime.
    pub(crate) fn start(sockets: Vec<Listening>, ended: &CancelToken) -> Result<Self, ExecError> {
        let mut tasks = JoinSet::new();
        let mut files = Vec::new();
        for socket in sockets {
            let listener =
                UnixListener::from_std(socket.listener).doing("serve the socket of a step")?;
            tasks.spawn(serve(listener, socket.on_connect, ended.clone()));
            files.push(socket.file);
        }
        Ok(Self {
            tasks,
            _files: files,
        })
    }

    /// Waits until nothing is served any more, once the step has ended; then removes the files.
    ///
    /// # Errors
    /// What [`Self::start`] had.
    pub(crate) async fn finish(served: Result<Self, ExecError>) -> Result<(), ExecError> {
        let mut served = served?;
        while served.tasks.join_next().await.is_some() {}
        Ok(())
    }
}

async fn serve(listener: UnixListener, on_connect: OnConnect, ended: CancelToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(on_connect(stream))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of a step");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = ended.cancelled() => break,
        }
    }
    connections.shutdown().await;
}
