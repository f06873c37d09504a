//! What is tried inside the namespaces of a build: mounts, and everything up to a step that runs.

use std::path::Path;
use std::path::PathBuf;

use lamina_daemon::places;
use lamina_engine::BuildRequest;
use lamina_engine::BuildSource;
use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_executor::userns;
use lamina_executor::userns::IdMapping;
use lamina_executor::userns::UsernsError;
use lamina_llb::BuildError;
use lamina_proto::pb;
use lamina_session::LocalSession;
use lamina_snapshotter::Backend;
use lamina_types::CancelToken;
use lamina_types::Digest;
use prost::Message as _;
use tokio::sync::mpsc;

use super::Finding;
use super::machine;
use super::store;

/// A program that no tree has; a sandbox that gets as far as looking for it works.
const NO_PROGRAM: &str = "/lamina-doctor-no-such-program";

const OVERLAY_FIX: &str = "see the reason; overlayfs needs a kernel with it, and in a container a \
                           folder that is itself no overlay (a volume)";

const NETWORK_FIX: &str = "install the package passt, or slirp4netns; /dev/net/tun must be usable";

const FUSE_FIX: &str = "modprobe fuse, and give this user access to /dev/fuse";

/// Makes the checks; the process is in the namespaces of a build.
pub(super) fn inside(ids: &IdMapping, root: Option<PathBuf>, check_store: bool) -> Vec<Finding> {
    let root = root.unwrap_or_else(|| places::default_root(ids));
    let mut findings = vec![namespaces(ids), machine::state(&root)];
    match machine::scratch_in(&root) {
        Ok(scratch) => {
            let run_dir = places::run_dir(ids);
            let store = check_store.then_some(root.as_path());
            findings.extend(engines(scratch.path(), store, &run_dir));
        }
        Err(error) => findings.push(Finding::failed(
            "engine",
            format!("{}: {error}", root.display()),
            "choose another folder with --root",
        )),
    }
    findings
}

/// Says why there are no namespaces.
pub(super) fn no_namespaces(error: &UsernsError) -> Finding {
    let fix = "as root: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000 \
               kernel.apparmor_restrict_unprivileged_userns=0 (those that exist)";
    Finding::failed("namespaces", error.to_string(), fix)
}

fn namespaces(ids: &IdMapping) -> Finding {
    match ids {
        IdMapping::Root => Finding::ok("namespaces", "a mount namespace, as root"),
        IdMapping::Subordinate { uids, gids } => Finding::ok(
            "namespaces",
            format!("user and mount namespace with {uids} uids and {gids} gids"),
        ),
        IdMapping::Single => Finding::missing(
            "namespaces",
            "user and mount namespace with one id: owners, modes and devices of images are kept where \
             /dev/fuse may be opened; steps see other owners as root and cannot change to them",
            userns::more_ids_help("an image with other owners"),
        ),
    }
}

/// Tries an engine over an empty folder, and looks at the layers of `store`.
fn engines(scratch: &Path, store: Option<&Path>, run_dir: &Path) -> Vec<Finding> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return vec![Finding::failed(
                "threads",
                error.to_string(),
                "raise ulimit -u",
            )];
        }
    };
    runtime.block_on(async {
        let mut findings = engine(scratch, run_dir).await;
        if let Some(root) = store {
            findings.push(store::check(root, run_dir).await);
        }
        findings
    })
}

/// Opens an engine, which probes the mounts, and lets it run a step.
async fn engine(root: &Path, run_dir: &Path) -> Vec<Finding> {
    let mut options = EngineOptions::new(root, run_dir);
    options.network.cni.config = places::default_cni_config();
    let engine = match Engine::open(options).await {
        Ok(engine) => engine,
        Err(error) => return vec![Finding::failed("mounts", error.to_string(), OVERLAY_FIX)],
    };
    let mut findings = mounts(&engine);
    findings.push(step(&engine).await);
    // Some networks are not there before the first step.
    findings.push(network(&engine));
    engine.settle().await;
    findings
}

