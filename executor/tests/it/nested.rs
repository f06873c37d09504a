//! Steps of an ordinary user where something else has made namespaces already.

use std::path::Path;
use std::process::Command;

use crate::rootless::USER;
use crate::rootless::WITH_SUBORDINATE_IDS;
use crate::rootless::output;
use crate::rootless::public_program;
use crate::rootless::state;
use crate::rootless::tells_a_lack;
use crate::skip;

/// Says what of this the machine lacks.
fn lacks(tools: &[&str]) -> bool {
    if !nix::unistd::geteuid().is_root() {
        return skip::<()>("not root, so cannot become another user").is_none();
    }
    if let Some(reason) = crate::obstacle() {
        return skip::<()>(reason).is_none();
    }
    let missing = tools.iter().find(|tool| !Path::new(tool).exists());
    missing.is_some_and(|tool| skip::<()>(&format!("no {tool}")).is_none())
}

#[test]
fn rootlesskits_namespaces_are_used() {
    let kit = "/usr/bin/rootlesskit";
    if lacks(&[kit, "/usr/bin/newuidmap", "/usr/bin/unshare", "/etc/subuid"]) {
        return;
    }
    let (state, files) = (state(), crate::state_dir());
    let script = "touch /x && chown 5:6 /x && stat -c '%u %g' /x; grep -c . /proc/self/uid_map";
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["-m", "/bin/sh", "-c", WITH_SUBORDINATE_IDS, "sh"]);
    command.arg(files.path()).args([USER, kit, "--net=host"]);
    command.arg(public_program(state.path()));
    command.args(["as-user", &state.path().display().to_string(), script]);
    let (code, stdout, stderr) = output(command.current_dir("/").env("HOME", state.path()));
    if tells_a_lack(&stderr) {
        return skip(&stderr).unwrap_or_default();
    }
    let expected = "Subordinate { uids: 65537, gids: 65537 }\n5 6\n2\nCode(0)\n";
    assert_eq!((code, stdout.as_str()), (Some(0), expected), "{stderr}");
}

/// A container's pid and mount namespaces, in which parts of /proc may be covered; then the user.
const CONTAINER: &str = r#"
mount --make-rprivate /
[ "$1" = open ] || mount -t tmpfs cover /proc/fs
user=$2 && shift 2
exec setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"
"#;

#[test]
fn in_a_container_proc_has_to_be_uncovered() {
    if lacks(&["/usr/bin/unshare", "/usr/bin/setpriv"]) {
        return;
    }
    for (proc, expected) in [("open", Some(0)), ("covered", Some(1))] {
        let state = state();
        let mut command = Command::new("/usr/bin/unshare");
        command.args([
            "-m",
            "-p",
            "-f",
            "--mount-proc",
            "/bin/sh",
            "-c",
            CONTAINER,
            "sh",
        ]);
        command.args([proc, USER]).arg(public_program(state.path()));
        let folder = state.path().display().to_string();
        command.args(["as-user", &folder, "id -u"]).current_dir("/");
        let (code, stdout, stderr) = output(&mut command);
        if tells_a_lack(&stderr) {
            return skip(&stderr).unwrap_or_default();
        }
        assert_eq!(code, expected, "{proc}: {stdout} {stderr}");
        let hint = stderr.contains("parts of /proc are covered here");
        assert_eq!(hint, proc == "covered", "{stderr}");
        assert_eq!(stdout.ends_with("0\nCode(0)\n"), proc == "open", "{stdout}");
    }
}
