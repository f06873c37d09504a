//! The program that steps grow out of, where none of them can change it.
//!
//! Until its own program runs, the process of a step is a copy of the runtime, and a script of an
//! image may name `/proc/self/exe` as what runs it: who sees such a process can open the file that
//! it was started from (CVE-2019-5736). So the runtime is not started from the file on the host:
//!
//! ```text
//! /usr/bin/lamina ──► an overlay of /usr/bin without an upper layer: the file system itself is
//!                     read-only, whoever asks; it is mounted nowhere
//!                 └─► where that cannot be had, a copy in memory that is sealed
//! ```

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::MemfdFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::detached::by_descriptor;
use crate::detached::new_mount;

/// A program that can be started and not be changed.
#[derive(Debug)]
pub(super) struct Sealed(OwnedFd);

impl Sealed {
    /// Opens `program`; `empty` is a folder with nothing in it.
    ///
    /// # Errors
    /// If it cannot be read, or there is no memory for a copy.
    pub(super) fn open(program: &Path, empty: &Path) -> io::Result<Self> {
        let original = File::open(program)?;
        let overlaid = overlaid(&original, empty);
        let sealed = overlaid.or_else(|error| {
            tracing::debug!(%error, "no overlay of the program; it is copied into memory");
            copied(original)
        });
        sealed.map(Self)
    }

    /// Returns a path by which this process and its children can start it.
    pub(super) fn path(&self) -> PathBuf {
        by_descriptor(&self.0)
    }
}

/// Opens the file through an overlay of its folder, which the kernel wants to have two layers.
fn overlaid(original: &File, empty: &Path) -> io::Result<OwnedFd> {
    let real = std::fs::read_link(by_descriptor(original))?;
    let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let (folder, empty) = (open_folder(folder)?, open_folder(empty)?);
    if !is_same(original, &File::from(open_in(&folder, Path::new(name))?))? {
        // It was replaced; this process runs what was there before.
        return Err(io::ErrorKind::NotFound.into());
    }
    let layers = [by_descriptor(&folder), by_descriptor(&empty)];
    let layers = layers.map(|layer| layer.display().to_string()).join(":");
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = new_mount("overlay", &[("lowerdir", &layers)], attributes)?;
    open_in(&mount, Path::new(name))
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn open_in(folder: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Copies the file into memory and seals it.
fn copied(mut original: File) -> io::Result<OwnedFd> {
    let mut copy = File::from(memory_file()?);
    io::copy(&mut original, &mut copy)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    match rustix::fs::fcntl_add_seals(&copy, seals | SealFlags::EXEC) {
        // Before Linux 6.3 the mode cannot be sealed.
        Err(Errno::INVAL) => rustix::fs::fcntl_add_seals(&copy, seals)?,
        sealed => sealed?,
    }
    // A descriptor that cannot write, so that the kernel does not call the file busy.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let copy = OwnedFd::from(copy);
    Ok(rustix::fs::open(
        by_descriptor(&copy),
        flags,
        Mode::empty(),
    )?)
}

/// Where machines make files in memory not executable unless asked, asks; kernels before 6.3 do not
/// know the question.
fn memory_file() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(c"lamina", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create(c"lamina", flags)?),
        made => Ok(made?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    /// A program that says which one it is, and a folder for it.
    fn program() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("program");
        let binary = std::fs::read("/bin/true").expect("a program");
        std::fs::write(&path, binary).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("executable");
        (dir, path)
    }

    /// Starts it, and tries to change it as its owner would.
    fn check(sealed: &Sealed, path: &Path) {
        let before = std::fs::read(path).expect("readable");
        // Some machines have one program for many, which goes by its name.
        let status = Command::new(sealed.path()).arg0("true").status();
        assert!(status.expect("runs").success());
        let opened = OpenOptions::new().write(true).open(sealed.path());
        let written = opened.and_then(|mut file| file.write_all(b"changed"));
        let error = written.expect_err("sealed");
        assert_ne!(error.kind(), io::ErrorKind::ExecutableFileBusy, "{error}");
        assert_eq!(std::fs::read(path).expect("readable"), before);
    }

    #[test]
    fn a_copy_in_memory_can_be_started_and_not_be_changed() {
        let (_dir, path) = program();
        let original = File::open(&path).expect("opens");
        check(&Sealed(copied(original).expect("copied")), &path);
    }

    #[test]
    fn an_overlay_can_be_started_and_not_be_changed() {
        let (_dir, path) = program();
        let empty = tempfile::tempdir().expect("a folder");
        let original = File::open(&path).expect("opens");
        match overlaid(&original, empty.path()) {
            Ok(file) => check(&Sealed(file), &path),
            Err(error) => {
                let mut log = io::stderr();
                writeln!(log, "skipped: no overlay mounts: {error}").expect("standard error");
            }
        }
    }

    #[test]
    fn a_program_that_was_replaced_is_copied() {
        let (_dir, path) = program();
        let empty = tempfile::tempdir().expect("a folder");
        let original = File::open(&path).expect("opens");
        std::fs::rename(&path, path.with_extension("old")).expect("renamed");
        std::fs::write(&path, "another").expect("written");
        std::fs::remove_file(path.with_extension("old")).expect("removed");
        let refused = overlaid(&original, empty.path()).expect_err("another file");
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        check(&Sealed(copied(original).expect("copied")), &path);
    }

    #[test]
    fn the_program_must_be_there() {
        let error = Sealed::open(Path::new("/no/such"), Path::new("/"));
        assert_eq!(error.expect_err("missing").kind(), io::ErrorKind::NotFound);
    }
}
