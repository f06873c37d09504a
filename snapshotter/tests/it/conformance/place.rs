//! A mount at a place, for programs that need a path.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lamina_snapshotter::DetachedMount;
use lamina_snapshotter::LayerStack;
use nix::sched::CloneFlags;
use rustix::fs::CWD;
use rustix::mount::MountPropagationFlags;
use rustix::mount::MoveMountFlags;

use super::World;

impl World {
    /// As [`World::step`], with [`at_place`].
    pub(crate) fn step_at_place(
        &self,
        lower: &LayerStack,
        work: impl FnOnce(&Path) + Send,
    ) -> LayerStack {
        self.step(lower, |mount| at_place(mount, work))
    }
}

/// Works with the mount at a place that every user may enter, in a namespace as of
/// [`in_own_namespace`].
pub(crate) fn at_place<T: Send>(mount: &DetachedMount, work: impl FnOnce(&Path) -> T + Send) -> T {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    in_own_namespace(|| {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&mount.fd, "", CWD, place.path(), flags).unwrap();
        work(place.path())
    })
}

/// Works on a thread whose mounts nobody else sees and that go with it; programs that it starts are
/// there too.
pub(crate) fn in_own_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let alone = || {
        nix::sched::unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", flags).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(alone).join().unwrap())
}
