//! The world's own suite for file systems: pjdfstest, where it is installed (`scripts/test` does that).

use std::process::Command;

use super::World;
use super::place::at_place;
use crate::support::in_user_namespace;
use crate::support::skipped;

/// Fewer that pass mean that the suite did not run as it should.
const LEAST_PASSED: usize = 300;

/// The only checks that may fail: those that begin by making a character device.
///
/// The suite makes 0:0. In an overlay that is the sign of a deletion, so it is refused with `EPERM`,
/// here as by the kernel.
const MAKES_A_WHITEOUT: &str = "::char";

const CONFIGURATION: &str = "
[features]
posix_fallocate = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
[dummy_auth]
entries = [[\"nobody\", \"nogroup\"], [\"games\", \"games\"], [\"daemon\", \"daemon\"]]
";

pub(super) fn pjdfstest(world: &World) {
    if in_user_namespace() {
        // The suite changes to other users, and the namespace of the tests has one only.
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skipped("pjdfstest", "not root");
    }
    let settings = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(settings.path(), CONFIGURATION).unwrap();
    let active = world.fixture.store.prepare(&Default::default()).unwrap();
    let mut output = None;
    world.work(&active, |mount| {
        output = at_place(mount, |place| {
            let mut command = Command::new("pjdfstest");
            command.arg("-c").arg(settings.path());
            command.arg("-p").arg(place).env("RUST_BACKTRACE", "0");
            command.output().ok()
        });
    });
    match output {
        None => skipped("pjdfstest", "it is not installed"),
        Some(output) if output.stdout.is_empty() => {
            skipped("pjdfstest", &String::from_utf8_lossy(&output.stderr));
        }
        Some(output) => judge(&String::from_utf8_lossy(&output.stdout)),
    }
}

fn judge(text: &str) {
    let with = |end: &str| -> Vec<&str> {
        let lines = text.lines().filter_map(|line| line.strip_suffix(end));
        lines.map(str::trim_end).collect()
    };
    let (passed, failed) = (with(" ok"), with(" FAILED"));
    assert!(
        passed.len() >= LEAST_PASSED,
        "{} passed:\n{text}",
        passed.len()
    );
    let unknown: Vec<&str> = failed
        .into_iter()
        .filter(|name| !name.ends_with(MAKES_A_WHITEOUT))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}\n{text}");
}
