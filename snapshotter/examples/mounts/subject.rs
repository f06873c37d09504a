//! What is measured: ways to mount the same layers.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Backend;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::XattrNamespace;
use rustix::mount::MoveMountFlags;
use rustix::mount::UnmountFlags;

use crate::Outcome;

/// One way to mount.
pub(crate) enum Subject {
    Ours(Backend),
    FuseOverlayfs,
}

/// A mount that is in use.
pub(crate) struct Mounted {
    place: PathBuf,
    /// Of ours, to be ended in order.
    active: Option<ActiveLayer>,
}

impl Subject {
    /// Returns those that are measured; the first two are what the others are compared with.
    pub(crate) fn all() -> [Self; 3] {
        [
            Self::Ours(Backend::Overlay),
            Self::FuseOverlayfs,
            Self::Ours(Backend::Fuse),
        ]
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ours(backend) => backend.name(),
            Self::FuseOverlayfs => "fuse-overlayfs",
        }
    }

    /// Mounts `stack` and something writable on it below `home`.
    pub(crate) fn mount(
        &self,
        store: &SnapshotStore,
        stack: &LayerStack,
        home: &Path,
    ) -> Outcome<Mounted> {
        let place = home.join("place");
        let active = match self {
            Self::Ours(backend) => {
                let chosen = lamina_snapshotter::choose(store, Some(*backend))?;
                let active = store.prepare(stack)?;
                attach(chosen.mounter.mount_active(&active)?.fd, &place)?;
                Some(active)
            }
            Self::FuseOverlayfs => {
                fuse_overlayfs(store, stack, home, &place)?;
                None
            }
        };
        Ok(Mounted { place, active })
    }
}

impl Mounted {
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Unmounts, waits for the last write, and gives back what was written, if it is ours.
    pub(crate) fn end(self) -> Outcome<Option<ActiveLayer>> {
        detach(&self.place)?;
        if let Some(active) = &self.active {
            active.end_mount()?;
        }
        Ok(self.active)
    }
}

fn fuse_overlayfs(
    store: &SnapshotStore,
    stack: &LayerStack,
    home: &Path,
    place: &Path,
) -> Outcome<()> {
    let folder = |name: &str| -> Outcome<String> {
        let path = home.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path.display().to_string())
    };
    let layers = stack.layers().iter().rev();
    let lower: Vec<String> = layers
        .map(|layer| format!("{}/{}/fs", store.path().display(), layer.id()))
        .collect();
    let (upper, work) = (folder("upper")?, folder("work")?);
    let lower = lower.join(":");
    std::fs::create_dir_all(place)?;
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let mut command = Command::new("fuse-overlayfs");
    // It remarks on options that mounting passes on to it.
    let command = command
        .args(["-o", &options])
        .arg(place)
        .stderr(Stdio::null());
    let status = command.status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("fuse-overlayfs: {status}").into()),
    }
}

/// Opens a store with the attributes that this user can set.
pub(crate) fn open_store(path: &Path) -> Outcome<SnapshotStore> {
    let map = std::fs::read_to_string("/proc/self/uid_map")?;
    let everybody = map.split_whitespace().nth(2) == Some("4294967295");
    let namespace = match everybody {
        true => XattrNamespace::Trusted,
        false => XattrNamespace::User,
    };
    Ok(SnapshotStore::open(path, namespace)?)
}

/// Puts a mount at `place`, which is made.
pub(crate) fn attach(mount: OwnedFd, place: &Path) -> Outcome<()> {
    std::fs::create_dir_all(place)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", rustix::fs::CWD, place, flags)?;
    Ok(())
}

pub(crate) fn detach(place: &Path) -> Outcome<()> {
    Ok(rustix::mount::unmount(place, UnmountFlags::empty())?)
}
