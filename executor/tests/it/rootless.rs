//! Steps of an ordinary user, with a single id and with subordinate ones.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::PROGRAM;
use crate::skip;

/// A user that owns nothing here.
pub(crate) const USER: &str = "47110";

/// Runs the test program as [`USER`]; `None` if that is impossible here.
fn as_user(dir: &Path, arguments: &[&str]) -> Option<Command> {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root, so cannot become another user");
    }
    if !Path::new("/usr/bin/setpriv").exists() {
        return skip("no setpriv");
    }
    if let Some(reason) = crate::obstacle() {
        return skip(reason);
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]);
    command
        .arg(public_program(dir))
        .args(arguments)
        .current_dir("/");
    Some(command)
}

/// A copy of the program where the user can reach it.
pub(crate) fn public_program(dir: &Path) -> PathBuf {
    let place = dir.join("program");
    let mut source = std::fs::File::open(PROGRAM).expect("the program");
    let mut copy = std::fs::File::create(&place).expect("a file");
    std::io::copy(&mut source, &mut copy).expect("copied");
    copy.set_permissions(std::fs::Permissions::from_mode(0o755))
        .expect("executable");
    place
}

/// Says whether a program ended for what this machine lacks, and for nothing else.
pub(crate) fn tells_a_lack(stderr: &str) -> bool {
    ["cannot make a user namespace", " is not available: "]
        .iter()
        .any(|lack| stderr.contains(lack))
}

pub(crate) fn state() -> tempfile::TempDir {
    let state = crate::state_dir();
    let id = USER.parse().expect("a number");
    std::os::unix::fs::chown(state.path(), Some(id), Some(id)).ok();
    state
}

pub(crate) fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_user_with_a_single_id_runs_steps() {
    let state = state();
    let script = "id -u; cat /proc/self/uid_map | tr -s ' '; touch /x && stat -c %u /x; echo > \
                  /dev/null && echo null; chown 5 /x 2>/dev/null || echo single";
    let Some(mut command) = as_user(
        state.path(),
        &["as-user", &state.path().display().to_string(), script],
    ) else {
        return;
    };
    let (code, stdout, stderr) = output(&mut command);
    if tells_a_lack(&stderr) {
        return skip(&stderr).unwrap_or_default();
    }
    let map = format!(" 0 {USER} 1");
    let expected = format!("Single\n0\n{map}\n0\nnull\nsingle\nCode(0)\n");
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), expected.as_str()),
        "{stderr}"
    );
}

/// Gives the user subordinate ids in a mount namespace of its own, then becomes it.
pub(crate) const WITH_SUBORDINATE_IDS: &str = r#"
set -e
cp /etc/passwd "$1/passwd"
echo "lamina-test:x:$2:$2::/:/bin/sh" >> "$1/passwd"
echo "lamina-test:300000:65536" > "$1/ranges"
chmod 644 "$1/passwd" "$1/ranges"
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/ranges" /etc/subuid
mount --bind "$1/ranges" /etc/subgid
user=$2 && shift 2
exec setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"
"#;

/// What [`run`] puts its state folder in the place of.
pub(crate) const STATE: &str = "STATE";

/// Runs the test program as [`USER`], with subordinate ids or a single one; says why if it cannot.
pub(crate) fn run(subordinate: bool, arguments: &[&str]) -> Option<(Option<i32>, String, String)> {
    let (state, files) = (state(), crate::state_dir());
    let path = state.path().display().to_string();
    let in_place = |argument: &&str| match *argument {
        STATE => path.clone(),
        other => other.to_owned(),
    };
    let arguments: Vec<String> = arguments.iter().map(in_place).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = if subordinate {
        with_subordinate_ids(state.path(), files.path(), &arguments)?
    } else {
        as_user(state.path(), &arguments)?
    };
    let (code, stdout, stderr) = output(&mut command);
    if tells_a_lack(&stderr) {
        return skip(&stderr);
    }
    Some((code, stdout, stderr))
}

/// Runs a script as a step of such a user's, and returns what it and the test program print.
pub(crate) fn shell(subordinate: bool, script: &str) -> Option<(String, String)> {
    let (_, stdout, stderr) = run(subordinate, &["as-user", STATE, script])?;
    Some((stdout, stderr))
}

fn with_subordinate_ids(state: &Path, files: &Path, arguments: &[&str]) -> Option<Command> {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root, so cannot become another user");
    }
    let tools = [
        "/usr/bin/newuidmap",
        "/usr/bin/newgidmap",
        "/usr/bin/unshare",
        "/etc/subuid",
        "/etc/subgid",
    ];
    if let Some(missing) = tools.iter().find(|tool| !Path::new(tool).exists()) {
        return skip(missing);
    }
    if let Some(reason) = crate::obstacle() {
        return skip(reason);
    }
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["-m", "/bin/sh", "-c", WITH_SUBORDINATE_IDS, "sh"]);
    command.arg(files).arg(USER).arg(public_program(state));
    command.args(arguments).current_dir("/");
    Some(command)
}

#[test]
fn a_user_with_subordinate_ids_runs_steps_with_any_owner() {
    let script = "id -u; touch /x && chown 5:6 /x && stat -c '%u %g' /x; su app -c id; cat \
                  /proc/self/setgroups";
    let Some((code, stdout, stderr)) = run(true, &["as-user", STATE, script]) else {
        return;
    };
    let expected = "Subordinate { uids: 65537, gids: 65537 }\n0\n5 6\n\
                    uid=1000(app) gid=1001(app) groups=10(wheel),1001(app)\nallow\nCode(0)\n";
    assert_eq!((code, stdout.as_str()), (Some(0), expected), "{stderr}");
}

#[test]
fn the_stand_in_passes_codes_and_signals_on() {
    let state = state();
    let Some(mut command) = as_user(state.path(), &["enter-and-exit", "42"]) else {
        return;
    };
    let (code, _, stderr) = output(&mut command);
    if tells_a_lack(&stderr) {
        return skip(&stderr).unwrap_or_default();
    }
    assert_eq!(code, Some(42), "{stderr}");
    let Some(mut command) = as_user(state.path(), &["enter-and-wait"]) else {
        return;
    };
    let mut child = command.stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = [0; 6];
    let mut stdout = child.stdout.take().expect("piped");
    std::io::Read::read_exact(&mut stdout, &mut line).expect("ready");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("sent");
    let status = child.wait().expect("ends");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(15)
    );
}
