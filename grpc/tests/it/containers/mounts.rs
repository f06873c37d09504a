//! What containers are made of, and how they end (rows EXE-01 to EXE-07, EXE-23, EXE-24, ERR-03).

use std::time::Duration;

use lamina_client::ClientError;
use lamina_client::ProcessEvent;
use lamina_client::llb::State;
use lamina_proto::gateway;
use lamina_proto::pb;

use super::Answer;
use super::BUSYBOX;
use super::Driven;
use super::base;
use super::built;
use super::drive;
use super::driven;
use super::finish;
use super::init;
use super::mount;
use super::run;
use crate::block_on;
use crate::daemon::daemon;
use crate::harness::Outcome;

// Rows EXE-02 and EXE-23.
driven!(mounts_of_every_kind, driven, {
    let tree = State::scratch()
        .mkdir("/d", 0o755)
        .mkfile("/d/f", 0o644, "from the tree");
    let tree = driven.solve(&tree).await?;
    let kind = |dest: &str, kind: pb::MountType| pb::Mount {
        mount_type: kind.into(),
        ..mount(dest, "")
    };
    let mounts = vec![
        mount("/tree", &tree),
        pb::Mount {
            selector: "/d/f".to_owned(),
            readonly: true,
            ..mount("/file", &tree)
        },
        mount("/empty", ""),
        kind("/tmpfs", pb::MountType::Tmpfs),
        pb::Mount {
            cache_opt: Some(pb::CacheOpt {
                id: "shared".to_owned(),
                sharing: 0,
            }),
            ..kind("/cache", pb::MountType::Cache)
        },
        pb::Mount {
            secret_opt: Some(pb::SecretOpt {
                id: "token".to_owned(),
                mode: 0o400,
                ..pb::SecretOpt::default()
            }),
            ..kind("/secret", pb::MountType::Secret)
        },
    ];
    let script = "busybox cat /tree/d/f /file /secret; echo; ls /empty /tmpfs /cache; \
                  for d in tree empty tmpfs cache; do echo new >/$d/made || exit 1; done; \
                  (echo x >/file) 2>/dev/null || echo refused";
    let script = script.replace("ls ", "busybox ls ");
    let first = driven.container(mounts.clone()).await?;
    let said = "from the treefrom the trees3cr3t\n/cache:\n\n/empty:\n\n/tmpfs:\nrefused\n";
    assert_eq!(run(&first, &script).await?, (0, said.to_owned()));
    first.release().await?;
    first.release().await?;
    // Of all that, the cache directory has the file.
    let second = driven.container(mounts).await?;
    let said = "from the treefrom the trees3cr3t\n/cache:\nmade\n\n/empty:\n\n/tmpfs:\nrefused\n";
    assert_eq!(run(&second, &script).await?, (0, said.to_owned()));
    let listed = driven.gateway.read_dir(&tree, "/", "").await?;
    assert_eq!(listed.len(), 1, "the tree itself never changes");
    let nothing = driven.container(vec![mount("/x", "nonsense")]).await;
    let error = nothing.expect_err("no such tree").to_string();
    assert!(
        error.starts_with("failed to find ref nonsense for \"/x\" mount"),
        "{error}"
    );
});

// CVE-2024-23653, GHSA-7236-3392-c5c6: what was not granted is refused, and what is unknown too.
driven!(privileges_must_be_granted, driven, {
    let root = driven.solve(&base()).await?;
    let request = |network: i32| gateway::NewContainerRequest {
        mounts: vec![mount("/", &root)],
        network,
        ..gateway::NewContainerRequest::default()
    };
    for (network, text) in [
        (1, "network.host is not allowed"),
        (3, "unknown network mode 3"),
        (-1, "unknown network mode -1"),
    ] {
        let refused = driven.gateway.new_container(request(network)).await;
        assert_eq!(refused.expect_err("refused").to_string(), text);
    }
    let container = driven.gateway.new_container(request(2)).await?;
    let confined = "busybox grep -c Seccomp:.2 /proc/self/status; busybox ls /sys/class/net";
    assert_eq!(run(&container, confined).await?, (0, "1\nlo\n".to_owned()));
    for (security, text) in [
        (1, "security.insecure is not allowed"),
        (2, "unknown security mode 2"),
        (-7, "unknown security mode -7"),
    ] {
        // As the first process of a container, and as another.
        for container in [
            driven.gateway.new_container(request(0)).await?,
            container.clone(),
        ] {
            let init = gateway::InitMessage {
                security,
                ..init("true")
            };
            let refused = container.start(init).await.expect_err("refused");
            assert_eq!(refused.to_string(), text);
        }
    }
});

