//! Leaving the sandbox to an OCI runtime such as crun or runc.
//!
//! All mounts are put below the stage, in this process's own mount namespace, as a bundle:
//!
//! ```text
//! stage/                  tmpfs
//!   config.json           the OCI runtime specification of the step
//!   rootfs/               the root
//!   0 1 2 ..              one place for each mount that came with the description
//!   state/                the runtime's own notes
//! ```
//!
//! The runtime then takes this process's place. It is the first process of its pid namespace, so
//! the step ends with it, however it ends. Its exit code is the step's, and what it says about a
//! program that it cannot start is on the step's standard error. A process that somebody talks to is
//! [attended] instead.

mod attended;
mod spec;

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use lamina_types::IoContext;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::mount::MountAttrFlags;

use super::Step;
use super::finish;
use super::mounts;
use super::path_error;
use super::prepare::Prepared;
use super::prepare::PreparedMount;
use crate::detached;
use crate::sys;
use crate::wire::Devices;
use crate::wire::Failure;
use crate::wire::OciRuntime;
pub(super) use attended::join;

/// Where programs are looked for; the environment of the runtime holds nothing else.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the container is called by its runtime, which knows no other.
const NAME: &str = "step";

/// The runtime's own notes, in the bundle.
const STATE: &str = "state";

/// Ends with the OCI runtime running in this process, or attending to the program.
pub(super) fn run(step: Step, prepared: Prepared, oci: &OciRuntime) -> Result<Infallible, Failure> {
    let bundle = make_bundle(&step, &prepared, oci)?;
    drop(prepared);
    if is_crun(&oci.program) {
        hide_second_version()?;
    }
    if step.description.tells_start {
        return attended::first(step, oci, &bundle);
    }
    finish::connect_streams(&step).at("connect the standard streams")?;
    sys::reset_signals().at("reset signals")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let place = bundle.to_string_lossy();
    let words = ["run", "--bundle", &place, NAME];
    run_runtime(&oci.program, &bundle, &[], &words)
}

/// Puts everything below the stage; returns its path.
fn make_bundle(step: &Step, prepared: &Prepared, oci: &OciRuntime) -> Result<PathBuf, Failure> {
    if step.description.devices == Devices::NoDev {
        sys::set_mount_attributes(step.root(), MountAttrFlags::MOUNT_ATTR_NODEV, false).at("/")?;
    }
    let proc = detached::new_mount("proc", &[], mounts::INERT).at("mount /proc")?;
    mounts::attach(&proc, open_dir(Path::new("/proc"))?).at("mount /proc")?;
    let bundle = PathBuf::from(&step.description.stage);
    let tmpfs = detached::new_mount("tmpfs", &[("mode", "0700")], MountAttrFlags::empty())
        .at("make a bundle")?;
    mounts::attach(&tmpfs, &prepared.stage).at("make a bundle")?;
    make_dir(&tmpfs, STATE)?;
    mounts::attach(step.root(), make_dir(&tmpfs, "rootfs")?).at("mount the root")?;
    for (number, mount) in prepared.mounts.iter().enumerate() {
        put(&tmpfs, &number.to_string(), mount)?;
    }
    let cgroup = (!is_crun(&oci.program)).then_some(oci.cgroup.as_str());
    let config = spec::write(step, prepared, &bundle, cgroup.unwrap_or_default());
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&tmpfs, c"config.json", flags, Mode::from_raw_mode(0o600))
        .at("make config.json")?;
    File::from(file)
        .write_all(config.to_string().as_bytes())
        .at("write config.json")?;
    Ok(bundle)
}

fn open_dir(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty()).at(path.display())?)
}

fn make_dir(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Failure> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)).at(name)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty()).at(name)?)
}

fn put(bundle: &OwnedFd, name: &str, mount: &PreparedMount) -> Result<(), Failure> {
    let Some(content) = &mount.content else {
        return Ok(());
    };
    let path = lamina_types::RootedPath::new(name);
    let place = mounts::open_or_make(bundle.as_fd(), &path, mount.is_dir).at(name)?;
    Ok(mounts::attach(content, place).at(name)?)
}

/// crun does not work where both versions of control groups are mounted, so it is shown the first
/// one only, and is told to leave them alone: the step is in groups of ours already.
fn hide_second_version() -> Result<(), Failure> {
    let second = Path::new("/sys/fs/cgroup/unified");
    if !second.exists() {
        return Ok(());
    }
    let cover = detached::new_mount("tmpfs", &[], mounts::INERT).at(second.display())?;
    Ok(mounts::attach(&cover, open_dir(second)?).at(second.display())?)
}

fn is_crun(program: &str) -> bool {
    let name = Path::new(program).file_name();
    name.is_some_and(|name| name.as_bytes().starts_with(b"crun"))
}

/// Ends with the runtime running in this process, for the container of `bundle`. The `options` are for
/// all of its commands, `words` are the command.
fn run_runtime(
    program: &str,
    bundle: &Path,
    options: &[&str],
    words: &[&str],
) -> Result<Infallible, Failure> {
    let found = super::lookup::program(program, &[format!("PATH={PATH}")])
        .map_err(|error| Failure::Sandbox(format!("the OCI runtime: {error}")))?;
    let mut arguments = vec![program];
    if is_crun(program) {
        arguments.push("--cgroup-manager=disabled");
    }
    let state = bundle.join(STATE);
    let state = state.to_string_lossy();
    arguments.extend(["--root", &state]);
    arguments.extend(options.iter().chain(words));
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let arguments = finish::c_strings(&arguments)?;
    let path = CString::new(found.as_os_str().as_bytes())
        .map_err(|_| Failure::Sandbox("the OCI runtime's path is no path".to_owned()))?;
    let environment = finish::c_strings(&[format!("PATH={PATH}")])?;
    match nix::unistd::execve(&path, &arguments, &environment) {
        Ok(never) => Ok(never),
        Err(errno) => Err(Failure::Sandbox(path_error(program, errno.into()))),
    }
}
