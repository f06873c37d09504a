//! Progress as a live picture on a terminal.
//!
//! ```text
//! [+] Building 2.3s (3/7)
//!  => CACHED [base 1/2] FROM docker.io/library/alpine           0.0s
//!  => [base 2/2] RUN make                                        2.1s
//!  => => # cc -c main.c
//! ```
//! The picture never exceeds the terminal: what is finished longest leaves first.

use std::io::Write as _;
use std::time::SystemTime;

use console::Term;
use console::style;
use lamina_solver::Event;

use super::Display;
use super::amount;
use super::model::Change;
use super::model::Step;
use super::model::Steps;

/// Lines of output shown under a running step.
const LOG_LINES: usize = 6;

pub(super) struct Tty {
    term: Term,
    begun: SystemTime,
    /// Lines of the last picture.
    drawn: usize,
    warnings: Vec<String>,
}

impl Tty {
    pub(super) fn new() -> Self {
        Self {
            term: Term::stderr(),
            begun: SystemTime::now(),
            drawn: 0,
            warnings: Vec::new(),
        }
    }

    /// Replaces the last picture by a new one in a single write, so that nothing flickers.
    fn draw(&mut self, lines: &[String]) {
        let mut picture = String::new();
        if self.drawn > 0 {
            picture.push_str(&format!("\x1b[{}A", self.drawn));
        }
        picture.push_str("\r\x1b[J");
        for line in lines {
            picture.push_str(line);
            picture.push('\n');
        }
        // A terminal that went away does not stop the build.
        drop(self.term.write_all(picture.as_bytes()));
        self.drawn = lines.len();
    }

    fn header(&self, steps: &Steps, finished: bool, now: SystemTime) -> String {
        let shown = steps.all().iter().filter(|step| is_shown(step));
        let total = shown.clone().count();
        let done = shown.filter(|step| step.completed.is_some()).count();
        let seconds = now
            .duration_since(self.begun)
            .unwrap_or_default()
            .as_secs_f64();
        let state = if finished { " FINISHED" } else { "" };
        let text = format!("[+] Building {seconds:.1}s ({done}/{total}){state}");
        style(text).bold().for_stderr().to_string()
    }

    fn picture(&self, steps: &Steps, height: usize, width: usize, finished: bool) -> Vec<String> {
        let now = SystemTime::now();
        let mut blocks: Vec<(bool, Vec<String>)> = steps
            .all()
            .iter()
            .filter(|step| is_shown(step))
            .map(|step| (step.is_running(), block(step, width, now)))
            .collect();
        if !finished {
            fit(&mut blocks, height.saturating_sub(1));
        }
        let mut lines = vec![self.header(steps, finished, now)];
        lines.extend(blocks.into_iter().flat_map(|(_, block)| block));
        if finished {
            lines.extend(self.warnings.iter().map(|text| format!(" WARNING: {text}")));
        }
        lines
    }
}

/// Steps that were only announced take no line.
fn is_shown(step: &Step) -> bool {
    step.started.is_some() || step.completed.is_some()
}

/// Drops finished blocks, oldest first, then running ones, until the rest fits.
fn fit(blocks: &mut Vec<(bool, Vec<String>)>, height: usize) {
    let mut lines: usize = blocks.iter().map(|(_, block)| block.len()).sum();
    while lines > height && !blocks.is_empty() {
        let oldest = blocks.iter().position(|(running, _)| !running).unwrap_or(0);
        lines -= blocks.remove(oldest).1.len();
    }
}

fn block(step: &Step, width: usize, now: SystemTime) -> Vec<String> {
    let mut lines = vec![title(step, width, now)];
    if !step.is_running() {
        return lines;
    }
    for status in step
        .statuses
        .iter()
        .filter(|status| status.completed.is_none())
    {
        let text = format!(
            " => => {} {}",
            status.name,
            amount(status.current, status.total)
        );
        lines.push(cut(&text, width));
    }
    for line in step.log.tail(LOG_LINES) {
        let text = cut(&format!(" => => # {}", line.text), width);
        lines.push(style(text).dim().for_stderr().to_string());
    }
    lines
}

fn title(step: &Step, width: usize, now: SystemTime) -> String {
    let mark = match &step.error {
        Some(error) if error == "context canceled" => "CANCELED ",
        Some(_) => "ERROR ",
        None if step.cached => "CACHED ",
        None => "",
    };
    let time = format!("{:.1}s", step.elapsed(now).as_secs_f64());
    let total: u64 = step
        .statuses
        .iter()
        .map(|status| status.total.max(status.current))
        .sum();
    let size = if step.is_running() {
        String::new()
    } else {
        amount(total, 0)
    };
    let name = format!(" => {mark}{} {size}", step.name);
    let room = width.saturating_sub(time.len() + 1);
    let name = cut(name.trim_end(), room);
    let padding = room.saturating_sub(console::measure_text_width(&name));
    let text = format!("{name}{} {time}", " ".repeat(padding));
    let text = style(text).for_stderr();
    match (&step.error, step.completed) {
        (Some(_), _) => text.red().to_string(),
        (None, Some(_)) => text.blue().to_string(),
        (None, None) => text.to_string(),
    }
}

fn cut(text: &str, width: usize) -> String {
    console::truncate_str(&text.replace('\t', "    "), width, "..").into_owned()
}

impl Display for Tty {
    fn change(&mut self, steps: &mut Steps, change: &Change, _event: &Event) {
        match change {
            Change::State(index) => {
                if let Some(now) = steps.all()[*index].completed {
                    steps.flush_log(*index, now);
                }
            }
            Change::Warning(message) => self.warnings.push(message.clone()),
            Change::Log(..) | Change::Status(..) => {}
        }
    }

    fn tick(&mut self, steps: &Steps) {
        let (height, width) = self.term.size();
        let lines = self.picture(
            steps,
            usize::from(height).saturating_sub(1),
            usize::from(width),
            false,
        );
        self.draw(&lines);
    }

    fn finish(&mut self, steps: &Steps) {
        let (height, width) = self.term.size();
        let lines = self.picture(steps, usize::from(height), usize::from(width), true);
        self.draw(&lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(sizes: &[(bool, usize)]) -> Vec<(bool, Vec<String>)> {
        sizes
            .iter()
            .map(|&(running, size)| (running, vec![String::new(); size]))
            .collect()
    }

    #[test]
    fn finished_steps_leave_first() {
        let mut all = blocks(&[(true, 3), (false, 1), (false, 1), (true, 2)]);
        fit(&mut all, 6);
        let kept: Vec<(bool, usize)> = all.iter().map(|(run, block)| (*run, block.len())).collect();
        assert_eq!(kept, [(true, 3), (false, 1), (true, 2)]);
        fit(&mut all, 2);
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn lines_fit_the_terminal() {
        assert_eq!(cut("abcdef", 4), "ab..");
        assert_eq!(cut("a\tb", 80), "a    b");
    }
}
