//! Shows a build while it runs.
//!
//! Events come from an engine in this process or, by way of [`status`], from a daemon, and wait in a
//! [`queue`] for the display ([`show`](mod@show)), which has a thread of its own; [`model`] keeps what they say, and one [`Display`] renders it:
//! `plain` as lines, `tty` as a live picture, `rawjson` for programs, `quiet` as nothing. After a
//! failure [`report`] prints the failed step's log and the excerpt of the user's file.

mod hint;
mod hold;
mod model;
mod plain;
mod queue;
mod rawjson;
mod report;
mod show;
mod status;
mod tty;

use std::io::IsTerminal as _;

use clap::ValueEnum;
use lamina_solver::Event;

pub(crate) use hold::Holder;
pub(crate) use model::Steps;
pub(crate) use queue::Patience;
pub(crate) use queue::Teller;
pub(crate) use report::marked_lines;
pub(crate) use report::report_failure;
pub(crate) use show::show;
pub(crate) use show::watch;
pub(crate) use status::events;

use model::Change;

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
