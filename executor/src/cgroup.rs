//! A control group for each step.
//!
//! ```text
//! version 1   <mount point of each controller>/<parent>/<step>
//! version 2   <mount point>/<parent>/<step>
//! hybrid      both; the version 2 tree has no controllers and is left alone
//! ```
//!
//! The parent is `lamina`, at the top of the tree or, where that may not be written, below our own
//! group (row EXC-09 has the caller's choice). Where nothing may be written, as for most ordinary
//! users, a step simply has no group: it is then killed through its pid namespace all the same, and
//! only limits and the report of memory shortage are missing.

mod devices;
#[cfg(test)]
mod layouts;
mod parent;
mod pids;
mod report;
mod settings;
mod tree;
mod vacate;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::fs::OFlags;

pub(crate) use devices::Access;
pub(crate) use devices::DeviceRule;
pub(crate) use devices::NodeKind;
pub use pids::ProcessLimit;
pub use report::ControlGroups;
pub(crate) use tree::Hierarchy;
pub(crate) use tree::Version;
pub(crate) use tree::hierarchies;

use crate::ExecError;
use crate::Resources;
use settings::Setting;
use settings::settings;

/// Name of our group.
const OURS: &str = "lamina";

/// The version 1 controllers that a step is put into unless its caller names a parent, whose limits
/// may be in any of them.
const NEEDED: [&str; 3] = ["devices", "memory", "pids"];

/// The control groups of this machine that we may use.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    /// How many processes a step may have.
    max_processes: Option<u32>,
}

/// What groups a step wants.
pub(crate) struct Request<'a> {
    /// The caller's choice of a parent, or empty.
    pub(crate) parent: &'a str,
    /// A name of ours that no other step has.
    pub(crate) id: &'a str,
    /// Whether the step may use harmless devices only.
    pub(crate) confined: bool,
    /// Whether to make groups also in trees that we have no use for.
    pub(crate) everywhere: bool,
    /// What the step may use.
    pub(crate) resources: &'a Resources,
    /// What a confined step may use besides the usual devices.
    pub(crate) devices: &'a [DeviceRule],
}

/// The groups of one step. To be dropped when its processes are gone: then they are removed, with
/// those that the step made inside.
#[derive(Debug, Default)]
pub(crate) struct StepCgroup {
    groups: Vec<Group>,
    /// Whether the step can use harmless devices only, by the rules of its groups.
    pub(crate) restricts_devices: bool,
    /// Controllers whose limits were asked for and cannot be had here.
    pub(crate) unmet: Vec<&'static str>,
    /// The processes that the step may have, if its groups do not see to that.
    pub(crate) unlimited_processes: Option<u32>,
}

#[derive(Debug)]
struct Group {
    dir: OwnedFd,
    path: PathBuf,
    /// The path below the mount point.
    path_in_tree: PathBuf,
    memory_version: Option<Version>,
}

impl Cgroups {
    /// Finds out what is mounted.
    pub(crate) fn detect(limit: ProcessLimit) -> Self {
        Self {
            hierarchies: hierarchies(),
            max_processes: limit.number(),
        }
    }

    /// Makes the groups of a step. What cannot be made is left out.
    ///
    /// # Errors
    /// [`ExecError::Limit`] if the kernel refuses the value of a limit.
    pub(crate) fn make(&self, request: &Request<'_>) -> Result<StepCgroup, ExecError> {
        let all = settings(request.resources, Version::Two);
        let mut step = StepCgroup::default();
        step.unmet = all.iter().map(|setting| setting.controller).collect();
        step.unmet.dedup();
        step.unlimited_processes = self.max_processes;
        let everywhere = request.everywhere || !request.parent.is_empty();
        for hierarchy in &self.hierarchies {
            let limits = wanted(request.resources, hierarchy, &self.hierarchies);
            if everywhere || !limits.is_empty() || hierarchy.is_needed(&NEEDED) {
                self.make_in(hierarchy, request, &limits, &mut step)?;
            }
        }
        Ok(step)
    }

    /// Adds the group in one tree, if it can be made.
    fn make_in(
        &self,
        hierarchy: &Hierarchy,
        request: &Request<'_>,
        limits: &[Setting],
        step: &mut StepCgroup,
    ) -> Result<(), ExecError> {
        let controllers: Vec<&str> = limits.iter().map(|limit| limit.controller).collect();
        let group = parent::candidates(hierarchy, request.parent, OURS)
            .iter()
            .find_map(|dir| Group::make(hierarchy, dir, request.id, &controllers).ok());
        let Some(group) = group else { return Ok(()) };
        let mut missing = Vec::new();
        for limit in limits {
            if !group.apply(limit)? {
                missing.push(limit.controller);
            }
        }
        step.unmet
            .retain(|unmet| !controllers.contains(unmet) || missing.contains(unmet));
        step.restricts_devices |= request.confined
            && devices::restrict(
                hierarchy,
                &self.hierarchies,
                group.dir.as_fd(),
                request.devices,
            );
        let remains = |limit: &u32| !pids::restrict(group.dir.as_fd(), *limit);
        step.unlimited_processes = step.unlimited_processes.filter(remains);
        step.groups.push(group);
        Ok(())
    }

