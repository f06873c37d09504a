//! Steps in the sandbox of an OCI runtime.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_executor::ExecError;
use lamina_executor::ExitStatus;
use lamina_executor::JoinSpec;
use lamina_executor::MountKind;
use lamina_executor::ProcessStreams;
use lamina_executor::RuntimeKind;
use lamina_executor::StepMount;
use lamina_types::CancelToken;
use lamina_types::Progress;

use crate::Fixture;
use crate::containers::SOME;
use crate::containers::WAITS;
use crate::containers::all;
use crate::containers::command;
use crate::containers::join;
use crate::containers::joined;
use crate::containers::launch;
use crate::containers::line;
use crate::containers::script;
use crate::containers::start;
use crate::ends::processes_with;
use crate::fixture_with;
use crate::skip;
use crate::status;

/// Worlds for the runtimes that are installed.
fn worlds() -> Vec<(&'static str, Fixture)> {
    let mut worlds = Vec::new();
    for name in ["crun", "runc"] {
        let dirs = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
        if dirs.iter().any(|dir| Path::new(dir).join(name).exists()) {
            let kind = RuntimeKind::Oci(PathBuf::from(name));
            worlds.extend(fixture_with(kind).map(|world| (name, world)));
        } else {
            skip::<()>(&format!("no {name}"));
        }
    }
    worlds
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_in_another_runtime() {
    for (name, world) in worlds() {
        let script = "echo out; echo err >&2; id -u; hostname; head -1 /etc/hosts; cat /secret; df -k \
                      /t | awk 'NR>1 {print $2}'; grep -E '^(CapEff|Seccomp):' /proc/self/status; \
                      exit 7";
        let mut spec = world.shell(script);
        let secret = MountKind::Secret {
            data: b"s\n".to_vec(),
            uid: 0,
            gid: 0,
            mode: 0o400,
        };
        let tmpfs = MountKind::Tmpfs {
            size_bytes: Some(1 << 20),
        };
        spec.mounts = vec![
            StepMount {
                dest: "/secret".to_owned(),
                kind: secret,
                readonly: true,
            },
            StepMount {
                dest: "/t".to_owned(),
                kind: tmpfs,
                readonly: false,
            },
        ];
        let (finished, stdout, stderr) = world.run(spec).await;
        assert_eq!(
            status(finished),
            ExitStatus::Code(7),
            "{name}: {stdout} {stderr}"
        );
        let expected = "out\n0\nbuildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\ns\n1024\n\
                        CapEff:\t00000000a80425fb\nSeccomp:\t2\n";
        assert_eq!(stdout, expected, "{name}: {stderr}");
        assert_eq!(stderr, "err\n", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_another_runtime_too() {
    for (name, world) in worlds() {
        let cancel = CancelToken::new();
        let progress = Progress::new(Arc::new(crate::ends::CancelOnOutput(cancel.clone())));
        let marker = format!("84{}", std::process::id());
        let spec = world.shell(&format!("echo go; sleep {marker}"));
        let result = world.executor.run(spec, &progress, &cancel).await;
        assert!(result.is_err(), "{name}");
        assert_eq!(crate::ends::processes_with(&marker), 0, "{name}");
    }
}

/// Rows EXE-09, EXE-18 and EXE-20 to EXE-22.
#[tokio::test(flavor = "multi_thread")]
async fn further_processes_join_another_runtime() {
    for (name, world) in worlds() {
        // Joined while the runtime still makes the container.
        let (mut first, sandbox) = launch(&world, &format!("echo x >/made; {WAITS}")).await;
        let spec = JoinSpec {
            user: "app".to_owned(),
            cwd: "/tmp".to_owned(),
            env: vec!["A=1".to_owned()],
            ..script(
                "cat; id -u; id -G; pwd; echo $A; hostname; readlink /proc/self/ns/pid; exit 7",
            )
        };
        let mut further = join(&world, &sandbox, spec, SOME).await.expect(name);
        let mut input = further.stdin.take().expect("wanted");
        input.write_all(b"said\n").await.expect("written");
        drop(input);
        let out = all(&mut further.stdout).await;
        let (of_program, namespace) = out.rsplit_once("pid:").expect("a namespace");
        assert_eq!(
            of_program, "said\n1000\n1001 10\n/tmp\n1\nbuildkitsandbox\n",
            "{name}"
        );
        let finished = further.process.wait().await.expect(name);
        assert_eq!(finished.status, ExitStatus::Code(7), "{name}");
        line(&mut first.stdout).await;
        let look = "ls /made; readlink /proc/1/ns/pid; ls -A /proc/self/fd";
        let (_, out, err) = joined(&world, &sandbox, script(look)).await;
        let expected = format!("/made\npid:{namespace}0\n1\n2\n3\n");
        assert_eq!((out, err.as_str()), (expected, ""), "{name}");
        let missing = join(&world, &sandbox, command(&["/no/such"]), SOME);
        let error = missing.await.err().expect("refused");
        assert!(matches!(error, ExecError::NotStarted(_)), "{name}: {error}");
        assert!(error.to_string().contains("/no/such"), "{name}: {error}");
        first.control.signal(10).expect("sent");
        let finished = first.process.wait().await.expect("ran");
        assert_eq!(finished.status, ExitStatus::Code(10), "{name}");
        let late = join(&world, &sandbox, script("true"), SOME).await;
        let error = late.err().expect("refused").to_string();
        assert!(error.contains("the container has ended"), "{name}: {error}");
        world.executor.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_in_another_runtime_are_signalled_and_killed() {
    for (name, world) in worlds() {
        let (_first, sandbox) = launch(&world, "sleep 1000").await;
        for (number, expected) in [(10, ExitStatus::Code(10)), (9, ExitStatus::Signal(9))] {
            let mut further = join(&world, &sandbox, script(WAITS), SOME)
                .await
                .expect(name);
            line(&mut further.stdout).await;
            further.control.signal(number).expect("sent");
            let finished = further.process.wait().await.expect("ran");
            assert_eq!(finished.status, expected, "{name}");
        }
        let marker = format!("85{}", std::process::id());
        let spec = command(&["sleep", &marker]);
        let further = join(&world, &sandbox, spec, SOME).await.expect(name);
        until_running(&marker, 1).await;
        drop(further);
        until_running(&marker, 0).await;
        let background = script("echo said; sleep 1000 >/dev/null 2>&1 &");
        assert_eq!(
            joined(&world, &sandbox, background).await.1,
            "said\n",
            "{name}"
        );
    }
}

/// Rows EXE-17 and EXE-19.
#[tokio::test(flavor = "multi_thread")]
async fn another_runtime_makes_terminals() {
    for (name, world) in worlds() {
        let spec = world.shell("tty; read x; stty size; echo err >&2; exit 5");
        let launched = start(&world, spec, ProcessStreams::Terminal).await;
        let (mut first, sandbox) = launched.expect(name);
        assert_eq!(line(&mut first.stdout).await, "/dev/pts/0\r\n", "{name}");
        first.control.resize(33, 44).expect("resized");
        let spec = script("tty; read x; stty size; exec sleep 1000");
        let further = join(&world, &sandbox, spec, ProcessStreams::Terminal).await;
        let mut further = further.expect(name);
        assert_eq!(line(&mut further.stdout).await, "/dev/pts/1\r\n", "{name}");
        further.control.resize(55, 66).expect("resized");
        let input = further.stdin.as_mut().expect("a terminal");
        input.write_all(b"go\n").await.expect("written");
        for expected in ["go\r\n", "55 66\r\n"] {
            assert_eq!(line(&mut further.stdout).await, expected, "{name}");
        }
        // As a user's Ctrl-C.
        let input = further.stdin.as_mut().expect("a terminal");
        input.write_all(b"\x03").await.expect("written");
        let finished = further.process.wait().await.expect("ran");
        assert_eq!(finished.status, ExitStatus::Signal(2), "{name}");
        let input = first.stdin.as_mut().expect("a terminal");
        input.write_all(b"go\n").await.expect("written");
        assert_eq!(
            all(&mut first.stdout).await,
            "go\r\n33 44\r\nerr\r\n",
            "{name}"
        );
        let finished = first.process.wait().await.expect("ran");
        assert_eq!(finished.status, ExitStatus::Code(5), "{name}");
    }
}

/// Waits until so many processes sleep for `marker`.
async fn until_running(marker: &str, count: usize) {
    for _ in 0..500 {
        if processes_with(marker) == count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} processes, not {count}", processes_with(marker));
}
