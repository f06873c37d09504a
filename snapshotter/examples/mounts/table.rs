//! The times as a table, with how many times as fast the last column is as each of the others.

use std::fmt::Write as _;
use std::time::Duration;

use crate::work::Times;

/// The best time of each piece of work by each subject.
#[derive(Default)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Times)>,
}

impl Table {
    /// Takes the times of one round.
    pub(crate) fn add(&mut self, subject: &'static str, times: Times) {
        let mut columns = self.columns.iter_mut();
        let Some((_, best)) = columns.find(|(name, _)| *name == subject) else {
            self.columns.push((subject, times));
            return;
        };
        for ((_, best), (_, time)) in best.iter_mut().zip(times) {
            *best = time.min(*best);
        }
    }

    /// Renders one row per kind of work and one column per subject.
    pub(crate) fn render(&self) -> String {
        render(&self.columns)
    }
}

fn render(columns: &[(&str, Times)]) -> String {
    let Some(((ours, times), others)) = columns.split_last() else {
        return String::new();
    };
    let mut text = format!("{:34}", "");
    for (name, _) in columns {
        text += &format!("{name:>18}");
    }
    for (name, _) in others {
        text += &format!("{:>24}", format!("{ours} : {name}"));
    }
    for (index, (row, time)) in times.iter().enumerate() {
        write!(text, "\n{row:34}").expect("a string takes all");
        for (_, times) in columns {
            text += &format!("{:>15.1} ms", milliseconds(times[index].1));
        }
        for (_, theirs) in others {
            let ratio = theirs[index].1.as_secs_f64() / time.as_secs_f64();
            text += &format!("{:>23.2}x", ratio);
        }
    }
    text
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
