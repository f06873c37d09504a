//! The world's own suite for file systems: pjdfstest, where it is installed (`scripts/test` does that).

use std::process::Command;

use nix::sched::CloneFlags;
use rustix::fs::CWD;
use rustix::mount::MountPropagationFlags;
use rustix::mount::MoveMountFlags;

use super::World;
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
    let place = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), mode).unwrap();
    world.work(&active, |mount| {
        output = in_own_namespace(|| {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&mount.fd, "", CWD, place.path(), flags).unwrap();
            let mut command = Command::new("pjdfstest");
            command.arg("-c").arg(settings.path());
            command
                .arg("-p")
                .arg(place.path())
                .env("RUST_BACKTRACE", "0");
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

/// Works on a thread whose mounts nobody else sees and that go with it; programs that it starts are
/// there too.
fn in_own_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let alone = || {
        nix::sched::unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", flags).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(alone).join().unwrap())
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
