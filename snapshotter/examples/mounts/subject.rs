//! What is measured: ways to mount the same layers.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Backend;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::XattrNamespace;
use rustix::mount::MoveMountFlags;
use rustix::mount::UnmountFlags;

use crate::Outcome;
use crate::work::Input;

/// Between looks at whether a program has mounted.
const PAUSE: Duration = Duration::from_millis(5);

/// One way to mount.
pub(crate) enum Subject {
    Ours(Backend),
    FuseOverlayfs,
}

/// A mount that is in use.
pub(crate) struct Mounted {
    home: PathBuf,
    place: PathBuf,
    serving: Serving,
}

/// What a mount is of.
enum Serving {
    Layer(ActiveLayer),
    Program(Child),
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

    /// Says why this cannot be measured.
    pub(crate) fn probe(&self, input: &Input, folder: &Path) -> Outcome<()> {
        self.mount(input, &folder.join(self.name()))?.end()
    }

    /// Mounts the layers of `input` and something writable on them below `home`, which is made.
    pub(crate) fn mount(&self, input: &Input, home: &Path) -> Outcome<Mounted> {
        let place = home.join("place");
        std::fs::create_dir_all(&place)?;
        let serving = match self {
            Self::Ours(backend) => {
                let chosen = lamina_snapshotter::choose(&input.store, Some(*backend))?;
                let active = input.store.prepare(&input.stack)?;
                attach(chosen.mounter.mount_active(&active)?.fd, &place)?;
                Serving::Layer(active)
            }
            Self::FuseOverlayfs => Serving::Program(fuse_overlayfs(input, home, &place)?),
        };
        Ok(Mounted {
            home: home.to_owned(),
            place,
            serving,
        })
    }
}

impl Mounted {
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Unmounts, waits for the last write, and throws away what was written.
    pub(crate) fn end(self) -> Outcome<()> {
        detach(&self.place)?;
        match self.serving {
            Serving::Layer(active) => active.end_mount()?,
            Serving::Program(mut program) => drop(program.wait()?),
        }
        Ok(std::fs::remove_dir_all(&self.home)?)
    }
}

/// Starts the program in the foreground: as a daemon it would be in a session of its own, and where the
/// kernel shares processors out by session (`sched_autogroup_enabled`), a busy machine would let it wait
/// and not us.
fn fuse_overlayfs(input: &Input, home: &Path, place: &Path) -> Outcome<Child> {
    let folder = |name: &str| -> Outcome<String> {
        let path = home.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path.display().to_string())
    };
    let layers = input.stack.layers().iter().rev();
    let store = input.store.path().display();
    let lower: Vec<String> = layers
        .map(|layer| format!("{store}/{}/fs", layer.id()))
        .collect();
    let (upper, work, lower) = (folder("upper")?, folder("work")?, lower.join(":"));
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let mut command = Command::new("fuse-overlayfs");
    // It remarks on options that mounting passes on to it.
    let command = command
        .args(["-f", "-o", &options])
        .arg(place)
        .stderr(Stdio::null());
    let mut program = command.spawn()?;
    wait_for_mount(place, &mut program)?;
    Ok(program)
}

/// Waits until `place` is on another file system than what it is in.
fn wait_for_mount(place: &Path, program: &mut Child) -> Outcome<()> {
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev());
    let outside = device(place.parent().unwrap_or(place))?;
    while device(place)? == outside {
        if let Some(status) = program.try_wait()? {
            return Err(format!("fuse-overlayfs: {status}").into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
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
