//! Lending this process's standard streams to a process in a container.
//!
//! ```text
//! keyboard or pipe ── thread ──► ProcessInput          SIGWINCH ──► its size
//! screen or pipe   ◄── thread ── ProcessEvent::Output
//! ```
//! Standard streams can only be read and written by waiting for them, so each direction has a
//! thread. With a terminal at both ends this one is made raw meanwhile: every key, Ctrl-C too, is
//! for the container.

mod raw;
mod streams;

use std::io;
use std::io::IsTerminal as _;

use lamina_client::ClientError;
use lamina_client::Container;
use lamina_client::Exit;
use lamina_client::ProcessEvent;
use lamina_client::ProcessInput;
use lamina_proto::gateway;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

pub(crate) use raw::restore;

use raw::RawTerminal;
use streams::Screen;

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// Says whether a person sits in front of the command.
pub(crate) fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Runs a process with the standard streams of this one, and returns how it ended. The terminal is
/// as before then, however that comes about.
///
/// # Errors
/// If the process cannot be started or is lost.
pub(crate) async fn run(
    container: &Container,
    mut init: gateway::InitMessage,
) -> Result<Exit, ClientError> {
    init.fds = match init.tty {
        true => vec![STDIN, STDOUT],
        false => vec![STDIN, STDOUT, STDERR],
    };
    let tty = init.tty;
    let mut process = container.start(init).await?;
    let raw = (tty && io::stdin().is_terminal()).then(RawTerminal::enter);
    let input = process.input();
    let mut work = tokio::task::JoinSet::new();
    work.spawn(feed(input.clone()));
    if tty {
        work.spawn(resize(input));
    }
    let screen = Screen::open();
    let mut exit = None;
    while let Some(event) = process.next().await? {
        match event {
            ProcessEvent::Output { fd, data } => screen.show(fd == STDERR, data).await,
            ProcessEvent::Closed { .. } => {}
            ProcessEvent::Exited(how) => exit = Some(how),
        }
    }
    screen.finish().await;
    drop((work, raw));
    exit.ok_or(ClientError::Malformed("a process without an end"))
}

/// Passes standard input on until its end.
async fn feed(input: ProcessInput) {
    let mut keys = streams::keyboard();
    while let Some(data) = keys.recv().await {
        input.write(data).await;
    }
    input.close().await;
}

/// Tells the size of the terminal, now and whenever it changes.
async fn resize(input: ProcessInput) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else {
        return;
    };
    loop {
        if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout()) {
            input.resize(size.ws_row.into(), size.ws_col.into()).await;
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}
