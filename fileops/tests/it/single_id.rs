//! File operations for a user with a single id: the same results, with owners and kinds in attributes.
//!
//! The tests of this crate run once more as root of a user namespace that maps one id, where the kernel
//! refuses every other owner and every device.

use std::process::Command;

use crate::machine::skip;

/// Set in the process inside.
const INSIDE: &str = "LAMINA_TEST_SINGLE_ID";

/// Says whether this process has a single id.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

#[test]
fn results_are_the_same_with_a_single_id() {
    if is_inside() {
        return;
    }
    let possible = Command::new("unshare").args(["-Ur", "true"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        skip::<()>("no user namespace can be made");
        return;
    }
    let output = Command::new("unshare")
        .arg("-Ur")
        .arg(std::env::current_exe().expect("a program"))
        .args(["--nocapture"])
        .args(["goldens::", "model::", "odd::", "simple::", "table::"])
        .env(INSIDE, "1")
        .output()
        .expect("starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(!err.contains("skipped:"), "{err}");
}
