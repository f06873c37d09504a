//! Secrets of the client (rows EXC-26, EXC-34).

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_proto::pb;
use lamina_session::LocalSession;

use super::built;
use super::changed;
use super::has;
use super::mount;
use super::refused;
use super::step;
use crate::harness::Outcome;
use crate::world;

fn file(id: &str, mode: u32, optional: bool) -> pb::Mount {
    pb::Mount {
        mount_type: pb::MountType::Secret.into(),
        secret_opt: Some(pb::SecretOpt {
            id: id.to_owned(),
            uid: 1234,
            gid: 1235,
            mode,
            optional,
        }),
        ..mount("/run/secrets/s")
    }
}

fn variable(id: &str, optional: bool) -> pb::SecretEnv {
    pb::SecretEnv {
        id: id.to_owned(),
        name: "S".to_owned(),
        optional,
    }
}

pub(crate) fn secrets_are_files_and_variables() -> Outcome {
    world::with(BTreeMap::new(), |world| async move {
        let session = LocalSession::builder().secret_bytes("s", "hush");
        let (build, _events) = world.build(Arc::new(session.build()));
        let at = "/run/secrets/s";
        for (script, mounted) in [
            (format!("test $(cat {at}) = hush"), file("s", 0o400, false)),
            (
                format!("test $(stat -c %u:%g:%a {at}) = 1234:1235:640"),
                file("s", 0o100_640, false),
            ),
            (
                format!("test $(cat {at}) = hush; ! (echo x > {at}) 2>/dev/null"),
                file("s", 0o666, false),
            ),
            (
                format!(
                    "grep ' {at} ' /proc/self/mountinfo | grep nosuid | grep nodev | grep noexec"
                ),
                file("s", 0o600, false),
            ),
            (
                format!("! grep ' {at} ' /proc/self/mountinfo | grep noexec"),
                file("s", 0o700, false),
            ),
            (format!("test ! -e {at}"), file("none", 0o400, true)),
        ] {
            let result = built(&build, step(&script, vec![mounted])).await;
            let left = has(&build, &result, &[at]).await;
            assert_eq!(left, [false], "{script}");
        }
        for (script, wanted) in [
            ("test $S = hush", variable("s", false)),
            ("test \"${S-unset}\" = ''", variable("none", true)),
        ] {
            built(&build, changed(script, |op| op.secretenv = vec![wanted])).await;
        }
        let missing = step("true", vec![file("none", 0o400, false)]);
        let error = refused(&build, missing).await;
        assert!(error.message.contains("secret none: not found"), "{error}");
        let missing = changed("true", |op| op.secretenv = vec![variable("none", false)]);
        let error = refused(&build, missing).await;
        assert!(error.message.contains("secret none: not found"), "{error}");
    })
}
