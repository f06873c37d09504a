//! Containers and their processes for every user and by every runtime (rows EXE-01 to EXE-24).

use lamina_client::Bytes;
use lamina_client::Container;
use lamina_client::ContainerProcess;
use lamina_client::ProcessEvent;
use lamina_proto::gateway;
use lamina_proto::pb;

use super::Wire;
use super::base_tree;
use super::with_daemon_of;
use crate::harness::User;
use crate::harness::program;
use crate::harness::report;

/// The code of who was ended by SIGTERM.
const TERMINATED: u32 = 128 + 15;

fn meta(script: &str) -> pb::Meta {
    pb::Meta {
        args: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        cwd: "/".to_owned(),
        ..pb::Meta::default()
    }
}

fn init(script: &str) -> gateway::InitMessage {
    gateway::InitMessage {
        meta: Some(meta(script)),
        fds: vec![0, 1, 2],
        ..gateway::InitMessage::default()
    }
}

fn on_terminal(script: &str) -> gateway::InitMessage {
    gateway::InitMessage {
        tty: true,
        ..init(script)
    }
}

fn as_user(user: &str, script: &str) -> gateway::InitMessage {
    let meta = pb::Meta {
        user: user.to_owned(),
        ..meta(script)
    };
    gateway::InitMessage {
        meta: Some(meta),
        ..init(script)
    }
}

/// A container on the busybox tree, with a cache and a file system in memory.
async fn container(wire: &Wire) -> Container {
    let mount = |dest: &str, kind: pb::MountType| pb::Mount {
        dest: dest.to_owned(),
        mount_type: kind.into(),
        ..pb::Mount::default()
    };
    let root = pb::Mount {
        result_id: wire.reference(&base_tree()).await,
        ..mount("/", pb::MountType::Bind)
    };
    let cache = pb::Mount {
        cache_opt: Some(pb::CacheOpt {
            id: "shared".to_owned(),
            sharing: 0,
        }),
        ..mount("/c", pb::MountType::Cache)
    };
    let request = gateway::NewContainerRequest {
        mounts: vec![root, cache, mount("/t", pb::MountType::Tmpfs)],
        ..gateway::NewContainerRequest::default()
    };
    wire.gateway.new_container(request).await.expect("made")
}

async fn start(container: &Container, init: gateway::InitMessage) -> ContainerProcess {
    container.start(init).await.expect("started")
}

/// Says something to a process and closes its input.
async fn say(process: &ContainerProcess, text: &'static str) {
    let input = process.input();
    input.write(Bytes::from_static(text.as_bytes())).await;
    input.close().await;
}

/// Reads until the output ends with `end`, or all is read; returns the output and the code.
async fn read(process: &mut ContainerProcess, end: &str) -> (String, Option<u32>) {
    let (mut said, mut code) = (String::new(), None);
    while end.is_empty() || !said.ends_with(end) {
        match process.next().await.expect("the stream lives") {
            Some(ProcessEvent::Output { data, .. }) => said += &String::from_utf8_lossy(&data),
            Some(ProcessEvent::Exited(exit)) => code = Some(exit.code),
            Some(ProcessEvent::Closed { .. }) => {}
            None => break,
        }
    }
    (said, code)
}

/// Starts a process, closes its input, and returns what it says.
async fn run(container: &Container, init: gateway::InitMessage) -> (String, Option<u32>) {
    let mut process = start(container, init).await;
    process.input().close().await;
    read(&mut process, "").await
}

