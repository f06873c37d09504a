//! Turning the description's mounts into mounts that only lack a place.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use lamina_types::IoContext;
use lamina_types::RootedPath;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Uid;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::mount::UnmountFlags;

use super::Step;
use super::mounts::INERT;
use super::mounts::attach;
use super::mounts::clone_tree;
use crate::detached::new_mount;
use crate::in_root;
use crate::sys;
use crate::userns;
use crate::wire::Failure;
use crate::wire::Mount;
use crate::wire::Source;

/// All mounts of a step but those of the system.
pub(super) struct Prepared {
    /// The directory on which a mount is put to be looked into, and at the end the root.
    pub(super) stage: OwnedFd,
    /// In the order in which they are put.
    pub(super) mounts: Vec<PreparedMount>,
}

impl Prepared {
    /// Says whether the caller mounts something of its own at `dest`.
    pub(super) fn has(&self, dest: &str) -> bool {
        self.mounts
            .iter()
            .any(|mount| mount.dest == RootedPath::new(dest))
    }
}

/// One mount and where it goes.
pub(super) struct PreparedMount {
    pub(super) dest: RootedPath,
    pub(super) attributes: MountAttrFlags,
    pub(super) is_dir: bool,
    /// `None`: a tmpfs, made when it is put.
    pub(super) content: Option<OwnedFd>,
    pub(super) size_bytes: Option<u64>,
}

/// Prepares the mounts of `step`.
pub(super) fn prepare(step: &Step) -> Result<Prepared, Failure> {
    let stage_path = step.description.stage.as_str();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let stage = rustix::fs::open(stage_path, flags, Mode::empty()).at("open the stage")?;
    let stager = Stager {
        stage: &stage,
        path: stage_path,
    };
    let mut files = make_files(step, &stager)?.into_iter();
    let mut mounts = Vec::new();
    for mount in &step.description.mounts {
        let content = match &mount.source {
            Source::Tmpfs { .. } => None,
            Source::File { .. } => files.next(),
            Source::Descriptor { index, selector } => {
                Some(select(step, &stager, *index, selector)?)
            }
        };
        mounts.push(finish(mount, content)?);
    }
    Ok(Prepared { stage, mounts })
}

fn finish(mount: &Mount, content: Option<OwnedFd>) -> Result<PreparedMount, Failure> {
    let attributes = attributes(mount);
    let is_dir = match &content {
        None => true,
        Some(content) => {
            sys::set_mount_attributes(content, attributes, true).at(&mount.dest)?;
            in_root::kind(content).at(&mount.dest)? == FileType::Directory
        }
    };
    let size_bytes = match mount.source {
        Source::Tmpfs { size_bytes } => size_bytes,
        _ => None,
    };
    Ok(PreparedMount {
        dest: RootedPath::new(&mount.dest),
        attributes,
        is_dir,
        content,
        size_bytes,
    })
}

fn attributes(mount: &Mount) -> MountAttrFlags {
    [
        (mount.readonly, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (mount.nosuid, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (mount.nodev, MountAttrFlags::MOUNT_ATTR_NODEV),
        (mount.noexec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ]
    .into_iter()
    .filter_map(|(wanted, flag)| wanted.then_some(flag))
    .collect()
}

/// Puts mounts on the stage for as long as it takes to copy something out of them: older kernels
/// clone only what is mounted somewhere.
struct Stager<'a> {
    stage: &'a OwnedFd,
    path: &'a str,
}

impl Stager<'_> {
    fn with<T>(
        &self,
        mount: &OwnedFd,
        copy: impl FnOnce(&OwnedFd) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        attach(mount, self.stage).at("use the stage")?;
        let copied = copy(mount);
        rustix::mount::unmount(self.path, UnmountFlags::DETACH).at("clear the stage")?;
        copied
    }
}

/// Returns a mount of what `selector` names in a mount that was sent along (row EXC-14).
fn select(
    step: &Step,
    stager: &Stager<'_>,
    index: usize,
    selector: &str,
) -> Result<OwnedFd, Failure> {
    let missing = || Failure::Sandbox("a mount was not sent".to_owned());
    let mount = step.descriptors.get(index).ok_or_else(missing)?;
    let path = RootedPath::new(selector);
    if path.is_root() {
        return Ok(mount.try_clone().at(selector)?);
    }
    stager.with(mount, |mount| match in_root::open(mount, &path) {
        Ok(place) => Ok(clone_tree(place).at(selector)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::Selector(selector.to_owned()))
        }
        Err(error) => Err(Err::<OwnedFd, _>(error)
            .at(selector)
            .map_or_else(Into::into, |_| missing())),
    })
}

/// Makes the files whose content came with the description, on one tmpfs, and returns a mount of
/// each.
fn make_files(step: &Step, stager: &Stager<'_>) -> Result<Vec<OwnedFd>, Failure> {
    // Copies keep what the mount forbids, and a secret may be a program (row EXC-26).
    let attributes = INERT.difference(MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let tmpfs = new_mount("tmpfs", &[("mode", "0700")], attributes).at("make a tmpfs for files")?;
    stager.with(&tmpfs, |tmpfs| {
        let mut files = Vec::new();
        for mount in &step.description.mounts {
            if let Source::File { .. } = mount.source {
                let file = make_file(step, tmpfs, files.len(), &mount.source)
                    .map_err(|error| explain(error, &mount.dest))?;
                files.push(clone_tree(file).at(&mount.dest)?);
            }
        }
        Ok(files)
    })
}

fn make_file(step: &Step, dir: &OwnedFd, number: usize, source: &Source) -> io::Result<OwnedFd> {
    let Source::File {
        start,
        length,
        uid,
        gid,
        mode,
    } = *source
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let range = usize::try_from(start)
        .ok()
        .zip(usize::try_from(start + length).ok());
    let data = range
        .and_then(|(start, end)| step.blobs.get(start..end))
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let name = number.to_string();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, &name, flags, Mode::from_raw_mode(0o600))?;
    File::from(file.try_clone()?).write_all(data)?;
    if (uid, gid) != (0, 0) {
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(
        dir.as_fd(),
        &name,
        flags,
        Mode::empty(),
    )?)
}

/// An owner that is not mapped is refused with EINVAL.
fn explain(error: io::Error, dest: &str) -> Failure {
    if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
        return Failure::NeedsMoreIds(userns::more_ids_help("a file with another owner"));
    }
    Failure::during(dest, error)
}