    /// Removes groups of steps whose daemon was killed. A group in use cannot be removed, so a wrong
    /// guess does no harm.
    pub(crate) fn sweep(&self) {
        for hierarchy in &self.hierarchies {
            for dir in parent::candidates(hierarchy, "", OURS) {
                for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                    if is_of_dead_daemon(&entry.file_name()) {
                        // Somebody else may be sweeping.
                        remove_tree(&entry.path()).ok();
                    }
                }
            }
        }
    }

    /// Removes the group that holds those of the steps, if nothing is left in it.
    pub(crate) fn remove_parent(&self) {
        for hierarchy in &self.hierarchies {
            for dir in parent::candidates(hierarchy, "", OURS) {
                // Another daemon may be using it.
                rustix::fs::rmdir(dir).ok();
            }
        }
    }
}

impl StepCgroup {
    /// The directories that the step enters.
    pub(crate) fn directories(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.groups.iter().map(|group| group.dir.as_fd())
    }

    /// Names a group inside that of the step, empty if the step has none.
    pub(crate) fn inner_path(&self, name: &str) -> String {
        let Some(group) = self.groups.first() else {
            return String::new();
        };
        format!("/{}", group.path_in_tree.join(name).display())
    }

    /// Says whether the kernel killed a process of the step for want of memory (row EXC-12).
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.groups
            .iter()
            .filter_map(|group| group.memory_kills().ok())
            .any(|kills| kills > 0)
    }
}

impl Drop for StepCgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            if let Err(error) = remove_tree(&group.path) {
                tracing::warn!(path = %group.path.display(), %error, "control group left behind");
            }
        }
    }
}

impl Group {
    fn make(
        hierarchy: &Hierarchy,
        parent: &Path,
        id: &str,
        controllers: &[&str],
    ) -> io::Result<Self> {
        std::fs::create_dir_all(parent)?;
        tree::enable_controllers(hierarchy, parent, controllers);
        let path = parent.join(id);
        std::fs::create_dir(&path)?;
        tree::inherit_cpus(hierarchy, &path)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty())?;
        let writable = rustix::fs::openat(&dir, c"cgroup.procs", OFlags::WRONLY, Mode::empty());
        if let Err(error) = writable {
            rustix::fs::rmdir(&path)?;
            return Err(error.into());
        }
        let in_tree = path.strip_prefix(&hierarchy.mount_point).unwrap_or(&path);
        Ok(Self {
            dir,
            path_in_tree: in_tree.to_owned(),
            path,
            memory_version: hierarchy.memory_version(),
        })
    }

    /// Sets a limit; says whether the group has it.
    fn apply(&self, limit: &Setting) -> Result<bool, ExecError> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&self.dir, limit.file, flags, Mode::empty()) else {
            return Ok(false);
        };
        let written = File::from(file).write_all(limit.value.as_bytes());
        written.map_err(|source| ExecError::Limit {
            file: limit.file,
            value: limit.value.clone(),
            source,
        })?;
        Ok(true)
    }

    fn memory_kills(&self) -> io::Result<u64> {
        let name = match self.memory_version {
            Some(Version::One) => "memory.oom_control",
            Some(Version::Two) => "memory.events",
            None => return Ok(0),
        };
        Ok(parse_kills(&read_in(&self.dir, name)?))
    }
}

/// Lists the limits that `hierarchy` is to enforce: those of its controllers; version 2 has all that
/// no tree of version 1 has.
fn wanted(resources: &Resources, hierarchy: &Hierarchy, trees: &[Hierarchy]) -> Vec<Setting> {
    let is_ours = |setting: &Setting| match hierarchy.version {
        Version::One => hierarchy.has(setting.controller),
        Version::Two => !trees.iter().any(|tree| tree.has(setting.controller)),
    };
    let mut all = settings(resources, hierarchy.version);
    all.retain(is_ours);
    all
}

/// Tries whether control groups can keep steps from devices of the host where there is only version
/// 2, which takes a program for it. Without, nodes that steps make do nothing.
///
/// # Errors
/// Why not.
pub fn can_restrict_devices() -> io::Result<()> {
    devices::can_load_programs()
}

/// Says whether a name is that of a step, `<process id of its daemon>-<random>`, without a daemon.
fn is_of_dead_daemon(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    let process = text
        .split_once('-')
        .and_then(|(pid, _)| pid.parse::<u32>().ok());
    process.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

/// Reads the line `oom_kill N`.
fn parse_kills(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

fn read_in(dir: &OwnedFd, name: &str) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    io::read_to_string(file)
}

/// Removes a group and the groups in it, deepest first. Groups hold no files that could be removed.
fn remove_tree(path: &Path) -> io::Result<()> {
    match rustix::fs::rmdir(path) {
        Err(rustix::io::Errno::BUSY | rustix::io::Errno::NOTEMPTY) => {}
        result => return Ok(result?),
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    Ok(rustix::fs::rmdir(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_of_dead_daemons_are_swept() {
        let own = format!("{}-00ff", std::process::id());
        for (name, expected) in [
            (own.as_str(), false),
            ("4294967295-00ff", true),
            ("memory.events", false),
            ("someone-else", false),
            ("7", false),
        ] {
            assert_eq!(is_of_dead_daemon(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn kills_are_counted_in_both_versions() {
        for (name, text, expected) in [
            (
                "version 1",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
                2,
            ),
            (
                "version 2",
                "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n",
                1,
            ),
            ("old kernel", "oom_kill_disable 0\nunder_oom 0\n", 0),
        ] {
            assert_eq!(parse_kills(text), expected, "{name}");
        }
    }
}
