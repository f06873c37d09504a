//! What can be tried as the user that one is: files, programs, the kernel.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;

use lamina_daemon::places;
use tempfile::TempDir;

use super::Finding;
use crate::connect;
use crate::progress::human_bytes;

/// Space below which a build of any size is likely to fail.
const LITTLE_SPACE: u64 = 5 << 30;

/// Where the kernel lists what runs programs of other machines.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Makes the checks that come before the namespaces.
pub(super) fn outside() -> Vec<Finding> {
    let mut findings = vec![kernel()];
    if places::is_rootless() {
        findings.push(subordinate_ids());
    }
    findings.extend([seccomp(), cgroups(), binfmt(), daemon()]);
    findings
}

fn kernel() -> Finding {
    let uname = rustix::system::uname();
    Finding::ok(
        "kernel",
        format!("{} {}", text(uname.sysname()), text(uname.release())),
    )
}

fn text(name: &std::ffi::CStr) -> std::borrow::Cow<'_, str> {
    name.to_string_lossy()
}

/// Without them every file of an image would have to be this user's.
fn subordinate_ids() -> Finding {
    const WHAT: &str = "subordinate ids";
    const FIX: &str = "install the package uidmap, and as root: usermod --add-subuids \
                       100000-165535 --add-subgids 100000-165535 NAME";
    let missing = ["newuidmap", "newgidmap"]
        .into_iter()
        .find(|name| program(name).is_none());
    if let Some(name) = missing {
        return Finding::missing(WHAT, format!("{name} is not installed"), FIX);
    }
    let files = ["/etc/subuid", "/etc/subgid"];
    match files.into_iter().find(|file| !has_range(Path::new(file))) {
        Some(file) => Finding::missing(WHAT, format!("{file} has no range for this user"), FIX),
        None => Finding::ok(WHAT, "newuidmap, newgidmap and ranges are there"),
    }
}

/// Ranges are given to a user by name or by number.
fn has_range(file: &Path) -> bool {
    let id = rustix::process::getuid().as_raw().to_string();
    let name = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let ranges = fs::read_to_string(file).unwrap_or_default();
    let owners = ranges.lines().filter_map(|line| line.split(':').next());
    owners
        .into_iter()
        .any(|owner| owner == id || name.as_deref() == Some(owner))
}

fn seccomp() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    match actions {
        Ok(actions) if actions.contains("errno") => Finding::ok("seccomp", "filters can be set"),
        _ => Finding::failed(
            "seccomp",
            "the kernel has no filters for system calls",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn cgroups() -> Finding {
    const WHAT: &str = "cgroups";
    const FIX: &str = "let systemd delegate them: loginctl enable-linger, or Delegate=yes";
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let text = "version 2 is not mounted; steps run without limits of their own";
        return Finding::missing(WHAT, text, "boot with systemd.unified_cgroup_hierarchy=1");
    }
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own
        .trim()
        .strip_prefix("0::/")
        .unwrap_or_default()
        .to_owned();
    let probe = Path::new("/sys/fs/cgroup")
        .join(own)
        .join(format!("lamina-{}", std::process::id()));
    match fs::create_dir(&probe) {
        Ok(()) => {
            // An empty group goes at once; it is in nobody's way otherwise.
            drop(fs::remove_dir(&probe));
            Finding::ok(WHAT, "version 2, and groups can be made")
        }
        Err(error) => Finding::missing(WHAT, format!("no group can be made: {error}"), FIX),
    }
}

fn binfmt() -> Finding {
    const WHAT: &str = "other platforms";
    const FIX: &str = "install the package qemu-user-static, or mount binfmt_misc";
    let names = match fs::read_dir(BINFMT) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()),
        Err(error) => return Finding::missing(WHAT, format!("{BINFMT}: {error}"), FIX),
    };
    let names = names.filter_map(|name| name.into_string().ok());
    let mut emulated: Vec<String> = names
        .filter_map(|name| name.strip_prefix("qemu-").map(str::to_owned))
        .collect();
    emulated.sort();
    if emulated.is_empty() {
        return Finding::missing(WHAT, "no emulator is registered", FIX);
    }
    Finding::ok(WHAT, emulated.join(", "))
}

fn daemon() -> Finding {
    match connect::running() {
        Some(address) => Finding::ok("daemon", format!("answers at {address}")),
        None => Finding::ok(
            "daemon",
            format!("none at {}; builds need none", connect::usual()),
        ),
    }
}

/// A folder below `root`; with it goes `root`, if it was not there before and is empty.
pub(super) struct Scratch {
    folder: Option<TempDir>,
    made: Option<PathBuf>,
}

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        self.folder.as_ref().expect("there until dropped").path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.folder.take());
        if let Some(root) = &self.made {
            // Something else may have come into it meanwhile; then it stays.
            drop(fs::remove_dir(root));
        }
    }
}

/// Makes a folder below `root`, as a build would make its own.
pub(super) fn scratch_in(root: &Path) -> io::Result<Scratch> {
    let made = (!root.exists()).then(|| root.to_owned());
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)?;
    let folder = tempfile::Builder::new()
        .prefix("doctor-")
        .tempdir_in(root)?;
    Ok(Scratch {
        folder: Some(folder),
        made,
    })
}

/// Tries whether the state folder can be written to and has room.
pub(super) fn state(root: &Path) -> Finding {
    const WHAT: &str = "state folder";
    if let Err(error) = scratch_in(root) {
        let text = format!("{}: {error}", root.display());
        return Finding::failed(WHAT, text, "choose another folder with --root");
    }
    let stats = root
        .ancestors()
        .find_map(|path| rustix::fs::statvfs(path).ok());
    let free = stats.map_or(0, |stats| stats.f_bavail.saturating_mul(stats.f_frsize));
    let text = format!("{}, {} free", root.display(), human_bytes(free));
    if free < LITTLE_SPACE {
        return Finding::missing(WHAT, text, "free some space, for instance by lamina prune");
    }
    Finding::ok(WHAT, text)
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
