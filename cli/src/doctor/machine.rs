//! What can be tried as the user that one is: files, programs, the kernel.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use lamina_executor::ControlGroups;
use lamina_executor::userns;
use lamina_executor::userns::IdMapping;
use lamina_executor::userns::Obstacle;
use tempfile::TempDir;

use super::Finding;
use crate::connect;
use crate::progress::human_bytes;

/// Space below which a build of any size is likely to fail.
const LITTLE_SPACE: u64 = 5 << 30;

/// The row of subordinate ids.
const IDS: &str = "subordinate ids";

/// Where the kernel lists what runs programs of other machines.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Makes the checks that come before the namespaces.
pub(super) fn outside() -> Vec<Finding> {
    let mut findings = vec![kernel()];
    findings.extend(rootlesskit());
    if !rustix::process::geteuid().is_root() {
        findings.extend(rootless());
    }
    findings.extend([seccomp(), cgroups(), devices(), binfmt(), git(), daemon()]);
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

/// Names what keeps an ordinary user from what root can do.
fn rootless() -> Vec<Finding> {
    let missing =
        |obstacle: Obstacle| Finding::missing(obstacle.what, obstacle.found, obstacle.fix);
    let mut findings: Vec<Finding> = userns::obstacles().into_iter().map(missing).collect();
    if !findings.iter().any(|finding| finding.what == IDS) {
        findings.push(Finding::ok(
            IDS,
            "newuidmap, newgidmap and ranges are there",
        ));
    }
    findings
}

/// Inside RootlessKit the namespaces are there already, with its ids and its network.
fn rootlesskit() -> Option<Finding> {
    const WHAT: &str = "RootlessKit";
    std::env::var_os("ROOTLESSKIT_STATE_DIR")?;
    Some(match userns::mapping() {
        IdMapping::Subordinate { uids, gids } => Finding::ok(
            WHAT,
            format!("its namespaces are used, with {uids} uids and {gids} gids"),
        ),
        IdMapping::Single => Finding::missing(
            WHAT,
            "it has a single id",
            userns::more_ids_help("an image with other owners"),
        ),
        IdMapping::Root => Finding::ok(WHAT, "is announced, but this is the machine's root"),
    })
}

/// What keeps steps from devices of the host, where control groups of version 1 do not.
fn devices() -> Finding {
    const WHAT: &str = "devices";
    if Path::new("/sys/fs/cgroup/devices").is_dir() {
        return Finding::ok(WHAT, "limited by control groups of version 1");
    }
    match lamina_executor::can_restrict_devices() {
        Ok(()) => Finding::ok(WHAT, "limited by programs in control groups"),
        Err(error) => Finding::ok(
            WHAT,
            format!("nodes that steps make do nothing: programs in control groups: {error}"),
        ),
    }
}

/// Only contexts and sources from repositories need it.
fn git() -> Finding {
    const WHAT: &str = "git";
    let printed = match Command::new("git")
        .arg("version")
        .env_remove("GIT_DIR")
        .output()
    {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => {
            let text = format!("cannot be run ({error}); there are no sources from repositories");
            return Finding::missing(WHAT, text, "install the package git");
        }
    };
    match lamina_sources::judge_git_version(&printed) {
        Ok(()) => Finding::ok(WHAT, printed.trim()),
        Err(error) => Finding::missing(WHAT, error.to_string(), "install a newer git"),
    }
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

/// Rows EXC-09, EXC-12: where the groups of steps go, and whether memory can be limited there.
fn cgroups() -> Finding {
    const WHAT: &str = "cgroups";
    const FIX: &str = "let systemd delegate them: run builds in a service with Delegate=yes, such as \
                       systemd-run --user --scope -p Delegate=yes, after loginctl enable-linger";
    let here = ControlGroups::probe();
    let versions = match here.versions {
        (false, false) => {
            let text = "none are mounted; steps run without limits, and want of memory is not told";
            return Finding::missing(WHAT, text, "mount -t cgroup2 none /sys/fs/cgroup");
        }
        (true, false) => "version 1",
        (false, true) => "version 2",
        (true, true) => "versions 1 and 2",
    };
    if let Some(reason) = here.refused {
        return Finding::missing(
            WHAT,
            format!("{versions}; no group can be made: {reason}"),
            FIX,
        );
    }
    if here.unlimited.is_empty() {
        return Finding::ok(WHAT, format!("{versions}, and groups can be made"));
    }
    let unlimited = here.unlimited.join(", ");
    Finding::missing(
        WHAT,
        format!("{versions}, but steps cannot be limited in {unlimited}"),
        FIX,
    )
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
