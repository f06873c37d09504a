//! Files of the host that its administrator lets steps have (rows EXC-35 and EXC-38).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use lamina_executor::DeviceNode;
use lamina_executor::ExitStatus;
use lamina_executor::HostDevices;
use lamina_executor::HostMount;
use lamina_executor::ProcessSpec;

use crate::common::BUSYBOX;
use crate::fixture;
use crate::rootless::output;
use crate::rootless::public_program;
use crate::rootless::tells_a_lack;
use crate::skip;

/// A device that steps cannot open otherwise.
const DEVICE: &str = "/dev/fuse";

#[tokio::test(flavor = "multi_thread")]
async fn devices_come_with_what_belongs_to_them() {
    let Some(world) = fixture() else { return };
    if !Path::new(DEVICE).exists() {
        return skip("no /dev/fuse").unwrap_or_default();
    }
    let library = world.state.path().join("library");
    std::fs::write(&library, "driver").expect("written");
    let devices = HostDevices {
        env: vec!["GPU=all".to_owned()],
        nodes: vec![DeviceNode {
            path: DEVICE.into(),
            dest: "/dev/gpu/0".to_owned(),
            access: "r".to_owned(),
        }],
        mounts: vec![HostMount {
            path: library,
            dest: "/usr/lib/driver".to_owned(),
            readonly: true,
            nosuid: true,
            nodev: true,
            noexec: false,
        }],
        groups: vec![4711],
        left_out: Vec::new(),
    };
    let script = "echo $GPU; cat /usr/lib/driver; echo; id -G; exec 3< /dev/gpu/0 && echo read; \
                  (: > /dev/gpu/0) 2> /dev/null || echo refused; touch /usr/lib/driver 2> /dev/null \
                  || echo sealed";
    let with = |devices| ProcessSpec {
        devices,
        env: vec!["GPU=none".to_owned()],
        ..world.shell(script)
    };
    let (finished, stdout, stderr) = world.run(with(devices.clone())).await;
    let finished = finished.expect("runs");
    assert_eq!(finished.status, ExitStatus::Code(0), "{stderr}");
    assert_eq!(
        stdout,
        "all\ndriver\n0 4711 10\nread\nrefused\nsealed\n".replace("0 4711 10", &groups(&stdout))
    );
    let left = finished.root.expect("a layer");
    let tree = left.tree();
    let gone = tree.lookup(
        &lamina_types::RootedPath::new("/usr/lib/driver"),
        lamina_snapshotter::Follow::Last,
    );
    assert!(gone.is_err(), "its place is removed again");
    let mut missing = devices;
    missing.nodes[0].path = "/dev/no-such-device".into();
    let (finished, ..) = world.run(with(missing)).await;
    let Err(error) = finished else {
        panic!("it ran")
    };
    assert!(
        error.to_string().starts_with("/dev/no-such-device: "),
        "{error}"
    );
}

/// Returns the line of groups, which has to have the device's.
fn groups(stdout: &str) -> String {
    let line = stdout.lines().nth(2).unwrap_or_default();
    let has = line.split(' ').any(|group| group == "4711");
    assert!(has, "{line}");
    line.to_owned()
}

/// Gives a namespace an emulator for riscv64 that only says what it was to run; the kernel looks for
/// it when it is needed, in the root of the step.
const WITH_EMULATOR: &str = r#"
mount -t binfmt_misc emulators /proc/sys/fs/binfmt_misc || exit 77
register() { echo "$1" > /proc/sys/fs/binfmt_misc/register; }
register ':lamina:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00::'"$1:" || exit 77
shift
exec "$@"
"#;

/// The step makes a program of a machine that this one is not, and runs it.
const FOREIGN: &str = r"
printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\002\000\363\000' > /foreign
chmod 755 /foreign
/foreign one two
";

#[test]
fn emulators_work_where_the_kernel_looks_inside() {
    if let Some(reason) = crate::obstacle() {
        return skip(reason).unwrap_or_default();
    }
    if !nix::unistd::geteuid().is_root() || !Path::new("/usr/bin/unshare").exists() {
        return skip("not root, or no unshare").unwrap_or_default();
    }
    let state = crate::state_dir();
    // What busybox does follows from its name.
    let emulator = state.path().join("echo");
    std::fs::write(&emulator, std::fs::read(BUSYBOX).expect("busybox")).expect("copied");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&emulator, mode).expect("executable");
    for (given, said) in [
        (true, "/foreign one two\nCode(0)\n"),
        (false, "Code(127)\n"),
    ] {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["-U", "-r", "-m", "/bin/sh", "-c", WITH_EMULATOR, "sh"]);
        command.arg(&emulator).arg(public_program(state.path()));
        command.args(["as-user", &state.path().display().to_string(), FOREIGN]);
        if given {
            command.env("LAMINA_TEST_EMULATOR", &emulator);
        }
        let (code, stdout, stderr) = output(&mut command);
        if code == Some(77) || tells_a_lack(&stderr) {
            return skip(&format!("no emulators in user namespaces: {stderr}")).unwrap_or_default();
        }
        assert!(stdout.ends_with(said), "given: {given}: {stdout} {stderr}");
    }
}
