//! Processes that somebody talks to, in the sandbox of an OCI runtime (rows EXE-08 to EXE-22).
//!
//! ```text
//! this process, in a pid namespace with all that the runtime knows of
//!   └ runtime run --detach, later runtime exec --detach
//!       └ the program; the runtime ends, and the program becomes our child
//! ```
//! The program's process is told to the daemon, which sends it signals, and this process stays until it
//! ends, and ends alike. A terminal comes from the runtime by a socket of ours. A further process is
//! born in the pid namespace of the first, and enters its mounts, where the bundle is.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use lamina_types::IoContext;
use nix::sched::CloneFlags;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use rustix::process::WaitIdStatus;
use rustix::process::WaitOptions;
use rustix::process::WaitStatus;

use super::super::Step;
use super::super::finish;
use super::NAME;
use super::STATE;
use super::run_runtime;
use super::spec;
use crate::channel;
use crate::sys;
use crate::sys::Cloned;
use crate::wire::Failure;
use crate::wire::Network;
use crate::wire::OciRuntime;
use crate::wire::Report;

/// How long the runtime may take to make the container that is to be joined (row EXE-22).
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked after that.
const INTERVAL: Duration = Duration::from_millis(5);

/// What runtimes say before the reason.
const PREFIXES: [&str; 3] = [
    "exec failed: ",
    "runc run failed: ",
    "unable to start container process: ",
];

/// One call of the runtime.
struct Call<'a> {
    oci: &'a OciRuntime,
    bundle: &'a Path,
    words: &'a [&'a str],
    /// Files of this call, in the bundle.
    console: String,
    log: String,
    pid: String,
}

/// Ends as the program does, which is the first process of the container that `bundle` describes.
pub(super) fn first(step: Step, oci: &OciRuntime, bundle: &Path) -> Result<Infallible, Failure> {
    // Paths of sockets are short.
    rustix::process::chdir(bundle).at(bundle.display())?;
    let place = bundle.to_string_lossy();
    attend(step, oci, bundle, &["run", "--bundle", &place])
}

/// Ends as the program does, which runs in the container whose first process stands where other steps
/// have their root.
pub(in super::super) fn join(step: Step, oci: &OciRuntime) -> Result<Infallible, Failure> {
    let mut namespaces = CloneFlags::CLONE_NEWNS;
    if step.description.network != Network::Shared {
        // That of the host may be out of our user namespace's reach, and we are in it.
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    nix::sched::setns(step.root(), namespaces).at("enter the runtime's namespaces")?;
    let bundle = PathBuf::from(&step.description.stage);
    rustix::process::chdir(&bundle).at(bundle.display())?;
    wait_for_container(&bundle)?;
    let process = own_file("json");
    write_process(&step, &process)?;
    attend(step, oci, &bundle, &["exec", "--process", &process])
}

/// Has the runtime start the program, and ends as that does.
fn attend(
    mut step: Step,
    oci: &OciRuntime,
    bundle: &Path,
    words: &[&str],
) -> Result<Infallible, Failure> {
    let call = Call {
        oci,
        bundle,
        words,
        console: own_file("socket"),
        log: own_file("log"),
        pid: own_file("pid"),
    };
    let console = step.description.terminal;
    let console = console.then(|| UnixListener::bind(&call.console));
    let console = console.transpose().at("make a socket for a terminal")?;
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).at("adopt processes")?;
    let runtime = start(&step, &call)?;
    let terminal = console.map(|console| receive_terminal(&console, &runtime));
    finished(&runtime, &call.log)?;
    if let Some(terminal) = terminal.transpose().at("receive a terminal")?.flatten() {
        tell(&step.socket, &Report::Terminal, &terminal).at("hand the terminal over")?;
    }
    let (program, pidfd) = program(&call.pid).at("find the program's process")?;
    tell(&step.socket, &Report::Process, &pidfd).at("hand the process over")?;
    for file in [&own_file("json"), &call.console, &call.log, &call.pid] {
        // There may be none, and all go with the bundle.
        drop(std::fs::remove_file(file));
    }
    drop(step.started.take().map(ManuallyDrop::into_inner));
    drop(step);
    end_like(program)
}

/// Returns the name of a file in the bundle that no other process uses.
fn own_file(kind: &str) -> String {
    format!("{}.{kind}", rustix::process::getpid().as_raw_nonzero())
}

fn wait_for_container(bundle: &Path) -> Result<(), Failure> {
    let state = bundle.join(STATE).join(NAME);
    // What runc and crun write once there is something to join.
    let files = ["state.json", "status"].map(|name| state.join(name));
    let deadline = Instant::now() + PATIENCE;
    while !files.iter().any(|file| file.exists()) {
        if Instant::now() > deadline {
            let error = "the runtime has not made the container";
            return Err(Failure::Sandbox(error.to_owned()));
        }
        std::thread::sleep(INTERVAL);
    }
    Ok(())
}

fn write_process(step: &Step, name: &str) -> Result<(), Failure> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(name, flags, Mode::from_raw_mode(0o600)).at(name)?;
    let process = spec::process(&step.description).to_string();
    Ok(File::from(file).write_all(process.as_bytes()).at(name)?)
}

