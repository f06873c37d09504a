//! Making room for steps in a group of version 2 that has processes.
//!
//! A group passes controllers on only while no process is in it, except at the real top. Where the
//! one group that we may use is our own, as in a container or a delegated unit of systemd, its
//! processes move aside first:
//!
//! ```text
//! own/                 what was here is ..
//! own/lamina-init/     .. here now
//! own/lamina/<step>/
//! ```

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;

/// Where processes move. A process in it counts as one of the group above.
pub(super) const ASIDE: &str = "lamina-init";

/// How often it is looked for processes that were born meanwhile.
const ATTEMPTS: usize = 10;

/// Lets the groups in `dir` have a controller. If `dir` is `own`, the group that this process is
/// in, its processes move aside where that is needed; other groups are left alone.
///
/// # Errors
/// Those of the kernel: the controller is unknown, used by version 1, or withheld from `dir`.
pub(super) fn pass_on(dir: &Path, own: &Path, controller: &str) -> io::Result<()> {
    match write_control(dir, controller) {
        Err(error) if is_busy(&error) && dir == own => {
            move_aside(dir)?;
            write_control(dir, controller)
        }
        result => result,
    }
}

fn write_control(dir: &Path, controller: &str) -> io::Result<()> {
    fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"))
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::BUSY.raw_os_error())
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
    use std::path::PathBuf;
    use std::process::Child;
    use std::process::Command;
    use std::process::Stdio;

    use super::super::tree::Version;
    use super::super::tree::hierarchies;
    use super::*;

    /// A group with a process in it, below one that passes a controller on.
    struct Inhabited {
        dir: PathBuf,
        child: Child,
        controller: String,
        /// Whether the controller was not passed on at the top before.
        switched_on: Option<PathBuf>,
    }

    impl Inhabited {
        /// `Err` = what the machine lacks.
        fn make() -> Result<Self, String> {
            let tree = hierarchies()
                .into_iter()
                .find(|tree| tree.version == Version::Two)
                .ok_or("no control groups of version 2")?;
            let top = tree.mount_point;
            let known = fs::read_to_string(top.join("cgroup.controllers"));
            let known = known.map_err(|error| error.to_string())?;
            let controller = known.split_whitespace().next().ok_or("no controller")?;
            let passed = fs::read_to_string(top.join("cgroup.subtree_control"));
            let is_on = passed.is_ok_and(|all| all.split_whitespace().any(|one| one == controller));
            write_control(&top, controller).map_err(|error| error.to_string())?;
            let dir = top.join(format!("lamina-test-{}", std::process::id()));
            fs::create_dir(&dir).map_err(|error| error.to_string())?;
            let child = Command::new("sleep")
                .arg("600")
                .stdout(Stdio::null())
                .spawn();
            let made = Self {
                child: child.expect("sleeps"),
                controller: controller.to_owned(),
                dir,
                switched_on: (!is_on).then_some(top),
            };
            let id = made.child.id().to_string();
            fs::write(made.dir.join("cgroup.procs"), id).expect("moved");
            Ok(made)
        }
    }

    impl Drop for Inhabited {
        fn drop(&mut self) {
            self.child.kill().ok();
            self.child.wait().ok();
            fs::remove_dir(self.dir.join(ASIDE)).ok();
            fs::remove_dir(&self.dir).ok();
            if let Some(top) = &self.switched_on {
                let off = format!("-{}", self.controller);
                fs::write(top.join("cgroup.subtree_control"), off).ok();
            }
        }
    }

    #[test]
    fn processes_move_aside_in_the_own_group_only() {
        let inhabited = match Inhabited::make() {
            Ok(inhabited) => inhabited,
            Err(reason) => {
                #[expect(clippy::print_stdout, reason = "tests say why they did nothing")]
                {
                    println!("skipped: {reason}");
                }
                return;
            }
        };
        let (dir, controller) = (&inhabited.dir, &inhabited.controller);
        let foreign = pass_on(dir, Path::new("/elsewhere"), controller);
        assert!(
            foreign.is_err_and(|error| is_busy(&error)),
            "it has a process"
        );
        pass_on(dir, dir, controller).expect("passed on");
        let passed = fs::read_to_string(dir.join("cgroup.subtree_control")).expect("readable");
        assert_eq!(passed.trim(), controller);
        let moved = fs::read_to_string(dir.join(ASIDE).join("cgroup.procs")).expect("readable");
        assert_eq!(moved.trim(), inhabited.child.id().to_string());
    }
}
