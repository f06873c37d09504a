//! Messages of hostile clients and frontends: nothing in them is a right or a path
//! (docs/security.md).

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use lamina_client::llb::Run;
use lamina_client::llb::State;
use lamina_proto::control::SolveRequest;
use lamina_proto::control::StatusRequest;
use lamina_proto::control::UpdateBuildHistoryRequest;
use lamina_proto::gateway;
use lamina_proto::pb;
use lamina_types::Digest;
use prost::Message as _;
use tonic::Status;

use super::Wire;
use super::base_tree;
use super::of_build;
use super::of_definition;
use super::with_daemon;
use super::with_flags;

/// Names that lead elsewhere as parts of paths; all of them end in what is looked for afterwards.
const NAMES: [&str; 6] = [
    "../escape",
    "../../../../../../../../tmp/lamina-escape/escape",
    "/tmp/lamina-escape/escape",
    "a/../../escape",
    "..\\..\\escape",
    "./escape/",
];

/// What no client may have here.
const REFUSED: [&str; 4] = [
    "is not allowed",
    "unknown",
    "not supported",
    "is not registered",
];

/// Returns the definition of a step whose op is changed after it was made.
fn changed(run: &Run, change: impl FnOnce(&mut pb::ExecOp)) -> pb::Definition {
    let mut definition = run.root().definition();
    let terminal = definition.def.pop().expect("a terminal op");
    let mut change = Some(change);
    for bytes in &mut definition.def {
        let mut op = pb::Op::decode(&bytes[..]).expect("an op");
        if let Some(pb::op::Op::Exec(exec)) = &mut op.op {
            change.take().expect("one step")(exec);
            *bytes = op.encode_to_vec();
        }
    }
    let mut terminal = pb::Op::decode(&terminal[..]).expect("an op");
    let last = definition.def.last().expect("the step");
    terminal.inputs[0].digest = Digest::of(last).to_string();
    definition.def.push(terminal.encode_to_vec());
    definition
}

fn shell(script: &str) -> Run {
    base_tree().run(["/bin/sh", "-c", script])
}

impl Wire {
    /// Has a definition solved by a client, by what drives a build, and as a frontend's input.
    async fn everywhere(&self, definition: &pb::Definition) -> Vec<Result<(), Status>> {
        let direct = SolveRequest {
            r#ref: format!("{}-direct", Digest::of(&definition.encode_to_vec())),
            session: self.session.clone(),
            definition: Some(definition.clone()),
            ..SolveRequest::default()
        };
        let of_frontend = gateway::SolveRequest {
            definition: Some(definition.clone()),
            evaluate: true,
            ..gateway::SolveRequest::default()
        };
        let as_input = gateway::SolveRequest {
            frontend: "dockerfile.v0".to_owned(),
            frontend_inputs: ["context", "dockerfile"]
                .map(|name| (name.to_owned(), definition.clone()))
                .into(),
            evaluate: true,
            ..gateway::SolveRequest::default()
        };
        let mut outcomes = vec![self.solve(direct).await.map(drop)];
        for request in [of_frontend, as_input] {
            let call = of_build(&self.session, request);
            outcomes.push(self.bridge().solve(call).await.map(drop));
        }
        outcomes
    }
}

/// A value that nobody knows is never taken as harmless, nor one that is known as granted: not in a
/// client's definition, not in a frontend's (GHSA-7236-3392-c5c6, CVE-2024-23653).
#[test]
fn frontends_have_no_rights_that_were_not_granted() {
    type Change = fn(&mut pb::ExecOp);
    let changes: [(&str, Change); 9] = [
        ("insecure", |exec| {
            exec.security = pb::SecurityMode::Insecure.into()
        }),
        ("unknown security", |exec| exec.security = 2),
        ("negative security", |exec| exec.security = -1),
        ("host network", |exec| {
            exec.network = pb::NetMode::Host.into()
        }),
        ("unknown network", |exec| exec.network = 3),
        ("negative network", |exec| exec.network = i32::MIN),
        ("unknown mount", |exec| {
            exec.mounts.push(pb::Mount {
                dest: "/m".to_owned(),
                input: -1,
                mount_type: 5,
                ..pb::Mount::default()
            });
        }),
        ("unknown sharing", |exec| {
            exec.mounts.push(pb::Mount {
                dest: "/m".to_owned(),
                input: -1,
                mount_type: pb::MountType::Cache.into(),
                cache_opt: Some(pb::CacheOpt {
                    id: "x".to_owned(),
                    sharing: 3,
                }),
                ..pb::Mount::default()
            });
        }),
        ("a device", |exec| {
            exec.cdi_devices.push(pb::CdiDevice {
                name: "vendor.com/class=all".to_owned(),
                ..pb::CdiDevice::default()
            });
        }),
    ];
    with_daemon(async |wire| {
        for (name, change) in changes {
            let definition = changed(&shell("true"), change);
            for outcome in wire.everywhere(&definition).await {
                let status = outcome.expect_err(name);
                let message = status.message();
                let known = REFUSED.iter().any(|words| message.contains(words));
                assert!(known, "{name}: {status:?}");
            }
        }
    });
}

