//! Steps on every kind of mount: what they leave is the same, and a daemon that dies takes its mounts
//! along.

use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use lamina_executor::ExitStatus;
use lamina_executor::MountKind;
use lamina_executor::Root;
use lamina_executor::RuntimeKind;
use lamina_executor::StepMount;
use lamina_snapshotter::Backend;
use lamina_snapshotter::ChangeKind;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::XattrNamespace;
use lamina_types::CancelToken;

use crate::PROGRAM;
use crate::common::World;
use crate::obstacle;
use crate::rootless;
use crate::skip;
use crate::state_dir;

/// What a step does in these tests: new, changed, replaced, renamed and linked files.
const WORK: &str = "set -e; echo new > /tmp/f; echo more >> /etc/passwd; rm -r /usr; mkdir -m 711 /usr; \
                    echo x > /usr/x; mv /etc/group /etc/renamed; ln /tmp/f /tmp/g; chmod 700 /var; \
                    test ! -e /etc/group; cat /tmp/g";

/// What is left of it.
const LEFT: [&str; 9] = [
    "(/)",
    "(/etc)",
    "-/etc/group",
    "/etc/passwd",
    "/etc/renamed",
    "(/tmp)",
    "/tmp/f",
    "/tmp/g=/tmp/f",
    "/usr",
];

async fn check(backend: Backend) {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root").unwrap_or_default();
    }
    if let Some(reason) = obstacle() {
        return skip(reason).unwrap_or_default();
    }
    let state = state_dir();
    let (program, runtime) = (Path::new(PROGRAM), RuntimeKind::Builtin);
    let world = World::on(
        backend,
        state.path(),
        program,
        runtime,
        XattrNamespace::Trusted,
    );
    match world {
        Ok(world) => check_world(&world).await,
        Err(error) => skip(&error.to_string()).unwrap_or_default(),
    }
}

async fn check_world(world: &World) {
    let (finished, stdout, stderr) = world.run(world.shell(WORK)).await;
    let finished = finished.expect("runs");
    assert_eq!(finished.status, ExitStatus::Code(0), "{stderr}");
    assert_eq!(stdout, "new\n");
    let layer = finished.root.expect("a layer");
    let layer = layer.commit(&CancelToken::new()).expect("committed");
    let left = summary(&layer);
    assert_eq!(left[..9], LEFT, "{left:?}");
    assert_eq!(left[9..], ["/usr/x", "/var"], "{left:?}");
    let stack = world.base.push(layer);
    // The next step sees it as its root, which it cannot write to, and as a mount.
    let mut spec = world.shell("cat /tmp/g /m/usr/x; ls /etc/group 2>&1; echo y > /m/y || echo no");
    spec.root = Root::ReadOnly(stack.clone());
    spec.mounts = vec![view("/m", stack)];
    let (_, stdout, _) = world.run(spec).await;
    let expected = "new\nx\nls: /etc/group: No such file or directory\nno\n";
    assert_eq!(stdout, expected);
}

fn view(dest: &str, stack: LayerStack) -> StepMount {
    let selector = String::new();
    StepMount {
        dest: dest.to_owned(),
        kind: MountKind::View { stack, selector },
        readonly: true,
    }
}

fn summary(layer: &lamina_snapshotter::Layer) -> Vec<String> {
    let changes = layer.changes().expect("changes");
    let line = |change: lamina_snapshotter::Change| match change.kind {
        ChangeKind::Whiteout => format!("-{}", change.path),
        ChangeKind::Entry {
            implied_parent: true,
            ..
        } => format!("({})", change.path),
        ChangeKind::Entry { .. } => change.path.to_string(),
        ChangeKind::HardLink { first, .. } => format!("{}={first}", change.path),
    };
    changes
        .map(|change| line(change.expect("a change")))
        .filter(|line| !line.starts_with("-/usr/"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_on_overlayfs() {
    check(Backend::Overlay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_on_fuse() {
    check(Backend::Fuse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_on_copies() {
    check(Backend::Copy).await;
}

/// Lets an ordinary user open a device of its own in place of `/dev/fuse`, then becomes the user.
const WITH_FUSE: &str = r#"
set -e
mknod "$1/fuse" c 10 229
chmod 666 "$1/fuse"
mount --bind "$1/fuse" /dev/fuse
user=$2 && shift 2
exec setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"
"#;

#[test]
fn an_ordinary_user_runs_steps_on_fuse_and_on_copies() {
    if !nix::unistd::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        return skip("not root, or no /dev/fuse").unwrap_or_default();
    }
    if let Some(reason) = obstacle() {
        return skip(reason).unwrap_or_default();
    }
    for backend in ["fuse", "copy"] {
        let (state, files) = (rootless::state(), state_dir());
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["-m", "/bin/sh", "-c", WITH_FUSE, "sh"]);
        command.arg(files.path()).arg(rootless::USER);
        command.arg(rootless::public_program(state.path()));
        command
            .args(["as-user", &state.path().display().to_string(), WORK])
            .env("LAMINA_TEST_BACKEND", backend)
            .current_dir("/");
        let (code, stdout, stderr) = rootless::output(&mut command);
        if rootless::tells_a_lack(&stderr) {
            skip::<()>(&stderr);
            continue;
        }
        let expected = "Single\nnew\nCode(0)\n";
        assert_eq!((code, stdout.as_str()), (Some(0), expected), "{stderr}");
    }
}

/// Does nothing but ask the file system for things, for ever.
const BUSY: &str = "echo ready; i=0; while :; do mkdir /tmp/d$i; echo x > /tmp/d$i/f; rm -r \
                    /tmp/d$i; i=$((i+1)); done; : busy-on-fuse-of-a-dead-daemon";

#[test]
fn nothing_is_left_of_a_daemon_that_is_killed() {
    if !nix::unistd::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        return skip("not root, or no /dev/fuse").unwrap_or_default();
    }
    if let Some(reason) = obstacle() {
        return skip(reason).unwrap_or_default();
    }
    let state = state_dir();
    let mut daemon = Command::new(PROGRAM)
        .args(["shell", &state.path().display().to_string(), BUSY])
        .env("LAMINA_TEST_BACKEND", "fuse")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(daemon.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("read");
    let started = line == "ready\n";
    daemon.kill().expect("killed");
    let output = daemon.wait_with_output().expect("ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    if rootless::tells_a_lack(&stderr) {
        return skip(&stderr).unwrap_or_default();
    }
    assert!(started, "{stderr}");
    let begin = Instant::now();
    while !processes_of(BUSY).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(20), "a step hangs");
        std::thread::yield_now();
    }
}

/// Returns the processes that were started with `script`.
fn processes_of(script: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // Not of the daemon itself, which has the script as its third argument.
            arguments.starts_with(b"/bin/sh\0")
                && String::from_utf8_lossy(&arguments).contains(script)
        })
        .collect()
}