/// Rows EXE-02, EXE-09 to EXE-16 and EXE-21: the process that is the container.
async fn check_first(wire: &Wire) {
    let one = container(wire).await;
    let script = "read x; echo got $x; id -u; echo err >&2; echo mark >>/c/mark; touch /made /t/made; \
                  exit 7";
    let mut process = start(&one, init(script)).await;
    say(&process, "this\n").await;
    let (said, code) = read(&mut process, "").await;
    let mut said: Vec<&str> = said.lines().collect();
    said.sort_unstable();
    assert_eq!((said, code), (vec!["0", "err", "got this"], Some(7)));
    one.release().await.expect("released");
    // Of the tree there is a fresh copy each time, of the cache the same.
    let other = container(wire).await;
    let look = "trap 'exit 143' TERM; ls /made /t/made 2>/dev/null; cat /c/mark; sleep 1000 & wait";
    let mut process = start(&other, init(look)).await;
    assert_eq!(read(&mut process, "mark\n").await.0, "mark\n");
    // The kernel keeps signals without a handler from the first process, so this one is heard.
    process.input().signal("TERM").await;
    let (said, code) = read(&mut process, "").await;
    assert_eq!((said.as_str(), code), ("", Some(TERMINATED)));
    other.release().await.expect("released");
}

/// Rows EXE-09, EXE-17 to EXE-19 and EXE-24: processes that enter it.
async fn check_further(wire: &Wire) {
    let one = container(wire).await;
    let mut first = start(&one, init("echo up; exec sleep 1000")).await;
    assert_eq!(read(&mut first, "up\n").await.0, "up\n");
    let script = "echo made >/file; readlink /proc/1/exe; exit 3";
    let (said, code) = run(&one, init(script)).await;
    assert_eq!((said.as_str(), code), ("/bin/busybox\n", Some(3)));
    let file = one.read_file(0, "/file", None).await;
    assert_eq!(file.expect("there"), b"made\n");
    let mut terminal = start(&one, on_terminal("tty; read x; stty size; exit 5")).await;
    let (said, _) = read(&mut terminal, "\r\n").await;
    assert_eq!(said, "/dev/pts/0\r\n");
    terminal.input().resize(33, 44).await;
    terminal.input().write(Bytes::from_static(b"go\n")).await;
    let (said, code) = read(&mut terminal, "").await;
    assert_eq!((said.as_str(), code), ("go\r\n33 44\r\n", Some(5)));
    let mut waiting = start(&one, init("echo up; exec sleep 1000")).await;
    read(&mut waiting, "up\n").await;
    waiting.input().signal("TERM").await;
    assert_eq!(read(&mut waiting, "").await.1, Some(TERMINATED));
    one.release().await.expect("released");
}

/// Runs both on a daemon of `user`, which has the ids that `check` expects.
fn check_user(user: User, check: impl AsyncFnOnce(&Wire)) {
    with_daemon_of(
        user,
        |_| Vec::new(),
        async |wire: &Wire| {
            check_first(wire).await;
            check_further(wire).await;
            check(wire).await;
        },
    );
}

#[test]
fn of_a_user_with_subordinate_ids() {
    check_user(User::Subordinate, async |wire| {
        let one = container(wire).await;
        let script = "id -u; id -g; touch /t/mine; stat -c '%u %g' /t/mine";
        let script = format!("chmod 777 /t 2>/dev/null; {script}");
        let (said, code) = run(&one, as_user("1234:1235", &script)).await;
        assert_eq!((said.as_str(), code), ("1234\n1235\n1234 1235\n", Some(0)));
        one.release().await.expect("released");
    });
}

#[test]
fn of_a_user_with_a_single_id() {
    check_user(User::SingleId, async |wire| {
        let one = container(wire).await;
        let refused = one.start(as_user("1234:1235", "true")).await;
        let error = refused.expect_err("one id only").to_string();
        assert!(
            error.contains("running as user 1234 and group 1235"),
            "{error}"
        );
        assert!(error.contains("subuid"), "{error}");
        one.release().await.expect("released");
    });
}

/// Also on terminals, and with further processes.
#[test]
fn by_other_runtimes() {
    for name in ["crun", "runc"] {
        if program(name).is_none() {
            report(&format!("skipped: {name} is missing"));
            continue;
        }
        let flags = |_: &_| vec![format!("--oci-worker-binary={name}")];
        with_daemon_of(User::Root, flags, async |wire: &Wire| {
            check_first(wire).await;
            check_further(wire).await;
        });
    }
}
