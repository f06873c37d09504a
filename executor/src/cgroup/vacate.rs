//! Making room for steps in a group of version 2 that has processes.
//!
//! A group may pass controllers on only while no process is in it, except at the real top. The kernel
//! refuses it for most; for those that threads can have of their own (`pids`, `cpu`, `cpuset`) it
//! agrees, and then lets no process into the groups below. Where the one group that we may use is our
//! own, as in a container or a delegated unit of systemd, its processes move aside first:
//!
//! ```text
//! own/                 what was here is ..
//! own/lamina-init/     .. here now
//! own/lamina/<step>/
//! ```

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;

/// Where processes move. A process in it counts as one of the group above.
pub(super) const ASIDE: &str = "lamina-init";

/// How often it is looked for processes that were born meanwhile.
const ATTEMPTS: usize = 10;

/// Lets the groups in `dir` have a controller. If `dir` is `own`, the group that this process is
/// in, its processes move aside where that is needed; other groups are left alone.
///
/// # Errors
/// `ENOENT` if the controller is unknown, used by version 1, or withheld from `dir`; `EBUSY` if there are
/// processes in it; and those of the kernel.
pub(super) fn pass_on(dir: &Path, own: &Path, controller: &str) -> io::Result<()> {
    if is_listed(&control_file(dir), controller)? {
        return Ok(());
    }
    if !is_listed(&dir.join("cgroup.controllers"), controller)? {
        return Err(Errno::NOENT.into());
    }
    if dir == own && is_inhabited(dir)? {
        move_aside(dir)?;
    }
    if is_inhabited(dir)? {
        return Err(Errno::BUSY.into());
    }
    fs::write(control_file(dir), format!("+{controller}"))
}

fn control_file(dir: &Path) -> PathBuf {
    dir.join("cgroup.subtree_control")
}

/// Says whether `file` has the name of a controller.
fn is_listed(file: &Path, controller: &str) -> io::Result<bool> {
    let names = fs::read_to_string(file)?;
    Ok(names.split_whitespace().any(|name| name == controller))
}

/// Says whether there are processes in the group that keep it from passing controllers on. The real
/// top may have them; only it has no type.
fn is_inhabited(dir: &Path) -> io::Result<bool> {
    let is_top = !dir.join("cgroup.type").exists();
    Ok(!is_top && !fs::read_to_string(dir.join("cgroup.procs"))?.is_empty())
}

fn move_aside(dir: &Path) -> io::Result<()> {
    let aside = dir.join(ASIDE);
    match fs::create_dir(&aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for _ in 0..ATTEMPTS {
        let processes = fs::read_to_string(dir.join("cgroup.procs"))?;
        if processes.is_empty() {
            break;
        }
        for process in processes.lines() {
            match fs::write(aside.join("cgroup.procs"), process) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                result => result?,
            }
        }
    }
    tracing::debug!(group = %dir.display(), "processes moved aside");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Child;
    use std::process::Command;
    use std::process::Stdio;

    use super::super::tree::Version;
    use super::super::tree::hierarchies;
    use super::*;

    /// A group with a process in it, below one that passes a controller on.
    struct Inhabited<'a> {
        dir: PathBuf,
        child: Child,
        controller: &'a str,
        /// The top, if it did not pass the controller on before.
        switched_on: Option<PathBuf>,
    }

    impl<'a> Inhabited<'a> {
        /// `Err` = what the machine lacks.
        fn make(top: &Path, controller: &'a str) -> io::Result<Self> {
            let was_on = is_listed(&control_file(top), controller)?;
            pass_on(top, Path::new("/elsewhere"), controller)?;
            let dir = top.join(format!("lamina-test-{}-{controller}", std::process::id()));
            fs::create_dir(&dir)?;
            let made = Self {
                child: sleeper(),
                controller,
                dir,
                switched_on: (!was_on).then(|| top.to_owned()),
            };
            enter(&made.dir, &made.child).expect("moved");
            Ok(made)
        }
    }

    impl Drop for Inhabited<'_> {
        fn drop(&mut self) {
            end(&mut self.child);
            fs::remove_dir(self.dir.join(ASIDE)).ok();
            fs::remove_dir(&self.dir).ok();
            if let Some(top) = &self.switched_on {
                fs::write(control_file(top), format!("-{}", self.controller)).ok();
            }
        }
    }

    fn sleeper() -> Child {
        let mut command = Command::new("sleep");
        let command = command.arg("600").stdout(Stdio::null());
        command.spawn().expect("sleeps")
    }

    fn end(child: &mut Child) {
        child.kill().ok();
        child.wait().ok();
    }

    fn enter(dir: &Path, child: &Child) -> io::Result<()> {
        fs::write(dir.join("cgroup.procs"), child.id().to_string())
    }

    #[expect(clippy::print_stdout, reason = "tests say why they did nothing")]
    fn skipped(reason: &str) {
        println!("skipped: {reason}");
    }

    /// Has the processes of a group move aside for each controller that the machine has.
    #[test]
    fn processes_move_aside_in_the_own_group_only() {
        let trees = hierarchies();
        let Some(tree) = trees.iter().find(|tree| tree.version == Version::Two) else {
            return skipped("no control groups of version 2");
        };
        let top = &tree.mount_point;
        let known = fs::read_to_string(top.join("cgroup.controllers")).expect("readable");
        if known.trim().is_empty() {
            return skipped("no controllers of version 2");
        }
        for controller in known.split_whitespace() {
            match Inhabited::make(top, controller) {
                Ok(inhabited) => check(&inhabited),
                Err(error) => skipped(&format!("{controller}: {error}")),
            }
        }
    }

    fn check(inhabited: &Inhabited<'_>) {
        let (dir, controller) = (&inhabited.dir, inhabited.controller);
        let foreign = pass_on(dir, Path::new("/elsewhere"), controller);
        let foreign = foreign.expect_err("it has a process");
        assert_eq!(Errno::from_io_error(&foreign), Some(Errno::BUSY));
        pass_on(dir, dir, controller).expect("passed on");
        let passed = fs::read_to_string(control_file(dir)).expect("readable");
        assert_eq!(passed.trim(), controller);
        let moved = fs::read_to_string(dir.join(ASIDE).join("cgroup.procs")).expect("readable");
        assert_eq!(moved.trim(), inhabited.child.id().to_string());
        let below = dir.join("step");
        fs::create_dir(&below).expect("a group");
        let mut step = sleeper();
        let entered = enter(&below, &step);
        end(&mut step);
        fs::remove_dir(&below).expect("empty");
        entered.expect("the groups below let processes in");
    }
}
