//! Overlay by `mount(2)`, for kernels without `lowerdir+` (before 6.7).
//!
//! The options of `mount(2)` fill at most one page, so the layers are named relative to the store's
//! folder. That needs a working directory of its own, and so a thread that shares it with nobody. The
//! mount is made at a place inside the store, cloned into a detached one, and taken away again; all of
//! that must happen in a private mount namespace.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use lamina_types::IoContext;
use nix::sched::CloneFlags;
use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::mount::OpenTreeFlags;
use rustix::mount::UnmountFlags;

use super::kernel::Plan;
use super::kernel::describe;
use super::options;
use crate::SnapshotError;
use crate::XattrNamespace;
use crate::store::SnapshotStore;

/// One page of the kernel's, less the NUL.
const MAX_OPTIONS: usize = 4095;

/// What of it the names of layers may take: the rest is for the other options, and for a layer that is
/// made in place of several and may have a longer name.
pub(super) const ROOM_FOR_LAYERS: usize = MAX_OPTIONS - 256;

static POINTS: AtomicU64 = AtomicU64::new(0);

pub(super) fn mount(store: &SnapshotStore, plan: &Plan) -> Result<OwnedFd, SnapshotError> {
    let options = option_string(plan, store.namespace());
    if options.len() > MAX_OPTIONS {
        return Err(SnapshotError::Unavailable {
            backend: "overlay",
            reason: format!("{} do not fit into one page of options", describe(plan)),
        });
    }
    let flags = match plan.upper {
        Some(_) => MountFlags::empty(),
        None => MountFlags::RDONLY,
    };
    let point = format!("tmp-mount-{}", POINTS.fetch_add(1, Ordering::Relaxed));
    let mounted = std::thread::scope(|scope| {
        let work = || mount_here(store, &point, &options, flags);
        scope.spawn(work).join().unwrap_or(Err(Errno::IO))
    });
    Ok(mounted.at(describe(plan))?)
}

/// Runs on a thread of its own.
fn mount_here(
    store: &SnapshotStore,
    point: &str,
    options: &str,
    flags: MountFlags,
) -> Result<OwnedFd, Errno> {
    let unshared = nix::sched::unshare(CloneFlags::CLONE_FS);
    unshared.map_err(|error| Errno::from_raw_os_error(error as i32))?;
    rustix::process::fchdir(store.dir())?;
    rustix::fs::mkdirat(store.dir(), point, Mode::from_raw_mode(0o700))?;
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    let mounted = rustix::mount::mount("overlay", point, "overlay", flags, options.as_c_str());
    let cloned = mounted.and_then(|()| {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let cloned = rustix::mount::open_tree(store.dir(), point, flags);
        let unmounted = rustix::mount::unmount(point, UnmountFlags::DETACH);
        cloned.and_then(|fd| unmounted.map(|()| fd))
    });
    let removed = rustix::fs::unlinkat(store.dir(), point, AtFlags::REMOVEDIR);
    cloned.and_then(|fd| removed.map(|()| fd))
}

fn option_string(plan: &Plan, namespace: XattrNamespace) -> String {
    let mut options: Vec<String> = options::common(namespace)
        .into_iter()
        .map(|(key, value)| value.map_or(key.to_owned(), |value| format!("{key}={value}")))
        .collect();
    options.push(format!("lowerdir={}", plan.lower.join(":")));
    if let Some(upper) = &plan.upper {
        options.push(format!("upperdir={}", upper.upper));
        options.push(format!("workdir={}", upper.work));
        options.push(options::VOLATILE.to_owned());
    }
    options.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::kernel::UpperPlan;
    use super::*;

    #[test]
    fn options_name_layers_topmost_first_and_by_short_paths() {
        let plan = Plan {
            lower: vec!["2/fs".to_owned(), "1/fs".to_owned()],
            upper: Some(UpperPlan {
                upper: "tmp-3/fs".to_owned(),
                work: "tmp-3/work".to_owned(),
            }),
        };
        assert_eq!(
            option_string(&plan, XattrNamespace::User),
            "userxattr,index=off,lowerdir=2/fs:1/fs,upperdir=tmp-3/fs,workdir=tmp-3/work,volatile"
        );
    }
}
