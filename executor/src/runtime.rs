//! The runtime: a process with one thread that has all steps as its children.

use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;

use crate::channel;
use crate::sandbox;
use crate::sandbox::Machine;
use crate::sys;
use crate::sys::Cloned;
use crate::wire::Failure;
use crate::wire::Order;
use crate::wire::Report;

/// Stands for the end of what never began.
const NOT_STARTED: i32 = 255;

/// Entry point of the runtime, which [`Executor::start`](crate::Executor::start) starts from this
/// same program. To be called first thing in `main`, before any thread is started, when the first
/// argument is `runtime`.
///
/// Expects the control socket as standard input, serves it, and ends with it. Errors are told on
/// the socket.
pub fn runtime_main() -> ! {
    let code = match take_control() {
        Ok(control) => serve_or_tell(&control),
        Err(error) => {
            // There is nobody else to tell; started by hand, this explains why nothing happens.
            drop(writeln!(
                io::stderr(),
                "lamina runtime: not started by a daemon: {error}"
            ));
            2
        }
    };
    sys::exit_now(code)
}

fn serve_or_tell(control: &OwnedFd) -> i32 {
    match serve(control) {
        Ok(()) => 0,
        Err(error) => {
            // If the daemon is gone, nobody wants to know.
            drop(channel::send(control, error.to_string().as_bytes(), &[]));
            1
        }
    }
}

/// Moves the control socket away from standard input, which steps must not inherit.
fn take_control() -> io::Result<OwnedFd> {
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::net::sockopt::socket_type(&control)?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(control)
}

/// Starts the process that has a pid namespace of its own, and waits for it.
fn serve(control: &OwnedFd) -> io::Result<()> {
    // Signals of the daemon's terminal are for the daemon alone.
    rustix::process::setsid()?;
    nix::sched::unshare(CloneFlags::CLONE_NEWPID)
        .map_err(|error| io::Error::other(format!("make a pid namespace: {error}")))?;
    match sys::fork()? {
        Cloned::Child => {
            let died = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let served = died
                .map_err(io::Error::from)
                .and_then(|()| serve_steps(control));
            drop(served.map_err(|error| channel::send(control, error.to_string().as_bytes(), &[])));
            // The kernel now kills every step.
            sys::exit_now(0)
        }
        Cloned::Parent { pidfd, .. } => {
            rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            Ok(())
        }
    }
}

/// A child that is a step.
struct Running {
    pidfd: OwnedFd,
    socket: OwnedFd,
    /// Whether the daemon has given it up.
    killed: bool,
}

fn serve_steps(control: &OwnedFd) -> io::Result<()> {
    let machine = Machine::probe();
    let own = own_process()?;
    let mut steps: Vec<Running> = Vec::new();
    loop {
        let events = wait(control, &steps)?;
        let (for_control, for_steps) = events.split_first().ok_or(io::ErrorKind::InvalidData)?;
        for (step, (ended, given_up)) in steps.iter_mut().zip(pairs(for_steps)) {
            if given_up && !ended && !step.killed {
                rustix::process::pidfd_send_signal(&step.pidfd, Signal::KILL)?;
                step.killed = true;
            }
        }
        let mut ended = pairs(for_steps).map(|(ended, _)| ended);
        steps.retain(|step| !ended.next().unwrap_or(false) || !reap(step));
        if *for_control {
            match channel::receive(control)? {
                None => return Ok(()),
                Some((word, descriptors)) => {
                    let order = Order::parse(&word).ok_or(io::ErrorKind::InvalidData)?;
                    steps.extend(start(order, descriptors, &own, &machine)?);
                }
            }
        }
    }
}

