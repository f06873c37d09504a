//! The tests with mounts once more, as root of a user namespace: `user.overlay.*` and `userxattr`.

use std::process::Command;

use crate::owners;
use crate::support;
use crate::support::skipped;

#[test]
fn mounts_work_in_a_user_namespace() {
    if support::in_user_namespace() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let possible = Command::new("unshare").args(["-Urm", "true"]).output();
    match possible {
        Err(error) => return skipped("user namespace", &format!("unshare: {error}")),
        Ok(output) if !output.status.success() => {
            let reason = String::from_utf8_lossy(&output.stderr).into_owned();
            return skipped("user namespace", reason.trim());
        }
        Ok(_) => {}
    }
    let output = Command::new("unshare")
        .args(["-Urm"])
        .arg(program)
        .args([
            "--nocapture",
            "conformance::",
            "fuse::",
            "mounts::",
            "links::",
            "store::",
            "merge::",
            "kernel::",
            "owners::",
            "sequences::",
        ])
        .env(support::USER_NAMESPACE, "1")
        .envs(owners::digest_by_root().map(|digest| (owners::DIGEST_BY_ROOT, digest)))
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    let skips = err.lines().filter(|line| line.contains("skipped:"));
    // FUSE may be missing, and so may a program ("no python3") or the kernel's overlayfs.
    let explained = |line: &&str| {
        let missing = ["fuse", ": no ", "No such device"];
        missing.iter().any(|reason| line.contains(reason))
    };
    let unexplained: Vec<&str> = skips.filter(|line| !explained(line)).collect();
    assert!(unexplained.is_empty(), "{err}");
}