/// Says what mounts, and what of the other means works.
fn mounts(engine: &Engine) -> Vec<Finding> {
    let chosen = engine.mounts();
    let refused = chosen.refused.iter().map(|refusal| match refusal.backend {
        Backend::Overlay => Finding::missing("overlayfs", refusal.reason.as_str(), OVERLAY_FIX),
        Backend::Fuse | Backend::Copy => {
            Finding::missing("fuse", refusal.reason.as_str(), FUSE_FIX)
        }
    });
    let mut findings: Vec<Finding> = refused.collect();
    let name = match chosen.backend {
        Backend::Overlay => "overlayfs",
        Backend::Fuse | Backend::Copy => "fuse",
    };
    findings.push(Finding::ok(name, chosen.reason()));
    if chosen.backend == Backend::Overlay {
        findings.push(fuse(engine));
    }
    findings
}

/// Tries what builds do not use as long as overlayfs works.
fn fuse(engine: &Engine) -> Finding {
    match lamina_snapshotter::choose(engine.snapshots(), Some(Backend::Fuse)) {
        Ok(chosen) => Finding::ok("fuse", chosen.reason()),
        Err(error) => {
            let text = format!("{error}; needed only where overlayfs does not work");
            Finding::missing("fuse", text, FUSE_FIX)
        }
    }
}

/// Says where steps are that ask for no network in particular.
fn network(engine: &Engine) -> Finding {
    const WHAT: &str = "network";
    let networks = engine.networks();
    match networks.notice() {
        None => Finding::ok(WHAT, format!("of steps: {}", networks.description())),
        Some(notice) => Finding::missing(WHAT, notice, NETWORK_FIX),
    }
}

async fn step(engine: &Engine) -> Finding {
    const WHAT: &str = "steps";
    let source = BuildSource::Definition(definition());
    let session = std::sync::Arc::new(LocalSession::builder().build());
    let (events, _shown) = mpsc::unbounded_channel();
    let request = BuildRequest::new(source, session);
    match engine.build(request, events, &CancelToken::new()).await {
        Err(error) if is_missing_program(&error) => {
            Finding::ok(WHAT, "a sandbox starts: namespaces, mounts, filters")
        }
        Err(error) => Finding::failed(
            WHAT,
            error.message,
            "see the reason; in a container, builds need its --privileged, or seccomp and \
             apparmor unconfined",
        ),
        Ok(_) => Finding::ok(WHAT, "a sandbox starts"),
    }
}

/// The sandbox came as far as the program.
fn is_missing_program(error: &BuildError) -> bool {
    error.exit_code.is_some() || error.message.contains(NO_PROGRAM)
}

/// A step over an empty directory.
fn definition() -> pb::Definition {
    let root = mkdir();
    let exec = pb::Op {
        inputs: vec![input(&root)],
        op: Some(pb::op::Op::Exec(pb::ExecOp {
            meta: Some(pb::Meta {
                args: vec![NO_PROGRAM.to_owned()],
                cwd: "/".to_owned(),
                ..pb::Meta::default()
            }),
            mounts: vec![pb::Mount {
                dest: "/".to_owned(),
                ..pb::Mount::default()
            }],
            ..pb::ExecOp::default()
        })),
        ..pb::Op::default()
    };
    let exec = exec.encode_to_vec();
    let last = pb::Op {
        inputs: vec![input(&exec)],
        ..pb::Op::default()
    };
    pb::Definition {
        def: vec![root, exec, last.encode_to_vec()],
        ..pb::Definition::default()
    }
}

fn mkdir() -> Vec<u8> {
    let action = pb::FileAction {
        input: -1,
        secondary_input: -1,
        output: 0,
        action: Some(pb::file_action::Action::Mkdir(pb::FileActionMkDir {
            path: "/probe".to_owned(),
            mode: 0o755,
            ..pb::FileActionMkDir::default()
        })),
    };
    let file = pb::FileOp {
        actions: vec![action],
    };
    let op = pb::Op {
        op: Some(pb::op::Op::File(file)),
        ..pb::Op::default()
    };
    op.encode_to_vec()
}

fn input(op: &[u8]) -> pb::Input {
    pb::Input {
        digest: Digest::of(op).to_string(),
        index: 0,
    }
}
