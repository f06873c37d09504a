//! The kernel's overlayfs.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Mutex;

use lamina_types::IoContext;
use lamina_types::LayerId;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;

use super::DetachedMount;
use super::Mounter;
use super::bind;
use super::options;
use super::probe;
use super::thread;
use crate::ActiveLayer;
use crate::LayerStack;
use crate::SnapshotError;
use crate::fdio;
use crate::store::EMPTY_DIR;
use crate::store::Layer;
use crate::store::SnapshotStore;

/// The most layers that the kernel takes in one mount, less one for an upper.
pub(super) const MAX_LOWER: usize = 499;

/// How the list of layers reaches the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Means {
    /// `fsconfig` with one `lowerdir+` per layer.
    LowerdirPlus,
    /// `mount(2)` with all layers in one page of options.
    Mount,
}

/// Kernel overlayfs.
pub struct KernelOverlay {
    pub(super) store: SnapshotStore,
    pub(super) means: Means,
    /// Layers made to stand for others in views; by the layers that they replace.
    pub(super) replacements: Mutex<HashMap<Vec<LayerId>, Layer>>,
}

/// What to mount, as folders of the store's, topmost first.
pub(super) struct Plan {
    pub(super) lower: Vec<String>,
    pub(super) upper: Option<UpperPlan>,
}

/// The writable side.
pub(super) struct UpperPlan {
    pub(super) upper: String,
    pub(super) work: String,
}

impl KernelOverlay {
    /// Finds out, by real mounts with a whiteout, an opaque directory and an attribute, whether and how
    /// the kernel mounts layers of `store` in this process's namespaces.
    ///
    /// # Errors
    /// [`SnapshotError::Unavailable`] with the reason.
    pub fn probe(store: &SnapshotStore) -> Result<Self, SnapshotError> {
        Self::probe_means(store, &[Means::LowerdirPlus, Means::Mount])
    }

    /// As [`KernelOverlay::probe`], by `mount(2)` alone as kernels before 6.7 need it. The process must
    /// have a mount namespace of its own, since every mount has a place for a moment.
    ///
    /// # Errors
    /// [`SnapshotError::Unavailable`] with the reason.
    pub fn probe_mount_call(store: &SnapshotStore) -> Result<Self, SnapshotError> {
        Self::probe_means(store, &[Means::Mount])
    }

    fn probe_means(store: &SnapshotStore, all: &[Means]) -> Result<Self, SnapshotError> {
        let unavailable = |reason| SnapshotError::Unavailable {
            backend: "overlay",
            reason,
        };
        probe::require_real_owners(store).map_err(|error| unavailable(error.to_string()))?;
        let mut reasons = Vec::new();
        for &means in all {
            let candidate = Self {
                store: store.clone(),
                means,
                replacements: Mutex::default(),
            };
            match probe::check(&candidate, store) {
                Ok(()) => return Ok(candidate),
                Err(error) => reasons.push(format!("{}: {error}", means.describe())),
            }
        }
        Err(unavailable(reasons.join("; ")))
    }

    fn lower_folders(&self, stack: &LayerStack) -> Result<Vec<String>, SnapshotError> {
        let layers = self.layers_to_mount(stack)?;
        let ids = layers.iter().rev();
        Ok(ids.map(lower_folder).collect())
    }

    pub(super) fn mount(&self, plan: &Plan) -> Result<OwnedFd, SnapshotError> {
        match self.means {
            Means::LowerdirPlus => self.mount_by_fsconfig(plan),
            Means::Mount => thread::mount(&self.store, plan),
        }
    }

    fn mount_by_fsconfig(&self, plan: &Plan) -> Result<OwnedFd, SnapshotError> {
        let configure = || -> Result<OwnedFd, Errno> {
            let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            self.configure(fs.as_fd(), plan)?;
            rustix::mount::fsconfig_create(fs.as_fd())?;
            let flags = FsMountFlags::FSMOUNT_CLOEXEC;
            rustix::mount::fsmount(fs.as_fd(), flags, attributes(plan))
        };
        Ok(configure().at(describe(plan))?)
    }

    fn configure(&self, fs: BorrowedFd<'_>, plan: &Plan) -> Result<(), Errno> {
        rustix::mount::fsconfig_set_string(fs, "source", "overlay")?;
        for (key, value) in options::common(self.store.namespace()) {
            match value {
                Some(value) => rustix::mount::fsconfig_set_string(fs, key, value)?,
                None => rustix::mount::fsconfig_set_flag(fs, key)?,
            }
        }
        for folder in &plan.lower {
            self.set_folder(fs, "lowerdir+", folder)?;
        }
        if let Some(upper) = &plan.upper {
            self.set_folder(fs, "upperdir", &upper.upper)?;
            self.set_folder(fs, "workdir", &upper.work)?;
            rustix::mount::fsconfig_set_flag(fs, options::VOLATILE)?;
        }
        Ok(())
    }

    /// Names a folder of the store: as users will see it in the mount table, or through a descriptor
    /// where that is longer than `fsconfig` takes.
    fn set_folder(&self, fs: BorrowedFd<'_>, key: &str, folder: &str) -> Result<(), Errno> {
        const MAX_VALUE: usize = 255;
        let path = self.store.path().join(folder);
        if path.as_os_str().len() <= MAX_VALUE {
            return rustix::mount::fsconfig_set_string(fs, key, &path);
        }
        let root = PathBuf::from(fdio::proc_path(self.store.dir()));
        rustix::mount::fsconfig_set_string(fs, key, root.join(folder))
    }
}

/// Returns the folder of a layer's files in the store's.
pub(super) fn lower_folder(layer: &Layer) -> String {
    format!("{}/fs", layer.id())
}

impl Mounter for KernelOverlay {
    fn mount_view(&self, stack: &LayerStack) -> Result<DetachedMount, SnapshotError> {
        if let Some(view) = bind::simple_view(&self.store, stack)? {
            return Ok(view);
        }
        let mut lower = self.lower_folders(stack)?;
        if lower.len() == 1 {
            // The kernel mounts no single layer without an upper.
            lower.push(EMPTY_DIR.to_owned());
        }
        let fd = self.mount(&Plan { lower, upper: None })?;
        Ok(DetachedMount::of(fd))
    }

    fn mount_active(&self, active: &ActiveLayer) -> Result<DetachedMount, SnapshotError> {
        drop(active.begin_mount()?);
        let mut lower = self.lower_folders(active.lower())?;
        if lower.is_empty() {
            lower.push(EMPTY_DIR.to_owned());
        }
        let folder = active.folder_name();
        let upper = Some(UpperPlan {
            upper: format!("{folder}/fs"),
            work: format!("{folder}/work"),
        });
        let fd = self.mount(&Plan { lower, upper })?;
        Ok(DetachedMount::of(fd))
    }

    fn describe(&self) -> String {
        let namespace = self.store.namespace();
        format!("overlay ({namespace} xattrs, {})", self.means.describe())
    }
}

impl Means {
    fn describe(self) -> &'static str {
        match self {
            Self::LowerdirPlus => "fsconfig lowerdir+",
            Self::Mount => "mount with short paths",
        }
    }
}

impl std::fmt::Debug for KernelOverlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

fn attributes(plan: &Plan) -> MountAttrFlags {
    match plan.upper {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    }
}

/// Says what is mounted, for errors.
pub(super) fn describe(plan: &Plan) -> String {
    let kind = if plan.upper.is_some() {
        "writable"
    } else {
        "read-only"
    };
    format!("{kind} overlay of {} layers", plan.lower.len())
}
