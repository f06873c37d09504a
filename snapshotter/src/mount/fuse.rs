//! Our own overlay file system, served over FUSE by threads of this process.
//!
//! For where the kernel refuses overlayfs: some hardened or older kernels, some containers. It needs
//! `/dev/fuse`, which must be opened in the user namespace that mounts: the kernel refuses a descriptor
//! from outside with `EINVAL`.

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::time::Duration;

use lamina_types::IoContext;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;

use super::Backing;
use super::DetachedMount;
use super::Inner;
use super::MountEnd;
use super::Mounter;
use super::bind;
use super::probe;
use super::session::Session;
use crate::ActiveLayer;
use crate::LayerStack;
use crate::SnapshotError;
use crate::fuse::OverlayFs;
use crate::store::SnapshotStore;

/// Where the kernel offers FUSE.
const DEVICE: &str = "/dev/fuse";

/// How long a test mount may take to answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// An overlay file system in this process.
#[derive(Clone)]
pub struct FuseOverlay {
    store: SnapshotStore,
}

impl FuseOverlay {
    /// Finds out, by real mounts, whether FUSE works in this process's namespaces.
    ///
    /// # Errors
    /// [`SnapshotError::Unavailable`] with the reason.
    pub fn probe(store: &SnapshotStore) -> Result<Self, SnapshotError> {
        let candidate = Self {
            store: store.clone(),
        };
        let (tell, told) = mpsc::channel();
        let checked = candidate.clone();
        // On a thread of its own, because a mount that does not answer would hold it for ever.
        std::thread::spawn(move || drop(tell.send(probe::check(&checked, &checked.store))));
        match told.recv_timeout(PROBE_PATIENCE) {
            Ok(Ok(())) => Ok(candidate),
            Ok(Err(error)) => Err(unavailable(&error.to_string())),
            Err(_) => Err(unavailable("a test mount does not answer")),
        }
    }

    /// Mounts and serves `fs`.
    fn serve(
        &self,
        fs: OverlayFs,
        attributes: MountAttrFlags,
    ) -> Result<(OwnedFd, Session), SnapshotError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let device = rustix::fs::open(DEVICE, flags, Mode::empty()).at(DEVICE)?;
        let fd = mount(&device, attributes).at("mount of FUSE")?;
        let session = Session::start(fs, device)?;
        Ok((fd, session))
    }
}

/// A writable mount that threads of this process answer.
#[derive(Debug)]
pub(crate) struct Served {
    fs: OverlayFs,
    /// The mount, until it ends.
    mount: Mutex<Option<OwnedFd>>,
    session: Session,
}

impl Served {
    /// Ends a mount that nobody uses any more.
    ///
    /// # Errors
    /// [`SnapshotError::MountInUse`] if somebody does. It may be tried again.
    pub(super) fn end(&self) -> Result<(), SnapshotError> {
        if let Some(mount) = self.take_mount() {
            self.fs.settle_times(mount.as_fd());
        }
        self.session.wait()
    }

    /// Lets go of a mount whose layer is given up.
    pub(super) fn give_up(&self) {
        drop(self.take_mount());
        self.session.wait_briefly();
    }

    fn take_mount(&self) -> Option<OwnedFd> {
        let mut mount = self.mount.lock().unwrap_or_else(PoisonError::into_inner);
        mount.take()
    }
}

/// Makes a mount that `device` will serve. Everybody may use it, and the kernel checks permissions by
/// modes and owners, as on any file system.
fn mount(device: &OwnedFd, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let fs = rustix::mount::fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fs = fs.as_fd();
    let number = device.as_raw_fd().to_string();
    for (key, value) in [
        ("source", "lamina"),
        ("subtype", "lamina"),
        ("fd", &number),
        ("rootmode", "40000"),
        ("user_id", "0"),
        ("group_id", "0"),
    ] {
        rustix::mount::fsconfig_set_string(fs, key, value)?;
    }
    rustix::mount::fsconfig_set_flag(fs, "default_permissions")?;
    rustix::mount::fsconfig_set_flag(fs, "allow_other")?;
    rustix::mount::fsconfig_create(fs)?;
    rustix::mount::fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

impl Mounter for FuseOverlay {
    fn mount_view(&self, stack: &LayerStack) -> Result<DetachedMount, SnapshotError> {
        if let Some(view) = bind::simple_view(&self.store, stack)? {
            return Ok(view);
        }
        let fs = OverlayFs::of_view(&self.store, stack)?;
        let (fd, session) = self.serve(fs, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        let backing = Backing(Inner::Session(session));
        Ok(DetachedMount { fd, backing })
    }

    fn mount_active(&self, active: &ActiveLayer) -> Result<DetachedMount, SnapshotError> {
        drop(active.begin_mount()?);
        let fs = OverlayFs::of_active(active)?;
        let (fd, session) = self.serve(fs.clone(), MountAttrFlags::empty())?;
        let mount = fd.try_clone().at("mount of FUSE")?;
        let mount = Mutex::new(Some(mount));
        active.mounted_until(MountEnd::Served(Served { fs, mount, session }));
        Ok(DetachedMount::of(fd))
    }

    fn describe(&self) -> String {
        format!("fuse ({} xattrs)", self.store.namespace())
    }
}

impl std::fmt::Debug for FuseOverlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

fn unavailable(reason: &str) -> SnapshotError {
    SnapshotError::Unavailable {
        backend: "fuse",
        reason: reason.to_owned(),
    }
}
