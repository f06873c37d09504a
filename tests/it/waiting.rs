//! Waiting for what a test cannot go on without.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Child;
use std::time::Duration;
use std::time::Instant;

/// What is waited for at most, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until something is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads a client's progress until it has a line that `is_it`; the rest is read and dropped, so that
/// the client is never blocked by a full pipe.
///
/// A command is a part of its step's name: lines that a step prints are told by their end.
#[track_caller]
pub(crate) fn wait_for_line(child: &mut Child, is_it: impl Fn(&str) -> bool) {
    let stderr = child.stderr.take().expect("a pipe");
    let mut lines = BufReader::new(stderr).lines();
    let found = lines.any(|line| is_it(&line.expect("text")));
    assert!(found, "the line never came");
    std::thread::spawn(move || lines.for_each(drop));
}
