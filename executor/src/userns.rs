//! The start of the program: the namespaces that everything else needs.
//!
//! Root needs a mount namespace of its own, so that nothing it mounts is seen by, or left to, the
//! rest of the machine. An ordinary user needs a user namespace first, in which it is root:
//!
//! ```text
//! ids inside   0       1 .. count                       with subordinate ids (newuidmap, newgidmap)
//! ids outside  user    the ranges of /etc/subuid
//!
//! ids inside   0                                        without: one id
//! ids outside  user
//! ```
//!
//! With one id the kernel knows no other owner: every process is root's, and so is every file that a
//! process sees. The owners that images say are kept in attributes of the layers
//! ([`lamina_snapshotter::Owners::Stored`]).
//!
//! [`enter`] does it by forking: the child goes on in the namespaces, the parent stays outside as a
//! stand-in that passes signals on and ends as the child ends.

mod ids;
mod obstacles;
mod stand_in;

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Command;

use nix::sched::CloneFlags;
use rustix::mount::MountPropagationFlags;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use rustix::process::Signal;

use crate::sys;
use crate::sys::Cloned;
use ids::IdRange;

pub use obstacles::Obstacle;
pub use obstacles::obstacles;

/// How ids are mapped, for messages and probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdMapping {
    /// Every id as itself.
    Root,
    /// Root and so many further ids.
    Subordinate {
        /// User ids in all.
        uids: u32,
        /// Group ids in all.
        gids: u32,
    },
    /// Root only: neither processes nor files, as the kernel sees them, can be somebody else's.
    Single,
}

/// Why the namespaces could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsernsError {
    /// The kernel refused a user namespace.
    #[error("cannot make a user namespace: {error}{}", refusal_help(.error))]
    UserNamespace {
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel refused a mount namespace although we are root.
    #[error(
        "cannot make a mount namespace: {error} (in a container, it needs CAP_SYS_ADMIN, for \
         instance by docker's --privileged; or run as an ordinary user)"
    )]
    MountNamespace {
        /// What the kernel said.
        error: io::Error,
    },
    /// newuidmap or newgidmap failed although there are subordinate ids.
    #[error(
        "{program} failed: {message} (is it installed set-uid root, by the package uidmap, and are \
         the ranges of this user in /etc/subuid and /etc/subgid valid?)"
    )]
    Mapping {
        /// newuidmap or newgidmap.
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// Another system call failed.
    #[error("cannot enter a user namespace: {doing}: {error}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Enters the namespaces. To be called first thing in `main`, before any thread is started.
///
/// As root, or as root of a user namespace, makes a private mount namespace. As an ordinary user,
/// goes on in a child that is root of a new user namespace; the process that called stays behind
/// and ends as the child does. Calling it in the child again only makes another mount namespace.
///
/// # Errors
/// With what to do about it. The process is then where it was.
pub fn enter() -> Result<IdMapping, UsernsError> {
    if rustix::process::geteuid().is_root() {
        private_mounts()?;
    } else {
        enter_as_user()?;
    }
    Ok(mapping())
}

/// Returns how ids are mapped where this process is.
#[must_use]
pub fn mapping() -> IdMapping {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let uids = ids::count_mapped(&read("/proc/self/uid_map"));
    let gids = ids::count_mapped(&read("/proc/self/gid_map"));
    match (uids, gids) {
        (u32::MAX, u32::MAX) => IdMapping::Root,
        (0 | 1, _) | (_, 0 | 1) => IdMapping::Single,
        (uids, gids) => IdMapping::Subordinate { uids, gids },
    }
}

/// Explains that `what` needs more ids than this user has, and how to get them.
#[must_use]
pub fn more_ids_help(what: &str) -> String {
    format!(
        "{what} needs user and group ids that are not mapped here: install the package uidmap \
         (newuidmap, newgidmap) and give this user subordinate ids, for instance by \
         \"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME\""
    )
}

fn private_mounts() -> Result<(), UsernsError> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(|error| UsernsError::MountNamespace {
        error: error.into(),
    })?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    // Mounts of the host still arrive, so that a disk plugged in later can be used; ours stay here.
    rustix::mount::mount_change(c"/", flags).map_err(doing("make mounts private"))
}