/// Waits, and says for the control socket and then for each step, ended and given up, what is so.
fn wait(control: &OwnedFd, steps: &[Running]) -> io::Result<Vec<bool>> {
    let mut polled = vec![PollFd::new(control, PollFlags::IN)];
    for step in steps {
        polled.push(PollFd::new(&step.pidfd, PollFlags::IN));
        // Not IN: what arrives is for the step. Once killed, only its end is of interest.
        let socket: BorrowedFd<'_> = if step.killed {
            step.pidfd.as_fd()
        } else {
            step.socket.as_fd()
        };
        let flags = if step.killed {
            PollFlags::empty()
        } else {
            PollFlags::RDHUP
        };
        polled.push(PollFd::from_borrowed_fd(socket, flags));
    }
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
    Ok(polled.iter().map(|one| !one.revents().is_empty()).collect())
}

fn pairs(events: &[bool]) -> impl Iterator<Item = (bool, bool)> {
    events
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[ended, given_up]| (*ended, *given_up))
}

/// Returns this process, whose pid namespace new ones are made in.
fn own_process() -> io::Result<OwnedFd> {
    let own = rustix::process::getpid();
    Ok(rustix::process::pidfd_open(own, PidfdFlags::empty())?)
}

/// Starts what was ordered; none if the container that it is to join has ended.
fn start(
    order: Order,
    descriptors: Vec<OwnedFd>,
    own: &OwnedFd,
    machine: &Machine,
) -> io::Result<Option<Running>> {
    let mut descriptors = descriptors.into_iter();
    let socket = descriptors.next().ok_or(io::ErrorKind::InvalidData)?;
    let cloned = match order {
        Order::Step | Order::Container => sys::clone_into_pid_namespace()?,
        Order::Join => {
            let container = descriptors.next().ok_or(io::ErrorKind::InvalidData)?;
            match fork_into(&container, own)? {
                Ok(cloned) => cloned,
                Err(error) => {
                    refuse(&socket, &error);
                    return Ok(None);
                }
            }
        }
    };
    let pidfd = match cloned {
        Cloned::Child => sandbox::enter(socket, order, machine),
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    if order != Order::Step {
        // The daemon may have given it up.
        drop(tell(&socket, &Report::Born, &[pidfd.as_fd()]));
    }
    Ok(Some(Running {
        pidfd,
        socket,
        killed: false,
    }))
}

/// Forks a child into the pid namespace of `container`. The inner error is the container's: that it
/// has ended. Any other leaves this process in the wrong namespace, which ends it.
fn fork_into(container: &OwnedFd, own: &OwnedFd) -> io::Result<io::Result<Cloned>> {
    if let Err(error) = nix::sched::setns(container, CloneFlags::CLONE_NEWPID) {
        return Ok(Err(error.into()));
    }
    let cloned = sys::fork();
    if matches!(cloned, Ok(Cloned::Child)) {
        return Ok(cloned);
    }
    nix::sched::setns(own, CloneFlags::CLONE_NEWPID)?;
    Ok(cloned)
}

/// Tells that nothing was started, as a process would that fails at once.
fn refuse(socket: &OwnedFd, error: &io::Error) {
    // The daemon has sent the description already. Closing the socket with that in it would make the
    // kernel drop what is told here.
    rustix::io::ioctl_fionbio(socket, true).ok();
    while let Ok(Some(_)) = channel::receive(socket) {}
    let failure = Failure::Sandbox(format!("the container has ended: {error}"));
    // The daemon may have given it up.
    drop(tell(socket, &Report::Failed(failure), &[]));
    drop(tell(socket, &Report::Exited(NOT_STARTED), &[]));
}

fn tell(socket: &OwnedFd, report: &Report, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    channel::send(socket, &serde_json::to_vec(report)?, descriptors)
}

/// Collects a step that has ended and tells the daemon. Returns whether it had.
fn reap(step: &Running) -> bool {
    let id = WaitId::PidFd(step.pidfd.as_fd());
    let Ok(Some(status)) =
        rustix::process::waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    else {
        return false;
    };
    let report = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Exited(code),
        (None, signal) => Report::Signaled(signal.unwrap_or(0)),
    };
    // The daemon may have given the step up.
    drop(tell(&step.socket, &report, &[]));
    true
}