// Row ERR-03.
driven!(a_failed_step_can_be_entered, driven, {
    let step = base().run([BUSYBOX, "sh", "-c", "echo dirt >/left; exit 9"]);
    let step = step.mount_writable("/side", &State::scratch().mkfile("/in", 0o644, "x"));
    let error = driven.solve(&step.root()).await.expect_err("fails");
    let ClientError::Daemon(failure) = error else {
        panic!("{error}");
    };
    let left = failure.solve().expect("something is left");
    let Some(pb::op::Op::Exec(exec)) = left.op.and_then(|op| op.op) else {
        panic!("no exec");
    };
    assert_eq!((exec.mounts.len(), left.mount_i_ds.len()), (2, 2));
    let on = |ids: &[String]| {
        let mounts = exec.mounts.iter().zip(ids);
        gateway::NewContainerRequest {
            mounts: mounts.map(|(one, id)| mount(&one.dest, id)).collect(),
            ..gateway::NewContainerRequest::default()
        }
    };
    let look = "busybox cat /left; busybox ls /side; echo more >>/left";
    for _ in 0..2 {
        let dirty = driven.gateway.new_container(on(&left.mount_i_ds)).await?;
        assert_eq!(run(&dirty, look).await?, (0, "dirt\nin\n".to_owned()));
    }
    let clean = driven.gateway.new_container(on(&left.input_i_ds)).await?;
    assert_eq!(
        run(&clean, "busybox ls /").await?.1,
        "bin\ndev\netc\nproc\nside\nsys\n"
    );
});

// Row EXE-24.
driven!(files_are_read_as_they_are_now, driven, {
    let tree = driven
        .solve(&State::scratch().mkfile("/f", 0o644, "old"))
        .await?;
    let tmpfs = pb::Mount {
        mount_type: pb::MountType::Tmpfs.into(),
        ..mount("/tmpfs", "")
    };
    let container = driven.container(vec![mount("/m", &tree), tmpfs]).await?;
    assert_eq!(container.read_file(1, "/f", None).await?, b"old");
    let script = "echo new >/m/f; busybox ln -s /etc/passwd /m/out; busybox ln -s f /m/in; \
                  echo up; exec busybox sleep 1000";
    let mut process = container.start(init(script)).await?;
    while !matches!(process.next().await?, Some(ProcessEvent::Output { .. })) {}
    assert_eq!(container.read_file(1, "/f", None).await?, b"new\n");
    let range = gateway::FileRange {
        offset: 1,
        length: 2,
    };
    assert_eq!(container.read_file(1, "/in", Some(range)).await?, b"ew");
    let listed = container.read_dir(1, "/", "").await?;
    let names: Vec<_> = listed.iter().map(|stat| stat.path.as_str()).collect();
    assert_eq!(names, ["f", "in", "out"]);
    assert_eq!(container.read_dir(1, "/", "o*").await?.len(), 1);
    assert_eq!(container.stat_file(1, "/in").await?.path, "f");
    let out = container.stat_file(1, "/out").await?;
    assert_eq!(
        (out.path.as_str(), out.linkname.as_str()),
        ("out", "/etc/passwd")
    );
    for (mount, path) in [
        (0, "etc/passwd"),
        (2, "/x"),
        (3, "/x"),
        (-1, "/x"),
        (1, "/none"),
    ] {
        container
            .read_file(mount, path, None)
            .await
            .expect_err("refused");
    }
    container.release().await?;
    container
        .read_file(1, "/f", None)
        .await
        .expect_err("released");
});

// Row EXE-07.
driven!(releasing_kills_and_waits, driven, {
    let container = driven.container(vec![]).await?;
    let mut first = container.start(init("exec busybox sleep 1000")).await?;
    let mut second = container.start(init("exec busybox sleep 1000")).await?;
    container.release().await?;
    for process in [&mut first, &mut second] {
        assert_eq!(finish(process).await?.0, 255, "how they ended is not known");
    }
    container.start(init("true")).await.expect_err("released");
});

// Containers end with their build, also those that nobody releases, and streams with them.
pub(crate) fn all_end_with_the_build() -> Outcome {
    if !std::path::Path::new(BUSYBOX).exists() {
        return Outcome::Skipped("no static busybox".to_owned());
    }
    block_on(async {
        let daemon = daemon!();
        let test: fn(Driven) -> Answer = |driven| {
            Box::pin(async move {
                let container = driven.container(vec![]).await?;
                let mut process = container.start(init("exec busybox sleep 1000")).await?;
                tokio::spawn(async move {
                    drop(process.next().await);
                });
                driven.container(vec![]).await?;
                Ok(())
            })
        };
        for id in ["first", "second"] {
            let build = built(&daemon, id, test);
            let ended = tokio::time::timeout(Duration::from_secs(60), build);
            ended.await.expect("it ends").expect("the build");
        }
        Outcome::Passed
    })
}
