//! Shows a build while it runs.
//!
//! Events come in on a channel, from an engine in this process or, by way of [`status`], from a
//! daemon; [`model`] keeps what they say, and one [`Display`] renders it:
//! `plain` as lines, `tty` as a live picture, `rawjson` for programs, `quiet` as nothing. After a
//! failure [`report`] prints the failed step's log and the excerpt of the user's file.

mod hint;
mod hold;
mod model;
mod plain;
mod rawjson;
mod report;
mod status;
mod tty;

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::ValueEnum;
use lamina_solver::Event;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

pub(crate) use hold::Holder;
pub(crate) use model::Steps;
pub(crate) use report::marked_lines;
pub(crate) use report::report_failure;
pub(crate) use status::events;

use hold::Hold;
use model::Change;

/// How often the live picture is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// The values of `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// `tty` on a terminal, else `plain`
    Auto,
    /// A live picture: a line per step, with the last lines of its output
    Tty,
    /// Lines, as they come
    Plain,
    /// A JSON object per line
    Rawjson,
    /// Nothing but errors; the image id on standard output
    Quiet,
}

impl Mode {
    /// Says whether words beside the progress are welcome: they would be no JSON, and not quiet.
    pub(crate) fn is_for_people(self) -> bool {
        matches!(self, Self::Auto | Self::Tty | Self::Plain)
    }
}

/// One way to show a build.
trait Display: Send {
    /// Shows what an event changed; `event` is what it was.
    fn change(&mut self, steps: &mut Steps, change: &Change, event: &Event);
    /// Draws what changes with time.
    fn tick(&mut self, _steps: &Steps) {}
    /// Draws the final state.
    fn finish(&mut self, _steps: &Steps) {}
}

struct Silent;

impl Display for Silent {
    fn change(&mut self, _steps: &mut Steps, _change: &Change, _event: &Event) {}
}

fn display(mode: Mode) -> Box<dyn Display> {
    match mode {
        Mode::Auto if std::io::stderr().is_terminal() => Box::new(tty::Tty::new()),
        Mode::Tty => Box::new(tty::Tty::new()),
        Mode::Auto | Mode::Plain => Box::new(plain::Plain::new(std::io::stderr())),
        Mode::Rawjson => Box::new(rawjson::RawJson::new(std::io::stderr())),
        Mode::Quiet => Box::new(Silent),
    }
}

/// Starts a task that shows events until their sender is gone, and returns all that they said. The
/// holder makes it leave the screen to others.
pub(crate) fn show(mode: Mode, events: UnboundedReceiver<Event>) -> (JoinHandle<Steps>, Holder) {
    let (holder, holds) = hold::channel();
    (tokio::spawn(show_held(mode, events, holds)), holder)
}

async fn show_held(
    mode: Mode,
    mut events: UnboundedReceiver<Event>,
    mut holds: UnboundedReceiver<Hold>,
) -> Steps {
    let mut shown: Box<dyn Display> = display(mode);
    let mut steps = Steps::default();
    let mut clock = tokio::time::interval(REDRAW);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
                    if let Some(change) = steps.apply(&event) {
                        shown.change(&mut steps, &change, &event);
                    }
                }
                None => break,
            },
            Some(hold) = holds.recv() => {
                shown.finish(&steps);
                be_still(hold, &mut steps, &mut events).await;
                // What is on the screen by then is not to be drawn over.
                shown = Box::new(Silent);
            }
            _ = clock.tick() => shown.tick(&steps),
        }
    }
    shown.finish(&steps);
    steps
}

/// Takes note of events without showing them, until the screen is free again.
async fn be_still(hold: Hold, steps: &mut Steps, events: &mut UnboundedReceiver<Event>) {
    let Hold {
        error,
        still,
        mut ended,
    } = hold;
    if let Some(error) = error {
        crate::report::text(&report_failure(&error, steps));
    }
    // Who has gone wants it no more.
    still.send(()).unwrap_or_default();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
                    steps.apply(&event);
                }
                // The caller notices that there are no more.
                None => return drop(ended.await),
            },
            // Never sent, so this is the drop.
            _ = &mut ended => return,
        }
    }
}

/// Writes a number of bytes as people read it: `4.20kB`, `1.05MB`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes}B")
    } else {
        format!("{value:.2}{}", UNITS[unit])
    }
}

/// Writes how far an action is: `3.1MB / 29.1MB`.
fn amount(current: u64, total: u64) -> String {
    match (current, total) {
        (0, 0) => String::new(),
        (current, 0) => human_bytes(current),
        (current, total) => format!("{} / {}", human_bytes(current), human_bytes(total)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (current, total, shown) in [
            (0, 0, ""),
            (999, 0, "999B"),
            (4200, 0, "4.20kB"),
            (3_100_000, 29_100_000, "3.10MB / 29.10MB"),
        ] {
            assert_eq!(amount(current, total), shown);
        }
    }
}
