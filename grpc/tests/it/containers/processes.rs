//! Messages and streams of processes (rows EXE-08 to EXE-22).

use bytes::Bytes;
use futures_util::future::join_all;
use lamina_client::Container;
use lamina_proto::gateway;
use lamina_proto::gateway::exec_message::Input;
use lamina_proto::pb;
use tonic::Code;

use super::BUILD;
use super::base;
use super::drive;
use super::driven;
use super::finish;
use super::init;
use super::mount;
use super::run;
use crate::driven::call;
use crate::harness::Outcome;

fn in_container(id: &str, script: &str) -> gateway::InitMessage {
    gateway::InitMessage {
        container_id: id.to_owned(),
        ..init(script)
    }
}

fn message(id: &str, input: Input) -> gateway::ExecMessage {
    gateway::ExecMessage {
        process_id: id.to_owned(),
        input: Some(input),
    }
}

fn file(fd: u32, data: &str, eof: bool) -> Input {
    Input::File(gateway::FdMessage {
        fd,
        eof,
        data: Bytes::copy_from_slice(data.as_bytes()),
    })
}

driven!(messages_come_in_order, driven, {
    let mut driven = driven;
    driven.named("c").await.expect("made");
    let script = "read x; echo out $x; echo err >&2; exit 3";
    let (got, error) = driven
        .exchange(vec![
            message("p", Input::Init(in_container("c", script))),
            message("p", file(0, "in\n", true)),
        ])
        .await;
    assert!(error.is_none(), "{error:?}");
    assert!(got.iter().all(|message| message.process_id == "p"));
    let mut inputs: Vec<Input> = got
        .into_iter()
        .filter_map(|message| message.input)
        .collect();
    assert_eq!(inputs.remove(0), Input::Started(gateway::StartedMessage {}));
    assert_eq!(inputs.pop(), Some(Input::Done(gateway::DoneMessage {})));
    for expected in [
        file(1, "out in\n", false),
        file(2, "err\n", false),
        file(1, "", true),
        file(2, "", true),
    ] {
        let found = inputs.iter().position(|input| *input == expected);
        inputs.remove(found.unwrap_or_else(|| panic!("{expected:?} in {inputs:?}")));
    }
    let [Input::Exit(exit)] = &inputs[..] else {
        panic!("{inputs:?}");
    };
    assert_eq!(exit.code, 3);
    let error = exit.error.as_ref().expect("it failed");
    assert_eq!(error.message, "exit code: 3");
    assert!(error.details[0].type_url.contains("ExitMessage"));
});

driven!(what_makes_no_sense_ends_the_stream, driven, {
    let mut driven = driven;
    driven.named("c").await.expect("made");
    let again = driven.named("c").await.expect_err("twice");
    assert_eq!(again.code(), Code::AlreadyExists);
    let unknown = gateway::ReleaseContainerRequest {
        container_id: "no".to_owned(),
    };
    let unknown = driven.raw.release_container(call(BUILD, unknown)).await;
    assert_eq!(unknown.expect_err("unknown").code(), Code::NotFound);
    let started = || {
        message(
            "p",
            Input::Init(in_container("fresh", "exec busybox sleep 1000")),
        )
    };
    let signal = |name: &str| {
        let name = name.to_owned();
        Input::Signal(gateway::SignalMessage { name })
    };
    let size = Input::Resize(gateway::ResizeMessage { rows: 1, cols: 1 });
    let no_input = gateway::InitMessage {
        fds: vec![1],
        ..in_container("fresh", "exec busybox sleep 1000")
    };
    for (messages, code) in [
        (
            vec![message("p", Input::Init(in_container("no", "true")))],
            Code::NotFound,
        ),
        (vec![started(), started()], Code::AlreadyExists),
        (vec![message("q", file(0, "x", false))], Code::NotFound),
        (vec![message("q", size)], Code::NotFound),
        (vec![message("q", signal("TERM"))], Code::NotFound),
        (
            vec![started(), message("p", signal("NOPE"))],
            Code::InvalidArgument,
        ),
        (
            vec![started(), message("p", file(1, "x", false))],
            Code::OutOfRange,
        ),
        (
            vec![
                message("p", Input::Init(no_input)),
                message("p", file(0, "x", false)),
            ],
            Code::OutOfRange,
        ),
        (
            vec![message("", Input::Init(in_container("fresh", "true")))],
            Code::InvalidArgument,
        ),
    ] {
        // Each stream takes its processes along, and the container with its first one.
        driven.named("fresh").await.expect("made");
        let (_, error) = driven.exchange(messages).await;
        assert_eq!(error.expect("refused").code(), code);
        let release = gateway::ReleaseContainerRequest {
            container_id: "fresh".to_owned(),
        };
        let released = driven.raw.release_container(call(BUILD, release)).await;
        released.expect("released");
    }
});

