//! The times as a table, with how many times as fast the last column is as each of the others.

use std::time::Duration;

/// Renders what stands above the rows: one column per subject, and one per ratio.
pub(crate) fn heading(subjects: &[&str]) -> String {
    let Some((ours, others)) = subjects.split_last() else {
        return String::new();
    };
    let columns = subjects.iter().map(|name| format!("{name:>18}"));
    let ratios = others.iter().map(|name| format!("{ours} : {name}"));
    let text: String = columns
        .chain(ratios.map(|ratio| format!("{ratio:>24}")))
        .collect();
    format!("{:34}{text}", "")
}

/// Renders one kind of work and the time of each subject.
pub(crate) fn row(name: &str, times: &[Duration]) -> String {
    let Some((ours, others)) = times.split_last() else {
        return name.to_owned();
    };
    let columns = times
        .iter()
        .map(|time| format!("{:>15.1} ms", milliseconds(*time)));
    let ratios = others
        .iter()
        .map(|theirs| theirs.as_secs_f64() / ours.as_secs_f64());
    let text: String = columns
        .chain(ratios.map(|ratio| format!("{ratio:>23.2}x")))
        .collect();
    format!("{name:34}{text}")
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
