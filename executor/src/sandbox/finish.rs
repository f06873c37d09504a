//! The last steps inside the root: directory, descriptors, filter, identity, program.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

use lamina_types::IoContext;
use lamina_types::RootedPath;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Uid;
use rustix::process::Signal;

use super::Machine;
use super::Step;
use super::capabilities;
use super::limits;
use super::lookup;
use super::path_error;
use super::terminal;
use crate::in_root;
use crate::sys;
use crate::userns;
use crate::wire::Failure;
use crate::wire::Identity;

/// Ends with the step's program running in this process.
pub(super) fn finish(step: &Step, machine: &Machine) -> Result<Infallible, Failure> {
    let description = &step.description;
    enter_directory(step)?;
    for limit in &description.limits {
        limits::set(limit).at(format!("set ulimit {}", limit.name))?;
    }
    rustix::process::setsid().at("start a session")?;
    if description.terminal {
        terminal::connect(step)?;
    } else {
        connect_streams(step).at("connect the standard streams")?;
    }
    let name = description.args.first().map_or("", String::as_str);
    let program = lookup::program(name, &description.env).map_err(Failure::Start)?;
    let arguments = c_strings(&description.args)?;
    let environment = c_strings(&description.env)?;
    let path = c_strings(&[program.to_string_lossy().into_owned()])?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    sys::reset_signals().at("reset signals")?;
    if description.confined {
        let filter = machine
            .filter
            .as_ref()
            .map_err(|error| Failure::Sandbox(error.clone()))?;
        sys::load_filter(filter).at("load the system call filter")?;
    }
    capabilities::limit(description.confined).at("limit capabilities")?;
    become_user(&description.user, machine)?;
    let uid = description.user.uid;
    capabilities::settle(description.confined, uid).at("set capabilities")?;
    // Changing ids has cleared it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at("death signal")?;
    match nix::unistd::execve(&path[0], &arguments, &environment) {
        Ok(never) => Ok(never),
        Err(errno) => Err(Failure::Start(path_error(
            format!("exec {name}"),
            errno.into(),
        ))),
    }
}

/// Changes to the working directory, making it where only a mount could have had it (row EXC-03).
fn enter_directory(step: &Step) -> Result<(), Failure> {
    let (cwd, user) = (
        RootedPath::new(&step.description.cwd),
        &step.description.user,
    );
    let root = step.root();
    let dir = match in_root::open(root, &cwd) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_directory(root, &cwd, user),
        result => result,
    };
    let dir = dir.at(format!("chdir to cwd ({cwd})"))?;
    rustix::process::fchdir(dir).at(format!("chdir to cwd ({cwd})"))?;
    Ok(())
}

fn make_directory(root: &OwnedFd, path: &RootedPath, user: &Identity) -> io::Result<OwnedFd> {
    match in_root::open(root, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let parent = make_directory(root, &parent, user)?;
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::fs::fchown(&made, Some(uid), Some(gid))?;
    Ok(made)
}

pub(super) fn connect_streams(step: &Step) -> io::Result<()> {
    rustix::stdio::dup2_stdin(step.stdin())?;
    rustix::stdio::dup2_stdout(step.stdout())?;
    rustix::stdio::dup2_stderr(step.stderr())?;
    Ok(())
}

fn become_user(user: &Identity, machine: &Machine) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    if machine.can_set_groups {
        let groups: Vec<Gid> = user.groups.iter().map(|id| Gid::from_raw(*id)).collect();
        rustix::thread::set_thread_groups(&groups).map_err(|error| not_mapped(error, user))?;
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|error| not_mapped(error, user))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|error| not_mapped(error, user))?;
    Ok(())
}

/// Ids that are not mapped are refused with EINVAL.
fn not_mapped(error: rustix::io::Errno, user: &Identity) -> Failure {
    if error == rustix::io::Errno::INVAL {
        let what = format!("running as user {} and group {}", user.uid, user.gid);
        return Failure::NeedsMoreIds(userns::more_ids_help(&what));
    }
    Failure::Sandbox(format!("change to user {}: {error}", user.uid))
}

pub(super) fn c_strings(strings: &[String]) -> Result<Vec<CString>, Failure> {
    strings
        .iter()
        .map(|string| CString::new(string.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|_| Failure::Start("an argument or variable contains a NUL byte".to_owned()))
}