// Row EXE-20.
driven!(what_cannot_start_is_an_error, driven, {
    let container = driven.container(vec![]).await?;
    let absent = gateway::InitMessage {
        meta: Some(pb::Meta {
            args: vec!["/no/such".to_owned()],
            ..pb::Meta::default()
        }),
        ..gateway::InitMessage::default()
    };
    let error = container
        .start(absent)
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("/no/such: no such file or directory"),
        "{error}"
    );
    let error = container
        .start(init("true"))
        .await
        .expect_err("over")
        .to_string();
    assert_eq!(error, "the container has ended");
    let container = driven.container(vec![]).await?;
    assert_eq!(
        run(&container, "exit 4").await?,
        (4, String::new()),
        "a new stream"
    );
});

// Row ACC-12.
driven!(many_processes_share_a_stream, driven, {
    const BYTES: usize = 1_000_000;
    let containers = [
        driven.container(vec![]).await?,
        driven.container(vec![]).await?,
        driven.container(vec![]).await?,
    ];
    for container in &containers {
        container.start(init("exec busybox sleep 1000")).await?;
    }
    let text: Bytes = "0123456789abcdef\n".repeat(BYTES / 17).into();
    let count = |container: Container, text: Bytes| async move {
        let mut process = container.start(init("busybox wc -c; exit 7")).await?;
        let input = process.input();
        let feed = async {
            input.write(text.clone()).await;
            input.close().await;
        };
        let (finished, ()) = tokio::join!(finish(&mut process), feed);
        finished
    };
    let typed = |container: Container| async move {
        let typed = gateway::InitMessage {
            tty: true,
            fds: vec![0, 1],
            ..init("read x; echo got $x; exit 8")
        };
        let mut process = container.start(typed).await?;
        process.input().write(Bytes::from_static(b"word\n")).await;
        finish(&mut process).await
    };
    let counts = (0..50).map(|number| count(containers[number % 3].clone(), text.clone()));
    let typed = (0..10).map(|number| typed(containers[number % 3].clone()));
    let (counts, typed) = tokio::join!(join_all(counts), join_all(typed));
    let counts: Vec<(u32, String)> = counts.into_iter().collect::<Result<_, _>>()?;
    let all = (7, format!("{}\n", text.len()));
    assert!(counts.iter().all(|one| *one == all), "{counts:?}");
    for one in typed {
        assert_eq!(one?, (8, "word\r\ngot word\r\n".to_owned()));
    }
});

driven!(input_for_who_does_not_read_it_is_dropped, driven, {
    let container = driven.container(vec![]).await?;
    let mut lazy = container.start(init("exec busybox sleep 1000")).await?;
    let mut short = container.start(init("exit 0")).await?;
    let megabyte = Bytes::from(vec![7; 1 << 20]);
    for _ in 0..20 {
        short.input().write(megabyte.clone()).await;
        lazy.input().write(megabyte.clone()).await;
    }
    assert_eq!(finish(&mut short).await?.0, 0);
    short.input().signal("TERM").await;
    short.input().resize(2, 2).await;
    assert_eq!(
        run(&container, "echo fine").await?.1,
        "fine\n",
        "the stream goes on"
    );
    lazy.input().signal("KILL").await;
    assert_eq!(finish(&mut lazy).await?.0, 137);
});

// Rows EXE-06, EXE-09 and EXE-11.
driven!(processes_get_what_they_ask_for, driven, {
    let request = gateway::NewContainerRequest {
        mounts: vec![mount("/", &driven.solve(&base()).await?)],
        hostname: "named".to_owned(),
        extra_hosts: vec![pb::HostIp {
            host: "other".to_owned(),
            ip: "1.2.3.4".to_owned(),
        }],
        ..gateway::NewContainerRequest::default()
    };
    let container = driven.gateway.new_container(request).await?;
    let _first = container.start(init("exec busybox sleep 1000")).await?;
    let script = "busybox hostname; busybox grep other /etc/hosts; pwd; echo $PATH; echo $TOKEN; \
                  echo $TERM; busybox id -u; echo $MISSING.";
    for tty in [false, true] {
        let mut wanted = gateway::InitMessage {
            tty,
            fds: vec![1],
            secretenv: vec![
                pb::SecretEnv {
                    id: "token".to_owned(),
                    name: "TOKEN".to_owned(),
                    optional: false,
                },
                pb::SecretEnv {
                    id: "missing".to_owned(),
                    name: "MISSING".to_owned(),
                    optional: true,
                },
            ],
            ..init(script)
        };
        wanted.meta.get_or_insert_default().user = "app".to_owned();
        let mut process = container.start(wanted).await?;
        let (code, said) = finish(&mut process).await?;
        let term = if tty { "xterm" } else { "" };
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let all = format!("named\n1.2.3.4\tother\n/\n{path}\ns3cr3t\n{term}\n1234\n.\n");
        assert_eq!((code, said.replace('\r', "")), (0, all));
    }
});
