//! A root file system of busybox in a store of its own, and short ways to run steps in it.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use lamina_executor::ExecError;
use lamina_executor::Executor;
use lamina_executor::ExecutorOptions;
use lamina_executor::Finished;
use lamina_executor::NetworkMode;
use lamina_executor::ProcessLimit;
use lamina_executor::ProcessSpec;
use lamina_executor::Root;
use lamina_executor::RuntimeKind;
use lamina_executor::SecurityMode;
use lamina_network::Networks;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Backend;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::WriteDir;
use lamina_snapshotter::XattrNamespace;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::LogStream;
use lamina_types::Progress;
use lamina_types::ProgressSink;
use lamina_types::StepStatus;

pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// What a step may have of processes; the least that a pid namespace can be limited to.
pub(crate) const MAX_PROCESSES: u32 = 301;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\n";

/// A store with a busybox image, and an executor.
pub(crate) struct World {
    pub(crate) executor: Executor,
    pub(crate) store: SnapshotStore,
    pub(crate) base: LayerStack,
}

impl World {
    /// Makes one in `state` with mounts of `backend`.
    pub(crate) fn on(
        backend: Backend,
        state: &Path,
        program: &Path,
        runtime: RuntimeKind,
        xattrs: XattrNamespace,
    ) -> Result<Self, SnapshotError> {
        Self::with_networks(
            backend,
            state,
            program,
            (runtime, xattrs),
            Networks::default(),
        )
    }

    /// The same, with networks for steps.
    pub(crate) fn with_networks(
        backend: Backend,
        state: &Path,
        program: &Path,
        (runtime, xattrs): (RuntimeKind, XattrNamespace),
        networks: Networks,
    ) -> Result<Self, SnapshotError> {
        let store = SnapshotStore::open(&state.join("layers"), xattrs).expect("store opens");
        let active = store.prepare(&LayerStack::empty()).expect("a layer");
        fill(&active);
        let base = active.commit(&CancelToken::new()).expect("committed");
        let mounter = lamina_snapshotter::choose(&store, Some(backend))?.mounter;
        let blocking = Blocking::new(4).expect("threads");
        let executor = Executor::start(ExecutorOptions {
            runtime,
            mounter,
            store: store.clone(),
            blocking,
            program: program.to_owned(),
            dns: Default::default(),
            max_processes: ProcessLimit::At(MAX_PROCESSES),
            networks,
            run_dir: state.join("run"),
            cgroup_parent: String::new(),
        })
        .expect("the runtime starts");
        let base = LayerStack::empty().push(base);
        Ok(Self {
            executor,
            store,
            base,
        })
    }

    /// A layer on the image.
    pub(crate) fn layer(&self) -> ActiveLayer {
        self.store.prepare(&self.base).expect("a layer")
    }

    /// A step of `args` as root in a fresh layer.
    pub(crate) fn spec(&self, args: &[&str]) -> ProcessSpec {
        ProcessSpec {
            args: args.iter().map(ToString::to_string).collect(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: String::new(),
            extra_hosts: Vec::new(),
            network: NetworkMode::Sandbox,
            security: SecurityMode::Sandbox,
            ulimits: Vec::new(),
            cgroup_parent: String::new(),
            resources: Default::default(),
            devices: Default::default(),
            emulator: None,
            remove_mount_stubs_recursive: false,
            root: Root::Active(self.layer()),
            mounts: Vec::new(),
        }
    }

    /// A step of a shell script.
    pub(crate) fn shell(&self, script: &str) -> ProcessSpec {
        self.spec(&["/bin/sh", "-c", script])
    }

    pub(crate) async fn run(
        &self,
        spec: ProcessSpec,
    ) -> (Result<Finished, ExecError>, String, String) {
        let log = Log::default();
        let progress = Progress::new(Arc::new(log.clone()));
        let finished = self
            .executor
            .run(spec, &progress, &CancelToken::new())
            .await;
        let (stdout, stderr) = log.text();
        (finished, stdout, stderr)
    }
}

fn fill(active: &ActiveLayer) {
    let root = active.writer().root().expect("root");
    let bin = root.make_dir(b"bin", 0o755).expect("bin");
    let mut busybox = bin.create_file(b"busybox", 0o755).expect("file");
    busybox
        .write_all(&std::fs::read(BUSYBOX).expect("busybox"))
        .expect("written");
    let list = std::process::Command::new(BUSYBOX)
        .arg("--list")
        .output()
        .expect("runs");
    for applet in String::from_utf8_lossy(&list.stdout)
        .lines()
        .filter(|name| *name != "busybox")
    {
        bin.symlink(applet.as_bytes(), b"busybox").expect("link");
    }
    let etc = root.make_dir(b"etc", 0o755).expect("etc");
    write(&etc, b"passwd", PASSWD);
    write(&etc, b"group", GROUP);
    for (name, mode) in [
        ("tmp", 0o1777),
        ("root", 0o700),
        ("usr", 0o755),
        ("var", 0o755),
    ] {
        root.make_dir(name.as_bytes(), mode).expect("dir");
    }
}

pub(crate) fn write(dir: &WriteDir, name: &[u8], text: &str) {
    let mut file = dir.create_file(name, 0o644).expect("file");
    file.write_all(text.as_bytes()).expect("written");
}

/// Keeps what a step prints.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<(Vec<u8>, Vec<u8>)>>);

impl Log {
    pub(crate) fn text(&self) -> (String, String) {
        let log = self.0.lock().expect("not poisoned");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&log.0), text(&log.1))
    }
}

impl ProgressSink for Log {
    fn log(&self, stream: LogStream, data: &[u8]) {
        let mut log = self.0.lock().expect("not poisoned");
        match stream {
            LogStream::Stdout => log.0.extend_from_slice(data),
            LogStream::Stderr => log.1.extend_from_slice(data),
        }
    }
    fn status(&self, _: StepStatus) {}
    fn warn(&self, _: &str) {}
}
