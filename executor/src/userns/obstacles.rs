//! What keeps an ordinary user from what root can do, each with what to do about it.
//!
//! Nothing is tried here, only read: `lamina doctor` tells it beside what it tries, since a kernel
//! that refuses does not say why.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use super::ids;
use super::ids::IdRange;

/// One thing that is missing or forbidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What it is about, in a word or two.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// What an administrator can do about it.
    pub fix: String,
}

/// Ids that images commonly use; `nobody` is 65534.
const USUAL_IDS: u32 = 65_536;

/// Kernel settings that forbid what builds need: name, the value that forbids, one that allows.
pub(super) const SETTINGS: [(&str, &str, &str); 9] = [
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
    ("user.max_mnt_namespaces", "0", "10000"),
    ("user.max_pid_namespaces", "0", "10000"),
    ("user.max_ipc_namespaces", "0", "10000"),
    ("user.max_uts_namespaces", "0", "10000"),
    ("user.max_net_namespaces", "0", "10000"),
    ("user.max_cgroup_namespaces", "0", "10000"),
];

/// The programs that map subordinate ids.
const MAPPERS: [&str; 2] = ["newuidmap", "newgidmap"];

/// A machine to look at: this one, or a folder that stands for one.
struct Machine<'a> {
    root: &'a Path,
    /// Folders with programs.
    path: Vec<PathBuf>,
    user: u32,
    groups: Vec<u32>,
    name: Option<&'a str>,
}

/// Lists the obstacles of this user on this machine.
#[must_use]
pub fn obstacles() -> Vec<Obstacle> {
    let user = rustix::process::getuid().as_raw();
    let name = ids::name(user);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let machine = Machine {
        root: Path::new("/"),
        path: std::env::split_paths(&path).collect(),
        user,
        groups: groups(),
        name: name.as_deref(),
    };
    machine.obstacles()
}

/// Lists the settings that forbid something, as commands that allow it.
pub(super) fn forbidding_settings() -> Vec<String> {
    let machine = Machine {
        root: Path::new("/"),
        path: Vec::new(),
        user: 0,
        groups: Vec::new(),
        name: None,
    };
    let forbidding = machine.settings().into_iter();
    forbidding
        .map(|(name, _, allows)| format!("sysctl -w {name}={allows}"))
        .collect()
}

impl Machine<'_> {
    fn obstacles(&self) -> Vec<Obstacle> {
        let settings = self.settings().into_iter().map(explain);
        let mut all: Vec<Obstacle> = settings.collect();
        all.extend(self.mapper());
        all.extend(
            ["/etc/subuid", "/etc/subgid"]
                .into_iter()
                .find_map(|file| self.ranges(file)),
        );
        all.extend(self.fuse());
        all
    }

    fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn settings(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let forbids = |(name, forbids, _): &(&str, &str, &str)| {
            let file = self.file(&format!("/proc/sys/{}", name.replace('.', "/")));
            fs::read_to_string(file).is_ok_and(|value| value.trim() == *forbids)
        };
        SETTINGS.into_iter().filter(forbids).collect()
    }

    /// The first of the programs that is missing, or cannot do what it is for.
    fn mapper(&self) -> Option<Obstacle> {
        let obstacle = |found, fix: &str| Obstacle {
            what: "subordinate ids",
            found,
            fix: fix.to_owned(),
        };
        MAPPERS.into_iter().find_map(|name| {
            let found = self
                .path
                .iter()
                .map(|dir| dir.join(name))
                .find(|file| file.is_file());
            match found {
                None => Some(obstacle(
                    format!("{name} is not installed"),
                    "install the package uidmap (shadow-utils on some systems)",
                )),
                Some(file) if !is_privileged(&file) => Some(obstacle(
                    format!(
                        "{} is neither set-uid root nor has capabilities",
                        file.display()
                    ),
                    "install the package uidmap again, or as root: chmod u+s it",
                )),
                Some(_) => None,
            }
        })
    }

    fn ranges(&self, file: &'static str) -> Option<Obstacle> {
        let text = fs::read_to_string(self.file(file)).unwrap_or_default();
        let ranges = ids::parse(&text, self.user, self.name);
        let found = match &ranges[..] {
            [] => format!("{file} has no range for this user"),
            ranges if covers(ranges, self.user) => {
                format!("{file} gives this user its own id a second time")
            }
            ranges => {
                let count = ranges
                    .iter()
                    .fold(0, |sum: u32, range| sum.saturating_add(range.count));
                if count >= USUAL_IDS {
                    return None;
                }
                format!("{file} has {count} ids for this user; images use up to {USUAL_IDS}")
            }
        };
        let name = self.name.unwrap_or("NAME");
        Some(Obstacle {
            what: "subordinate ids",
            found,
            fix: format!(
                "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
            ),
        })
    }

    /// Says whether the user may read and write, by the modes alone.
    fn may_open(&self, node: &fs::Metadata) -> bool {
        let allowed = |shift: u32| (node.mode() >> shift) & 0o6 == 0o6;
        if node.uid() == self.user {
            allowed(6)
        } else if self.groups.contains(&node.gid()) {
            allowed(3)
        } else {
            allowed(0)
        }
    }

    fn fuse(&self) -> Option<Obstacle> {
        let obstacle = |found: &str, fix: &str| {
            Some(Obstacle {
                what: "/dev/fuse",
                found: found.to_owned(),
                fix: fix.to_owned(),
            })
        };
        match fs::metadata(self.file("/dev/fuse")) {
            Err(_) => obstacle(
                "is not there; needed where overlayfs is refused, and for owners with a single id",
                "as root: modprobe fuse; for a container: --device /dev/fuse",
            ),
            Ok(node) if !self.may_open(&node) => obstacle(
                "may not be opened by this user",
                "as root: chmod 666 /dev/fuse, or add the user to the group that it belongs to",
            ),
            Ok(_) => None,
        }
    }
}