/// Containers are no way around it (CVE-2024-23653 and GHSA-wr6v-9f75-vh2g).
#[test]
fn containers_have_no_rights_that_were_not_granted() {
    with_daemon(async |wire| {
        let call = of_build(&wire.session, of_definition(&base_tree()));
        let solved = wire
            .bridge()
            .solve(call)
            .await
            .expect("solved")
            .into_inner();
        let root = super::reference_of(&solved.result.expect("a result"));
        for network in [pb::NetMode::Host.into(), 3, -1] {
            let request = gateway::NewContainerRequest {
                container_id: format!("container{network}"),
                mounts: vec![pb::Mount {
                    dest: "/".to_owned(),
                    result_id: root.clone(),
                    ..pb::Mount::default()
                }],
                network,
                ..gateway::NewContainerRequest::default()
            };
            let call = of_build(&wire.session, request);
            let refused = wire.bridge().new_container(call).await;
            assert!(refused.is_err(), "network {network}");
        }
    });
}

/// What a file of the daemon's grants, a client must still ask for.
#[test]
fn what_is_granted_must_be_asked_for() {
    let flags = |_: &crate::harness::Lamina| {
        ["security.insecure", "network.host"]
            .map(|name| format!("--allow-insecure-entitlement={name}"))
            .to_vec()
    };
    with_flags(flags, async |wire| {
        for change in [
            |exec: &mut pb::ExecOp| exec.security = pb::SecurityMode::Insecure.into(),
            |exec: &mut pb::ExecOp| exec.network = pb::NetMode::Host.into(),
        ] {
            let definition = changed(&shell("true"), change);
            for outcome in wire.everywhere(&definition).await {
                let status = outcome.expect_err("not asked for");
                assert!(status.message().contains("is not allowed"), "{status:?}");
            }
        }
    });
}

/// Finds files and folders of that name.
fn find(dir: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(path.clone());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, name, found);
        }
    }
}

/// Ids of messages name nothing in a file system: what they are used for has names of our own
/// (CVE-2026-33747 and GHSA-4c29-8rgm-jvjj, CVE-2024-9675).
#[test]
fn names_in_messages_are_no_paths() {
    let outside = Path::new("/tmp/lamina-escape");
    let home = RefCell::new(PathBuf::new());
    let keep = |lamina: &crate::harness::Lamina| {
        home.replace(lamina.dir().to_owned());
        Vec::new()
    };
    with_flags(keep, async |wire| {
        for name in NAMES {
            let script = "echo mine > /c/escape; ls / > /c/seen";
            let cached = shell(script).cache("/c", name).root().definition();
            for outcome in wire.everywhere(&cached).await.into_iter().take(2) {
                outcome.expect(name);
            }
            wire.send_everywhere(name).await;
        }
        let mut found = Vec::new();
        find(&home.borrow(), "escape", &mut found);
        let caches = home.borrow().join("state/cache-mounts");
        assert!(!found.is_empty(), "the caches were used");
        for path in found {
            assert!(path.starts_with(&caches), "{}", path.display());
        }
        assert!(!outside.exists());
    });
}

impl Wire {
    /// Uses a name for all that has one; most of it is refused, which is as good.
    async fn send_everywhere(&self, name: &str) {
        let local = State::source(
            &format!("local://{name}"),
            &[("local.sharedkeyhint", name), ("local.sessionid", name)],
            None,
        );
        let layout = format!("oci-layout://{name}@{}", Digest::of(b"x"));
        let sources = [local, State::source(&layout, &[("oci.store", name)], None)];
        for source in sources {
            drop(self.everywhere(&source.definition()).await);
        }
        let request = SolveRequest {
            r#ref: name.to_owned(),
            session: self.session.clone(),
            definition: Some(shell("true").root().definition()),
            ..SolveRequest::default()
        };
        drop(self.solve(request).await);
        let history = UpdateBuildHistoryRequest {
            r#ref: name.to_owned(),
            pinned: true,
            finalize: true,
            ..UpdateBuildHistoryRequest::default()
        };
        drop(self.control().update_build_history(history).await);
        let status = StatusRequest {
            r#ref: name.to_owned(),
        };
        drop(self.control().status(status).await);
        let read = gateway::ReadFileRequest {
            r#ref: name.to_owned(),
            file_path: name.to_owned(),
            ..gateway::ReadFileRequest::default()
        };
        drop(self.bridge().read_file(of_build(&self.session, read)).await);
        let container = gateway::NewContainerRequest {
            container_id: name.to_owned(),
            ..gateway::NewContainerRequest::default()
        };
        let container = of_build(&self.session, container);
        drop(self.bridge().new_container(container).await);
    }
}
