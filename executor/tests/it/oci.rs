//! Steps in the sandbox of an OCI runtime.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_executor::ExitStatus;
use lamina_executor::MountKind;
use lamina_executor::RuntimeKind;
use lamina_executor::StepMount;
use lamina_types::CancelToken;
use lamina_types::Progress;

use crate::Fixture;
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
