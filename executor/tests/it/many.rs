//! Hundreds of steps at once and thousands in a row: as much is there afterwards as before. Counted in a
//! process of their own, since other tests run in this one.

use std::process::Command;

use crate::PROGRAM;
use crate::obstacle;
use crate::rootless;
use crate::skip;
use crate::state_dir;

const AT_ONCE: &str = "200";
const IN_A_ROW: &str = "2000";

/// What a user's steps are run on takes longer.
const OF_USERS: [&str; 2] = ["50", "100"];

#[test]
fn many_steps_leave_nothing() {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root").unwrap_or_default();
    }
    if let Some(reason) = obstacle() {
        return skip(reason).unwrap_or_default();
    }
    let state = state_dir();
    let mut command = Command::new(PROGRAM);
    command
        .arg("many")
        .arg(state.path())
        .args([AT_ONCE, IN_A_ROW]);
    let (code, stdout, stderr) = rootless::output(&mut command);
    println!("{stdout}");
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn many_steps_of_users_leave_nothing() {
    for subordinate in [false, true] {
        let arguments = ["many-as-user", rootless::STATE, OF_USERS[0], OF_USERS[1]];
        if let Some((code, stdout, stderr)) = rootless::run(subordinate, &arguments) {
            println!("{stdout}");
            assert_eq!(code, Some(0), "{stderr}");
        }
    }
}
