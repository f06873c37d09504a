//! The process that stays outside: to the shell it looks like the child itself.

use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SfdFlags;
use nix::sys::signalfd::SignalFd;
use nix::sys::signalfd::siginfo;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::process::Pid;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;

use crate::sys;

/// `si_code` of signals that the kernel itself sends, such as those of the terminal's keys.
const FROM_KERNEL: i32 = 0x80;

/// Waits for the child, passing signals on, and ends as it ends.
pub(super) fn wait(child: Pid, pidfd: &OwnedFd, served: io::Result<()>) -> ! {
    let watched = served.and_then(|()| watch(child, pidfd));
    match watched {
        Ok(End::Code(code)) => sys::exit_now(code),
        Ok(End::Signal(number)) => sys::die_by(number),
        Err(error) => {
            // There is no caller to return to: the program goes on in the child, if at all.
            drop(writeln!(
                io::stderr(),
                "lamina: cannot watch over the child process: {error}"
            ));
            sys::exit_now(1)
        }
    }
}

enum End {
    Code(i32),
    Signal(i32),
}

fn watch(child: Pid, pidfd: &OwnedFd) -> io::Result<End> {
    let signals = take_signals()?;
    loop {
        let mut polled = [
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
        while let Some(info) = signals.read_signal()? {
            pass_on(child, &info);
        }
        let id = WaitId::PidFd(pidfd.as_fd());
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        if let Some(status) = rustix::process::waitid(id, options)? {
            let signal = status.terminating_signal();
            let code = status.exit_status().unwrap_or(1);
            return Ok(signal.map_or(End::Code(code), End::Signal));
        }
    }
}

fn take_signals() -> io::Result<SignalFd> {
    let mut all = SigSet::all();
    // Faults of our own must stay faults.
    for fault in [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGILL,
        Signal::SIGFPE,
    ] {
        all.remove(fault);
    }
    all.thread_block()?;
    Ok(SignalFd::with_flags(
        &all,
        SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
    )?)
}

/// The keys of the terminal reach the child without us, since it is in the same process group.
fn pass_on(child: Pid, info: &siginfo) {
    let signal = i32::try_from(info.ssi_signo)
        .ok()
        .and_then(|number| Signal::try_from(number).ok());
    match signal {
        None | Some(Signal::SIGCHLD) => {}
        Some(Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU) => {
            // Stop too, so that the shell notices; SIGSTOP cannot be blocked.
            nix::sys::signal::raise(Signal::SIGSTOP).ok();
        }
        Some(_) if info.ssi_code == FROM_KERNEL => {}
        Some(signal) => {
            let pid = nix::unistd::Pid::from_raw(child.as_raw_nonzero().get());
            // It may have ended; then there is nobody to tell.
            nix::sys::signal::kill(pid, signal).ok();
        }
    }
}
