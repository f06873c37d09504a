//! Ways in which a daemon is started and reached (rows NET-01, NET-02, FLG-04, FLG-07, FLG-16).

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use super::rig::Daemon;
use super::rig::copy_surroundings;
use super::rig::daemon_of_root;
use super::rig::wrapped;
use crate::harness;
use crate::harness::Finished;
use crate::harness::Lamina;
use crate::harness::User;
use crate::harness::may_act_as;
use crate::harness::program;
use crate::harness::report;
use crate::harness::skip;
use crate::waiting::wait_until;

/// How long a daemon waits for a state folder that another one has, and some more.
const LOCK_PATIENCE: Duration = Duration::from_secs(45);

/// Runs `test` with a daemon of each kind of user's, which is yet to be launched.
fn for_every_user(test: fn(&mut Daemon, User)) {
    harness::for_every_user(Daemon::prepare, |user, mut daemon| test(&mut daemon, user));
}

/// An authority, a certificate for this machine that is good for both sides, and one that another
/// authority signed.
const CERTIFICATES: &str = r#"
set -e
cd "$1"
new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
echo 'subjectAltName=DNS:localhost,IP:127.0.0.1' > extensions
for folder in ours theirs; do
    mkdir $folder
    openssl req -x509 $new -keyout $folder/ca.key -out $folder/ca.pem -days 2 -subj /CN=$folder
    openssl req $new -keyout $folder/key.pem -out request -subj /CN=localhost
    openssl x509 -req -in request -CA $folder/ca.pem -CAkey $folder/ca.key -CAcreateserial \
        -days 2 -extfile extensions -out $folder/cert.pem
done
cp ours/ca.pem theirs/ca.pem
"#;

fn make_certificates(folder: &Path) {
    let mut command = Command::new("sh");
    command.args(["-c", CERTIFICATES, "sh"]).arg(folder);
    Finished::new(command.output().expect("sh starts")).ok();
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("an address").port()
}

#[test]
fn certificates_guard_tcp_and_sockets_need_none() {
    let mut daemon = match Daemon::prepare(User::Root) {
        Ok(daemon) if program("openssl").is_some() => daemon,
        Ok(_) => skip!("openssl is missing"),
        Err(reason) => skip!("{reason}"),
    };
    let dir = daemon.lamina.dir().to_owned();
    make_certificates(&dir);
    let file = |name: &str| dir.join("ours").join(name).display().to_string();
    let tcp = format!("tcp://127.0.0.1:{}", free_port());
    daemon.launch(&[
        "--addr",
        &tcp,
        "--tlscacert",
        &file("ca.pem"),
        "--tlscert",
        &file("cert.pem"),
        "--tlskey",
        &file("key.pem"),
    ]);
    // The socket beside it is for those who may open it.
    daemon.run(&["debug", "info"]).ok();
    let ask = |args: &[&str]| {
        let mut all = vec!["debug", "info", "--addr", &tcp];
        all.extend_from_slice(args);
        daemon.run(&all)
    };
    ask(&["--tlsdir", "ours"]).ok();
    ask(&["--tlsdir", "ours", "--tlsservername", "localhost"]).ok();
    for (name, args) in [
        ("no TLS", &[][..]),
        ("no certificate", &["--tlscacert", "ours/ca.pem"]),
        ("another authority's certificate", &["--tlsdir", "theirs"]),
        (
            "another name",
            &["--tlsdir", "ours", "--tlsservername", "elsewhere.example"],
        ),
    ] {
        let refused = ask(args);
        assert_eq!(refused.code, Some(1), "{name}: {}", refused.stderr);
        refused.fails_with(&["cannot reach the daemon", &tcp]);
    }
    ask(&["--tlsdir", "ours"]).ok();
    daemon.stop();
}

#[test]
fn tcp_without_certificates_works_and_is_warned_of() {
    let mut daemon = match Daemon::prepare(User::Root) {
        Ok(daemon) => daemon,
        Err(reason) => skip!("{reason}"),
    };
    let tcp = format!("tcp://127.0.0.1:{}", free_port());
    daemon.launch(&["--addr", &tcp]);
    daemon.run(&["debug", "info", "--addr", &tcp]).ok();
    daemon.wait_for_log("TLS is not enabled");
    daemon.stop();
}

#[test]
fn a_group_may_be_let_in() {
    let mut daemon = match Daemon::prepare(User::Root) {
        Ok(daemon) => daemon,
        Err(reason) => skip!("{reason}"),
    };
    for (flags, mode, group) in [(&[][..], 0o600, 0), (&["--group", "4321"], 0o660, 4321)] {
        daemon.launch(flags);
        let socket = fs::metadata(daemon.socket()).expect("a socket");
        let permissions = socket.permissions().mode() & 0o777;
        assert_eq!((permissions, socket.gid()), (mode, group), "{flags:?}");
        daemon.wait_until_open();
        daemon.stop();
    }
}