/// Calls the runtime, and returns its process.
fn start(step: &Step, call: &Call<'_>) -> Result<OwnedFd, Failure> {
    match sys::fork().at("start the runtime")? {
        Cloned::Parent { pidfd, .. } => Ok(pidfd),
        Cloned::Child => {
            let failure = match become_runtime(step, call) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            // Found where the runtime would have said it.
            let said = serde_json::json!({ "msg": crate::ExecError::from(failure).to_string() });
            drop(std::fs::write(&call.log, said.to_string()));
            sys::exit_now(1)
        }
    }
}

fn become_runtime(step: &Step, call: &Call<'_>) -> Result<Infallible, Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at("death signal")?;
    finish::connect_streams(step).at("connect the standard streams")?;
    sys::reset_signals().at("reset signals")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let options = ["--log", &call.log, "--log-format", "json"];
    let mut words = call.words.to_vec();
    words.extend(["--detach", "--pid-file", &call.pid]);
    if step.description.terminal {
        words.extend(["--console-socket", &call.console]);
    }
    words.push(NAME);
    run_runtime(&call.oci.program, call.bundle, &options, &words)
}

/// Receives the side of the terminal that is not the program's; `None` if the runtime ends first.
fn receive_terminal(console: &UnixListener, runtime: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut polled = [
        PollFd::new(console, PollFlags::IN),
        PollFd::new(runtime, PollFlags::IN),
    ];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
    if polled[0].revents().is_empty() {
        return Ok(None);
    }
    let (stream, _) = console.accept()?;
    let received = channel::receive(&stream)?;
    let terminal = received.and_then(|(_, descriptors)| descriptors.into_iter().next());
    if let Some(terminal) = &terminal {
        rustix::io::ioctl_fionbio(terminal, true)?;
    }
    Ok(terminal)
}

/// Waits for the runtime; its error is the reason why the program does not run.
fn finished(runtime: &OwnedFd, log: &str) -> Result<(), Failure> {
    if wait(runtime).at("wait for the runtime")?.exit_status() == Some(0) {
        return Ok(());
    }
    let log = std::fs::read_to_string(log).unwrap_or_default();
    Err(Failure::Start(reason(&log)))
}

/// Returns the last message of a log in JSON.
fn reason(log: &str) -> String {
    let message = |line: &str| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(entry.get("msg")?.as_str()?.to_owned())
    };
    let last = log.lines().rev().find_map(message);
    let last = last.unwrap_or_else(|| "the runtime does not say why".to_owned());
    let without = |text: &str, prefix| text.strip_prefix(prefix).unwrap_or(text).to_owned();
    PREFIXES
        .into_iter()
        .fold(last, |text, prefix| without(&text, prefix))
}

/// Opens the process whose number the runtime has written down. It is our child, so it is there.
fn program(file: &str) -> io::Result<(Pid, OwnedFd)> {
    let number = std::fs::read_to_string(file)?;
    let number = number.trim().parse().map_err(io::Error::other)?;
    let pid = Pid::from_raw(number).ok_or(io::ErrorKind::InvalidData)?;
    Ok((pid, rustix::process::pidfd_open(pid, PidfdFlags::empty())?))
}

fn tell(socket: &OwnedFd, report: &Report, descriptor: &OwnedFd) -> io::Result<()> {
    channel::send(socket, &serde_json::to_vec(report)?, &[descriptor.as_fd()])
}

/// Waits for the program's end, and ends this process in the same way.
fn end_like(program: Pid) -> Result<Infallible, Failure> {
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let null = null.at("/dev/null")?;
    // Nothing here is to hold the program's streams open.
    rustix::stdio::dup2_stderr(&null).at("close the streams")?;
    let status = outlive(program).at("wait for the program")?;
    if let Some(code) = status.exit_status() {
        sys::exit_now(code);
    }
    sys::reset_signals().at("reset signals")?;
    let number = status.terminating_signal().unwrap_or_default();
    if let Some(signal) = Signal::from_named_raw(number) {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, signal).at("end")?;
    }
    sys::exit_now(128 + number)
}

/// Waits for the end of a child, and takes note of that of all others, which are adopted: without that
/// the kernel could not end a pid namespace that they are in.
fn outlive(program: Pid) -> io::Result<WaitStatus> {
    loop {
        let waited = rustix::io::retry_on_intr(|| rustix::process::wait(WaitOptions::empty()))?;
        match waited {
            Some((child, status)) if child == program => return Ok(status),
            _ => {}
        }
    }
}

fn wait(process: &OwnedFd) -> io::Result<WaitIdStatus> {
    let id = || WaitId::PidFd(process.as_fd());
    let waited =
        rustix::io::retry_on_intr(|| rustix::process::waitid(id(), WaitIdOptions::EXITED))?;
    waited.ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_found_in_logs() {
        for (log, expected) in [
            ("", "the runtime does not say why"),
            ("no json\n", "the runtime does not say why"),
            (
                "{\"msg\":\"a warning\",\"level\":\"warning\"}\n\
                 {\"level\":\"error\",\"msg\":\"exec failed: unable to start container process: x\"}\n",
                "x",
            ),
            (
                "{\"msg\":\"executable file `x` not found\"}\n\n",
                "executable file `x` not found",
            ),
        ] {
            assert_eq!(reason(log), expected, "{log}");
        }
    }
}