fn groups() -> Vec<u32> {
    let own = rustix::process::getegid();
    let more = rustix::process::getgroups().unwrap_or_default();
    more.into_iter()
        .chain([own])
        .map(|group| group.as_raw())
        .collect()
}

fn explain((name, value, allows): (&'static str, &str, &str)) -> Obstacle {
    let mut fix = format!("as root: sysctl -w {name}={allows}");
    if name.contains("apparmor") {
        fix.push_str(", or a profile for this program with the rule \"userns,\"");
    }
    Obstacle {
        what: "kernel settings",
        found: format!("{name} = {value}"),
        fix,
    }
}

fn covers(ranges: &[IdRange], id: u32) -> bool {
    let mut ranges = ranges.iter();
    ranges.any(|range| range.start <= id && id - range.start < range.count)
}

fn is_privileged(program: &Path) -> bool {
    const SET_UID: u32 = 0o4000;
    let set_uid = fs::metadata(program).is_ok_and(|file| file.permissions().mode() & SET_UID != 0);
    let mut value = [0; 64];
    set_uid || rustix::fs::getxattr(program, "security.capability", &mut value[..]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which everything is as it should be, but for these files: an empty text takes a
    /// file away.
    fn found(changes: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let usual = [
            ("etc/subuid", "me:100000:65536\n"),
            ("etc/subgid", "1000:100000:65536\n"),
            ("dev/fuse", "x"),
            ("bin/newuidmap", "x"),
            ("bin/newgidmap", "x"),
            ("proc/sys/user/max_user_namespaces", "15000\n"),
        ];
        for (file, text) in usual.iter().chain(changes) {
            let path = folder.path().join(file);
            let parent = path.parent().expect("below");
            fs::create_dir_all(parent).expect("a folder");
            if text.is_empty() {
                fs::remove_file(&path).expect("was there");
                continue;
            }
            fs::write(&path, text).expect("written");
            let mode = match *text {
                "plain" => 0o755,
                "private" => 0,
                _ => 0o4766,
            };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        }
        let machine = Machine {
            root: folder.path(),
            path: vec![folder.path().join("bin")],
            user: 1000,
            groups: Vec::new(),
            name: Some("me"),
        };
        let place = folder.path().display().to_string();
        let all = machine.obstacles().into_iter();
        all.map(|one| format!("{}: {}", one.what, one.found.replace(&place, "")))
            .collect()
    }

    #[test]
    fn each_obstacle_is_named() {
        for (changes, expected) in [
            (&[][..], &[][..]),
            (
                &[("bin/newgidmap", "")],
                &["subordinate ids: newgidmap is not installed"],
            ),
            (
                &[("bin/newuidmap", "plain")],
                &["subordinate ids: /bin/newuidmap is neither set-uid root nor has capabilities"],
            ),
            (
                &[("etc/subuid", "you:100000:65536\n")],
                &["subordinate ids: /etc/subuid has no range for this user"],
            ),
            (
                &[("etc/subgid", "me:100000:100\n")],
                &["subordinate ids: /etc/subgid has 100 ids for this user; images use up to 65536"],
            ),
            (
                &[("etc/subuid", "me:500:65536\n")],
                &["subordinate ids: /etc/subuid gives this user its own id a second time"],
            ),
            (
                &[("proc/sys/user/max_user_namespaces", "0\n")],
                &["kernel settings: user.max_user_namespaces = 0"],
            ),
            (
                &[
                    (
                        "proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                        "1\n",
                    ),
                    ("proc/sys/kernel/unprivileged_userns_clone", "0\n"),
                ],
                &[
                    "kernel settings: kernel.apparmor_restrict_unprivileged_userns = 1",
                    "kernel settings: kernel.unprivileged_userns_clone = 0",
                ],
            ),
            (
                &[("dev/fuse", "")],
                &[
                    "/dev/fuse: is not there; needed where overlayfs is refused, and for owners with \
                   a single id",
                ],
            ),
            (
                &[("dev/fuse", "private")],
                &["/dev/fuse: may not be opened by this user"],
            ),
        ] {
            assert_eq!(found(changes), expected);
        }
    }

    #[test]
    fn this_machine_is_read_without_panics() {
        assert!(obstacles().iter().all(|one| !one.fix.is_empty()));
    }
}