/// As systemd does it: descriptor 3, and the process id in the environment. The ordinary user's
/// daemon goes on in a child.
#[test]
fn a_passed_socket_is_served() {
    const PASS: &str = "exec 3<&0; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" < /dev/null";
    for_every_user(|daemon, user| {
        let listener = UnixListener::bind(daemon.socket()).expect("bound");
        let everyone = fs::Permissions::from_mode(0o666);
        fs::set_permissions(daemon.socket(), everyone).expect("permissions");
        let inner = daemon.command(&["--addr", "fd://"]);
        let mut command = wrapped(&inner, "sh", &["-c", PASS, "sh"]);
        command.stdin(OwnedFd::from(listener));
        daemon.launch_command(command);
        daemon.wait_for_log("running server on fd://3");
        let workers = daemon.run(&["debug", "workers"]);
        assert_eq!(workers.code, Some(0), "{user:?}: {}", workers.stderr);
        // It is not the daemon's to remove.
        assert!(daemon.socket().exists());
        daemon.stop_leaving_the_socket();
        assert!(daemon.socket().exists(), "{user:?}");
    });
}

#[test]
fn the_service_manager_hears_when_builds_can_run() {
    for_every_user(|daemon, user| {
        let path = daemon.lamina.dir().join("notify");
        let manager = UnixDatagram::bind(&path).expect("bound");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("permissions");
        manager.set_nonblocking(true).expect("set");
        let address = daemon.address();
        let mut command = daemon.command(&["--addr", &address]);
        command.env("NOTIFY_SOCKET", &path);
        daemon.launch_command(command);
        let mut heard = String::new();
        let mut hears = |word: &str| {
            let mut buffer = [0; 256];
            while let Ok(length) = manager.recv(&mut buffer) {
                heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
            heard.contains(word)
        };
        wait_until(&format!("{user:?} is ready"), || hears("READY=1"));
        daemon.stop();
        assert!(hears("STOPPING=1"), "{user:?}");
    });
}

/// Runs `lamina` for the daemon's user, who names no daemon.
fn run_by_default(daemon: &Daemon, args: &[&str]) -> Finished {
    let mut command = daemon.client(args);
    command.env_remove("BUILDKIT_HOST");
    command.env("XDG_RUNTIME_DIR", daemon.lamina.dir().join("run"));
    Finished::new(command.output().expect("starts"))
}

/// Returns how many builds the user's daemon remembers.
fn builds_of(daemon: &Daemon) -> usize {
    let listed = run_by_default(daemon, &["history", "ls"]).ok();
    let listed = String::from_utf8(listed.stdout).expect("text");
    listed.lines().count() - 1
}

#[test]
fn the_usual_socket_of_an_ordinary_user_is_found() {
    for user in [User::SingleId, User::Subordinate] {
        let mut daemon = match Daemon::prepare(user) {
            Ok(daemon) => daemon,
            Err(reason) => {
                report(&format!("skipped: {user:?}: {reason}"));
                continue;
            }
        };
        daemon.lamina.write("run/buildkit/.keep", "");
        let runtime = daemon.lamina.dir().join("run");
        let socket = runtime.join("buildkit/buildkitd.sock");
        std::os::unix::fs::symlink(&socket, daemon.socket()).expect("linked");
        let mut command = daemon.command(&[]);
        command.env("XDG_RUNTIME_DIR", &runtime);
        daemon.launch_command(command);
        daemon
            .lamina
            .write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
        // The daemon builds unless something says otherwise.
        run_by_default(&daemon, &["build", "-o", "out", "ctx"]).ok();
        assert_eq!(builds_of(&daemon), 1, "{user:?}");
        let root = daemon.lamina.dir().join("other").display().to_string();
        for options in [&["--embedded", "--root", &root][..], &["--root", &root]] {
            let mut args = vec!["build", "-o", "out", "ctx"];
            args.extend_from_slice(options);
            run_by_default(&daemon, &args).ok();
        }
        assert_eq!(builds_of(&daemon), 1, "{user:?}");
        fs::remove_file(daemon.socket()).expect("removed");
        daemon.stop();
        assert!(!socket.exists());
        // Somebody else's socket is not dialled.
        let trap = UnixListener::bind(&socket).expect("bound");
        let everyone = fs::Permissions::from_mode(0o666);
        fs::set_permissions(&socket, everyone).expect("permissions");
        trap.set_nonblocking(true).expect("set");
        run_by_default(&daemon, &["build", "-o", "out", "ctx"]).ok();
        let dialled = trap.accept().map(drop);
        assert!(dialled.is_err(), "{user:?}");
    }
}

#[test]
fn rootlesskit_is_a_home_too() {
    let mut daemon = match Daemon::prepare(User::Subordinate) {
        Ok(daemon) if program("rootlesskit").is_some() => daemon,
        Ok(_) => skip!("rootlesskit is missing"),
        Err(reason) => skip!("{reason}"),
    };
    let address = daemon.address();
    let inner = daemon.command(&["--addr", &address]);
    daemon.lamina.write("run/.keep", "");
    let mut command = Command::new(inner.get_program());
    let lamina = crate::harness::lamina().as_os_str();
    for word in inner.get_args() {
        if word == lamina {
            command.args(["rootlesskit", "--net=host"]);
        }
        command.arg(word);
    }
    copy_surroundings(&inner, &mut command);
    command.env("XDG_RUNTIME_DIR", daemon.lamina.dir().join("run"));
    daemon.launch_command(command);
    let dockerfile = "FROM base\nRUN echo made && test $(id -u) = 0 && chown 7:8 /etc/passwd\n";
    let built = daemon.lamina_build(dockerfile, &["-o", "type=tar,dest=out.tar"]);
    assert!(built.ok().printed("made"));
    let again = daemon.lamina_build(dockerfile, &["-o", "type=tar,dest=out.tar"]);
    assert!(again.ok().cached() >= 1);
    daemon.stop();
}

#[test]
fn what_is_asked_before_the_engine_is_ready_is_answered_later() {
    let mut first = daemon_of_root!();
    first.run(&["debug", "workers"]).ok();
    let mut second = Daemon::prepare(User::Root).expect("as before");
    let root = first.lamina.root().display().to_string();
    let address = second.address();
    let args = ["daemon", "--root", &root, "--addr", &address];
    let command = second.lamina.command(&args);
    second.launch_command(command);
    second.wait_for_log("waiting for another process");
    let mut waiting = second.client(&["debug", "workers", "--format", "json"]);
    waiting.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut waiting = waiting.spawn().expect("starts");
    std::thread::sleep(Duration::from_millis(200));
    assert!(waiting.try_wait().expect("a status").is_none(), "too early");
    first.send("TERM");
    first.ended_well();
    let answered = waiting.wait_with_output().expect("a status");
    let answered = Finished::new(answered).ok();
    let workers: serde_json::Value = serde_json::from_slice(&answered.stdout).expect("JSON");
    assert_eq!(workers.as_array().map(Vec::len), Some(1), "{workers}");
    second.stop();
    first.lamina.assert_clean();
}

#[test]
fn a_state_folder_has_one_daemon() {
    let mut first = daemon_of_root!();
    let second = Lamina::new(User::Root);
    let root = first.lamina.root().display().to_string();
    let address = format!("unix://{}", second.dir().join("daemon.sock").display());
    let begin = Instant::now();
    let refused = second.run_within("60", &["daemon", "--root", &root, "--addr", &address]);
    assert!(begin.elapsed() < LOCK_PATIENCE, "{:?}", begin.elapsed());
    let waiting = format!(
        "waiting for another process (pid {}) that uses {root}",
        first.id()
    );
    refused.fails_with(&[&waiting, "could not lock"]);
    assert!(!second.dir().join("daemon.sock").exists());
    first.run(&["debug", "workers"]).ok();
    first.stop();
}

#[test]
fn the_machine_is_judged_for_every_user() {
    let prepare = |user| may_act_as(user).map(|()| Lamina::new(user));
    harness::for_every_user(prepare, |user, lamina| {
        let judged = lamina.run(&["doctor"]).ok();
        let table = String::from_utf8(judged.stdout).expect("text");
        let root = lamina.root().display().to_string();
        let parts = [
            "namespace",
            "overlayfs",
            "network",
            "builds can run here",
            &root,
        ];
        for part in parts {
            assert!(table.contains(part), "{user:?}: {part} is not in\n{table}");
        }
        assert!(!table.contains("FAILED"), "{user:?}:\n{table}");
        // Root is on the host's network unless something else is configured.
        let unusual = user == User::Root && table.contains("pasta");
        assert!(!unusual, "{table}");
        assert!(!lamina.root().exists(), "{user:?}: it was not there before");
        lamina.assert_clean();
    });
}

#[test]
fn a_folder_that_cannot_be_used_is_told_with_what_to_do() {
    let lamina = match may_act_as(User::Root) {
        Ok(()) => Lamina::new(User::Root),
        Err(reason) => skip!("{reason}"),
    };
    lamina.write("file", "no folder");
    let judged = lamina.run(&["doctor", "--root", "file/state"]);
    assert_eq!(judged.code, Some(1), "{}", judged.stderr);
    let table = String::from_utf8(judged.stdout).expect("text");
    for part in [
        "file/state: not a directory",
        "choose another folder with --root",
    ] {
        assert!(
            table.to_lowercase().contains(part),
            "{part} is not in\n{table}"
        );
    }
}
