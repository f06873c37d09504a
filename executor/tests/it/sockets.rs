//! Sockets in a step (rows EXC-27, SVC-16).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use lamina_executor::ExitStatus;
use lamina_executor::MountKind;
use lamina_executor::OnConnect;
use lamina_executor::ProcessSpec;
use lamina_executor::StepMount;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::Fixture;
use crate::PROGRAM;
use crate::fixture;
use crate::status;

const SOCKET: &str = "/run/agent/socket.0";

/// Answers a question with itself, in capitals.
fn echo() -> OnConnect {
    Arc::new(|mut stream: UnixStream| {
        Box::pin(async move {
            let mut question = String::new();
            stream.read_to_string(&mut question).await.expect("asked");
            let answer = question.to_uppercase();
            stream.write_all(answer.as_bytes()).await.expect("told");
        })
    })
}

/// A socket at [`SOCKET`].
fn socket(on_connect: OnConnect, owner: (u32, u32), mode: u32) -> StepMount {
    StepMount {
        dest: SOCKET.to_owned(),
        kind: MountKind::Socket {
            on_connect,
            uid: owner.0,
            gid: owner.1,
            mode,
        },
        readonly: false,
    }
}

/// What the test program needs to run in the step: itself and the host's libraries.
fn program() -> Vec<StepMount> {
    let folder = Path::new(PROGRAM).parent().expect("a folder");
    [
        (Path::new("/usr/lib"), "/lib"),
        (Path::new("/usr/lib64"), "/lib64"),
        (folder, "/program"),
    ]
    .into_iter()
    .filter_map(|(host, dest)| {
        let dir = std::fs::File::open(host).ok()?.into();
        let selector = String::new();
        Some(StepMount {
            dest: dest.to_owned(),
            kind: MountKind::Directory { dir, selector },
            readonly: true,
        })
    })
    .collect()
}

fn asking(world: &Fixture, user: &str, question: &str, mount: StepMount) -> ProcessSpec {
    let name = Path::new(PROGRAM).file_name().expect("a name");
    let program_path = format!("/program/{}", name.to_string_lossy());
    let mut spec = world.spec(&[&program_path, "ask", SOCKET, question]);
    spec.user = user.to_owned();
    spec.mounts = program();
    spec.mounts.push(mount);
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_talk_to_the_caller() {
    let Some(world) = fixture() else { return };
    let spec = asking(&world, "", "question", socket(echo(), (0, 0), 0o600));
    let (finished, stdout, stderr) = world.run(spec).await;
    assert_eq!(
        (status(finished), stdout.as_str()),
        (ExitStatus::Code(0), "QUESTION"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_and_mode_say_who_may_connect() {
    let Some(world) = fixture() else { return };
    for (name, owner, mode, fine) in [
        ("owner", (1000, 1001), 0o600, true),
        ("group", (5, 1001), 0o660, true),
        ("everybody", (0, 0), 0o666, true),
        ("nobody", (0, 0), 0o600, false),
        ("readers only", (1000, 1001), 0o444, false),
    ] {
        let spec = asking(&world, "app", "x", socket(echo(), owner, mode));
        let (finished, stdout, stderr) = world.run(spec).await;
        let code = status(finished);
        let expected = if fine { "X" } else { "" };
        assert_eq!(stdout, expected, "{name}: {stderr}");
        assert_eq!(code == ExitStatus::Code(0), fine, "{name}: {stderr}");
    }
    let mut spec = world.shell("stat -c '%F %u:%g %a' /run/agent/socket.0");
    spec.mounts = vec![socket(echo(), (7, 8), 0o640)];
    assert_eq!(world.run(spec).await.1, "socket 7:8 640\n");
}

/// A connection that is never served to its end goes with the step, and so does the file.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_socket() {
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let Some(world) = fixture() else { return };
    let (told, asked) = tokio::sync::mpsc::unbounded_channel();
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let stuck: OnConnect = Arc::new(move |stream: UnixStream| {
        let (told, count) = (told.clone(), Count(Arc::clone(&count)));
        Box::pin(async move {
            let _held = (stream, count);
            told.send(()).expect("somebody waits");
            std::future::pending::<()>().await;
        })
    });
    let mut spec = asking(&world, "", "x", socket(stuck, (0, 0), 0o600));
    let ask = spec.args.join(" ");
    // The shell goes when its standard input ends, whatever its child does.
    spec.args = ["/bin/sh", "-c", &format!("{ask} & read line")]
        .map(str::to_owned)
        .into();
    let progress = lamina_types::Progress::default();
    let cancel = lamina_types::CancelToken::new();
    let (process, stdin, _stdout) = world
        .executor
        .spawn(spec, &progress, &cancel)
        .expect("spawned");
    let mut asked = asked;
    asked.recv().await.expect("connected");
    drop(stdin);
    assert_ne!(status(process.wait().await), ExitStatus::Signal(9));
    assert_eq!(ended.load(Ordering::SeqCst), 1, "the connection is dropped");
    let sockets = world.state.path().join("run/sockets");
    assert_eq!(std::fs::read_dir(sockets).expect("a folder").count(), 0);
}
