//! What the design takes for granted about the kernel, tried on the kernel that runs.
//!
//! A line "fact:" tells what differs from kernel to kernel; what must hold everywhere is asserted.

use std::fs::DirBuilder;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;

use crate::support::host_path;
use crate::support::skipped;

/// More layers than any kernel takes.
const MANY: usize = 600;

/// Folders to mount, and how this process may name overlayfs' attributes.
struct Rig {
    folder: tempfile::TempDir,
}

impl Rig {
    /// Returns a rig, or says why nothing can be mounted here.
    fn new(test: &str) -> Option<Self> {
        let rig = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        match rig.mount(&[rig.dir("probe-1"), rig.dir("probe-2")], None) {
            Ok(_) => Some(rig),
            Err(error) => {
                skipped(test, &format!("overlay by fsconfig: {error}"));
                None
            }
        }
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&path);
        made.unwrap();
        path
    }

    /// Mounts `lower`, topmost first; before Linux 6.7 there is one option of 255 bytes for all.
    fn mount(&self, lower: &[PathBuf], upper: Option<&Path>) -> Result<OwnedFd, Errno> {
        let apart: Vec<(&str, PathBuf)> =
            lower.iter().map(|dir| ("lowerdir+", dir.clone())).collect();
        let names: Vec<String> = lower.iter().map(|dir| dir.display().to_string()).collect();
        let joined = vec![("lowerdir", PathBuf::from(names.join(":")))];
        self.mount_options(&apart, upper)
            .or_else(|_| self.mount_options(&joined, upper))
    }

    fn mount_options(
        &self,
        lower: &[(&str, PathBuf)],
        upper: Option<&Path>,
    ) -> Result<OwnedFd, Errno> {
        let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let set =
            |key: &str, value: &Path| rustix::mount::fsconfig_set_string(fs.as_fd(), key, value);
        if user_xattrs() {
            rustix::mount::fsconfig_set_flag(fs.as_fd(), "userxattr")?;
        }
        for (key, value) in lower {
            set(key, value)?;
        }
        if let Some(upper) = upper {
            set("upperdir", upper)?;
            set("workdir", &self.dir("work"))?;
        }
        rustix::mount::fsconfig_create(fs.as_fd())?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        rustix::mount::fsmount(fs.as_fd(), flags, MountAttrFlags::empty())
    }
}

/// Says whether the kernel lets this process use `user.overlay.*` only.
fn user_xattrs() -> bool {
    crate::support::in_user_namespace() || !rustix::process::geteuid().is_root()
}

fn attribute(name: &str) -> String {
    let space = if user_xattrs() { "user" } else { "trusted" };
    format!("{space}.overlay.{name}")
}

fn whiteout(path: &Path) -> Result<(), Errno> {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0)
}

fn names(mount: &OwnedFd, dir: &str) -> Vec<String> {
    let listed = std::fs::read_dir(host_path(mount).join(dir)).unwrap();
    let mut names: Vec<String> = listed
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[expect(
    clippy::print_stderr,
    reason = "what a kernel does is what this is for"
)]
fn fact(what: &str, result: impl std::fmt::Display) {
    let kernel = rustix::system::uname();
    eprintln!(
        "fact: {}: {what}: {result}",
        kernel.release().to_string_lossy()
    );
}

#[test]
fn the_origin_mark_hides_whiteouts_of_directories_that_merge_with_nothing() {
    let Some(rig) = Rig::new("whiteouts without anything below") else {
        return;
    };
    let top = rig.dir("top");
    for dir in ["plain", "marked"] {
        let dir = rig.dir(&format!("top/{dir}"));
        whiteout(&dir.join("gone")).unwrap();
        File::create(dir.join("kept")).unwrap();
    }
    xattr::set(top.join("marked"), attribute("origin"), b"").unwrap();
    let mount = rig.mount(&[top, rig.dir("empty")], None).unwrap();
    assert_eq!(names(&mount, "marked"), ["kept"]);
    fact(
        "names in a directory without the mark",
        names(&mount, "plain").join(" "),
    );
}

#[test]
fn a_directory_made_in_place_of_another_is_marked_opaque() {
    let Some(rig) = Rig::new("opaque directories") else {
        return;
    };
    let (lower, upper) = (rig.dir("lower"), rig.dir("upper"));
    File::create(rig.dir("lower/d").join("old")).unwrap();
    let mount = rig.mount(&[lower, rig.dir("empty")], Some(&upper)).unwrap();
    let dir = host_path(&mount).join("d");
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::create_dir(&dir).unwrap();
    let mark = xattr::get(upper.join("d"), attribute("opaque")).unwrap();
    assert_eq!(mark.as_deref(), Some(&b"y"[..]));
    assert_eq!(names(&mount, "d"), Vec::<String>::new());
}

#[test]
fn a_layer_must_not_come_twice() {
    let Some(rig) = Rig::new("a layer twice") else {
        return;
    };
    let (one, two) = (rig.dir("one"), rig.dir("two"));
    let twice = rig.mount(&[one.clone(), two, one], None);
    let refused = twice.expect_err("overlayfs mounts no layer twice");
    assert!([Errno::LOOP, Errno::INVAL].contains(&refused), "{refused}");
    fact("the same layer twice", refused);
}

/// Where layers can be named one by one; else the length of the option limits them.
#[test]
fn the_number_of_layers_has_a_limit() {
    let Some(rig) = Rig::new("many layers") else {
        return;
    };
    let dirs: Vec<PathBuf> = (0..MANY).map(|index| rig.dir(&index.to_string())).collect();
    let fits = |count: usize| rig.mount(&dirs[..count], None).is_ok();
    let (mut most, mut too_many) = (2, MANY);
    while too_many - most > 1 {
        let middle = usize::midpoint(most, too_many);
        if fits(middle) {
            most = middle;
        } else {
            too_many = middle;
        }
    }
    fact("layers by fsconfig", most);
    assert!(!fits(MANY), "no kernel takes so many");
}

#[test]
fn a_renamed_lower_directory_is_refused_without_redirects() {
    let Some(rig) = Rig::new("renamed directories") else {
        return;
    };
    let (lower, upper) = (rig.dir("lower"), rig.dir("upper"));
    rig.dir("lower/d");
    let mount = rig.mount(&[lower, rig.dir("empty")], Some(&upper)).unwrap();
    let renamed = rustix::fs::renameat(&mount, "d", &mount, "e");
    let text = renamed.map_or_else(|error| error.to_string(), |()| "works".to_owned());
    fact("rename of a directory of a lower layer", text);
}

/// Not the overlay itself, but where tests like to keep it.
#[test]
fn files_in_memory_may_have_no_attributes_of_users() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        return skipped("attributes in memory", "no /dev/shm");
    };
    let set = xattr::set(folder.path(), "user.lamina", b"x");
    let text = set.map_or_else(|error| error.to_string(), |()| "works".to_owned());
    fact("an attribute of users in memory", text);
}
