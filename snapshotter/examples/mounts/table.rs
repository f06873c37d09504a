//! The times as a table, with how many times as fast the last column is as each of the others.

use std::fmt::Write as _;
use std::time::Duration;

use crate::work::Times;

/// Renders one row per kind of work and one column per subject.
pub(crate) fn render(columns: &[(&str, Times)]) -> String {
    let Some((ours, times)) = columns.last() else {
        return String::new();
    };
    let others = &columns[..columns.len() - 1];
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