/// Names what was being done when a system call failed.
fn doing<E: Into<io::Error>>(doing: &'static str) -> impl Fn(E) -> UsernsError {
    move |error| UsernsError::System {
        doing,
        error: error.into(),
    }
}

fn enter_as_user() -> Result<(), UsernsError> {
    let user = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    let subordinate = ids::subordinate(user);
    let (asks, asked) = pipe()?;
    let (answers, answered) = pipe()?;
    match sys::fork().map_err(doing("fork"))? {
        Cloned::Child => {
            drop((asks, answered));
            become_root(asked, answers, user, group)
        }
        Cloned::Parent { pid, pidfd } => {
            drop((asked, answers));
            let served = serve_child(asks, answered, pid, subordinate.as_ref());
            stand_in::wait(pid, &pidfd, served)
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), UsernsError> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(doing("make a pipe"))
}

/// The child's part: a new user namespace, ids by the parent or else by itself, then root in it.
fn become_root(ask: OwnedFd, answer: OwnedFd, user: u32, group: u32) -> Result<(), UsernsError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(doing("die with the parent"))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| UsernsError::UserNamespace {
        error: error.into(),
    })?;
    File::from(ask)
        .write_all(b"?")
        .map_err(doing("reach the parent"))?;
    let mut mapped = Vec::new();
    File::from(answer)
        .read_to_end(&mut mapped)
        .map_err(doing("reach the parent"))?;
    match mapped.as_slice() {
        b"mapped" => {}
        b"single" => map_single(user, group)?,
        message => {
            let message = String::from_utf8_lossy(message).into_owned();
            return Err(UsernsError::Mapping {
                program: "newuidmap",
                message,
            });
        }
    }
    let (root_uid, root_gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    rustix::thread::set_thread_res_gid(root_gid, root_gid, root_gid)
        .map_err(doing("become root's group"))?;
    rustix::thread::set_thread_res_uid(root_uid, root_uid, root_uid)
        .map_err(doing("become root"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(doing("die with the parent"))?;
    private_mounts()
}

fn map_single(user: u32, group: u32) -> Result<(), UsernsError> {
    for (path, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ] {
        std::fs::write(path, text).map_err(doing("map this user's id"))?;
    }
    Ok(())
}

/// The parent's part: maps the ids as soon as the child has its namespace.
fn serve_child(
    asks: OwnedFd,
    answer: OwnedFd,
    child: Pid,
    subordinate: Option<&(Vec<IdRange>, Vec<IdRange>)>,
) -> io::Result<()> {
    let mut asked = [0];
    if File::from(asks).read(&mut asked)? == 0 {
        // It has failed, and says so itself.
        return Ok(());
    }
    let text = match subordinate {
        None => "single".to_owned(),
        Some((uids, gids)) => {
            let user = rustix::process::getuid().as_raw();
            let group = rustix::process::getgid().as_raw();
            let mapped = map_by("newuidmap", child, user, uids)
                .and_then(|()| map_by("newgidmap", child, group, gids));
            mapped.map_or_else(|message| message, |()| "mapped".to_owned())
        }
    };
    File::from(answer).write_all(text.as_bytes())
}

fn map_by(program: &str, child: Pid, own: u32, ranges: &[IdRange]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg(child.as_raw_nonzero().to_string());
    command.args(ids::map_arguments(own, ranges));
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", said.trim()))
}

/// Names the settings that keep ordinary users from making user namespaces.
fn refusal_help(error: &io::Error) -> String {
    let found = obstacles::forbidding_settings();
    if !found.is_empty() {
        return format!(" (an administrator can allow it: {})", found.join("; "));
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return " (a seccomp or security policy forbids it here, as in most containers: start the \
                container with --security-opt seccomp=unconfined)"
            .to_owned();
    }
    String::new()
}
