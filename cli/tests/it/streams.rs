//! Standard output and error that nobody reads, or that are full.

use std::fs::File;
use std::io::PipeWriter;
use std::process::Output;
use std::process::Stdio;

use crate::harness;
use crate::harness::skip_unless_root;

/// Returns a pipe whose reader is gone, as after `| head -1`.
fn closed() -> PipeWriter {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer
}

/// Runs a command that prints lines, as root anywhere.
fn doctor(stdout: impl Into<Stdio>) -> Output {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = harness::lamina();
    command.arg("doctor").env("HOME", home.path());
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn();
    child.expect("started").wait_with_output().expect("ended")
}

#[test]
fn a_reader_who_has_had_enough_ends_the_command_quietly() {
    skip_unless_root!();
    let output = doctor(closed());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(141), ""));
}

#[test]
fn a_full_disk_is_an_error() {
    skip_unless_root!();
    let full = File::options().write(true).open("/dev/full");
    let output = doctor(full.expect("a device"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let error = "ERROR: standard output: No space left on device";
    assert!(stderr.starts_with(error), "{stderr}");
}

#[test]
fn an_error_that_nobody_reads_is_an_error() {
    let mut command = harness::lamina();
    command.args(["du", "--addr", "unix:///no/such/daemon.sock"]);
    let status = command.stdout(closed()).stderr(closed()).status();
    assert_eq!(status.expect("started").code(), Some(1));
}
