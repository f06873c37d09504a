//! Which trees of control groups are mounted, and where we are in them.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::parent;
use super::vacate;

/// The two interfaces of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// One mounted tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    /// Where it is mounted.
    pub(crate) mount_point: PathBuf,
    /// The part of the tree that the mount shows.
    pub(crate) shown: String,
    /// Version 1: its controllers, or `name=..`. Version 2: empty.
    pub(crate) controllers: Vec<String>,
    /// Our own group in it.
    pub(crate) own: String,
}

impl Hierarchy {
    /// Says whether this tree has one of the controllers that every step needs.
    pub(super) fn is_needed(&self, needed: &[&str]) -> bool {
        self.version == Version::Two || needed.iter().any(|controller| self.has(controller))
    }

    /// Says whether this is the tree with the memory controller, and of which version.
    pub(super) fn memory_version(&self) -> Option<Version> {
        match self.version {
            Version::Two => Some(Version::Two),
            Version::One if self.has("memory") => Some(Version::One),
            Version::One => None,
        }
    }

    /// Says whether this tree has a version 1 controller.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// Lists the trees that this process sees.
pub(crate) fn hierarchies() -> Vec<Hierarchy> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
}

pub(super) fn parse(mounts: &str, memberships: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        if let Some(hierarchy) = parse_mount(line, memberships) {
            // A tree may be mounted twice; the first place is the usual one.
            let known = found.iter().any(|other| {
                other.version == hierarchy.version && other.controllers == hierarchy.controllers
            });
            if !known {
                found.push(hierarchy);
            }
        }
    }
    found
}

/// Parses `id parent dev root mount-point options.. - type source super-options`.
fn parse_mount(line: &str, memberships: &str) -> Option<Hierarchy> {
    let (place, file_system) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (shown, mount_point) = (unescape(place.next()?), unescape(place.next()?));
    let mut file_system = file_system.split(' ');
    let version = match file_system.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let options = file_system.nth(1)?;
    let controllers = match version {
        Version::One => parse_controllers(options, memberships),
        Version::Two => Vec::new(),
    };
    Some(Hierarchy {
        own: own_group(memberships, &controllers)?,
        version,
        mount_point: mount_point.into(),
        shown,
        controllers,
    })
}

/// Keeps of the mount options those that /proc/self/cgroup knows as controllers.
fn parse_controllers(options: &str, memberships: &str) -> Vec<String> {
    let known: Vec<&str> = memberships
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .flat_map(|names| names.split(','))
        .collect();
    options
        .split(',')
        .filter(|option| known.contains(option))
        .map(str::to_owned)
        .collect()
}

/// Finds the path in the line `id:controllers:path` of /proc/self/cgroup.
fn own_group(memberships: &str, controllers: &[String]) -> Option<String> {
    memberships.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        let same = match controllers.first() {
            Some(first) => names.split(',').any(|name| name == first),
            None => names.is_empty(),
        };
        same.then(|| path.to_owned())
    })
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escaped, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        plain = plain.replace(escaped, character);
    }
    plain
}

/// Lets groups below `parent` have the controllers that every step needs, and `more`. Version 2
/// only; a refusal only means that the group does not count memory, or does not limit.
pub(super) fn enable_controllers(hierarchy: &Hierarchy, parent: &Path, more: &[&str]) {
    if hierarchy.version == Version::One {
        return;
    }
    let Ok(below) = parent.strip_prefix(&hierarchy.mount_point) else {
        return;
    };
    let own = parent::own_dir(hierarchy);
    let mut dir = hierarchy.mount_point.clone();
    for name in std::iter::once(Path::new("").as_os_str()).chain(below.iter()) {
        dir.push(name);
        for controller in ["memory", "pids"].iter().chain(more) {
            if let Err(error) = vacate::pass_on(&dir, &own, controller) {
                tracing::trace!(group = %dir.display(), controller, %error, "not passed on");
            }
        }
    }
}

/// Gives a new group, and those above that are new too, the processors of its parent. Version 1
/// only: there a group begins without any, and lets nobody in.
pub(super) fn inherit_cpus(hierarchy: &Hierarchy, group: &Path) -> io::Result<()> {
    if !hierarchy.has("cpuset") {
        return Ok(());
    }
    let inside = |dir: &&Path| dir.starts_with(&hierarchy.mount_point);
    let chain: Vec<&Path> = group.ancestors().take_while(inside).collect();
    for pair in chain.windows(2).rev() {
        let (child, parent) = (pair[0], pair[1]);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if std::fs::read_to_string(child.join(file))?.trim().is_empty() {
                std::fs::write(child.join(file), std::fs::read(parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mounts: &str, memberships: &str) -> Vec<String> {
        parse(mounts, memberships)
            .iter()
            .map(|tree| {
                let (at, names) = (tree.mount_point.display(), tree.controllers.join(","));
                format!(
                    "{:?} {at} [{names}] {} {}",
                    tree.version, tree.shown, tree.own
                )
            })
            .collect()
    }

    const V1: &str = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
    const V1_OWN: &str = "9:name=systemd:/s\n4:memory:/m\n1:cpu,cpuacct:/\n0::/u\n";

    #[test]
    fn version_1_has_a_tree_for_each_set_of_controllers() {
        assert_eq!(
            shown(V1, V1_OWN),
            [
                "One /sys/fs/cgroup/cpu,cpuacct [cpu,cpuacct] / /",
                "One /sys/fs/cgroup/memory [memory] / /m",
                "One /sys/fs/cgroup/systemd [name=systemd] / /s",
            ]
        );
    }

    #[test]
    fn hybrid_has_both_and_version_2_one() {
        let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let hybrid = shown(&format!("{V1}{v2}"), V1_OWN);
        assert_eq!(hybrid.len(), 4);
        assert_eq!(hybrid[3], "Two /sys/fs/cgroup/unified [] / /u");
        let pure = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            shown(pure, "0::/a.slice/b\n"),
            ["Two /sys/fs/cgroup [] / /a.slice/b"]
        );
    }

    #[test]
    fn absent_and_odd_lines_give_nothing() {
        assert!(shown("", "").is_empty());
        assert!(
            shown(
                "garbage\n1 2 3 - cgroup\n1 2 0:1 / /x rw - ext4 d rw\n",
                "0::/\n"
            )
            .is_empty()
        );
    }
}
