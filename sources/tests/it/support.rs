//! An engine's stores around the sources, and ways to look at results.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::SystemTime;

use lamina_content::ContentStore;
use lamina_registry::RegistryClient;
use lamina_registry::RegistryConfig;
use lamina_registry::RetryPolicy;
use lamina_session::LocalSession;
use lamina_session::LocalSessionBuilder;
use lamina_session::Session;
use lamina_session::SessionManager;
use lamina_snapshotter::Entry;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::XattrNamespace;
use lamina_sources::Pinned;
use lamina_sources::SourceConfig;
use lamina_sources::SourceContext;
use lamina_sources::SourceError;
use lamina_sources::SourceRequest;
use lamina_sources::Sources;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::FileKind;
use lamina_types::LogStream;
use lamina_types::Progress;
use lamina_types::ProgressSink;
use lamina_types::RootedPath;
use lamina_types::StepStatus;

/// Stores in a temporary folder.
pub(crate) struct Engine {
    pub(crate) config: SourceConfig,
    pub(crate) sources: Sources,
    pub(crate) session: Arc<dyn Session>,
    pub(crate) cancel: CancelToken,
    pub(crate) statuses: Arc<Statuses>,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) dir: tempfile::TempDir,
}

/// Remembers what was reported.
#[derive(Default)]
pub(crate) struct Statuses {
    statuses: Mutex<Vec<StepStatus>>,
    warnings: Mutex<Vec<String>>,
    logged: Mutex<Vec<u8>>,
}

impl ProgressSink for Statuses {
    fn log(&self, _: LogStream, data: &[u8]) {
        let mut logged = self.logged.lock().expect("no panic in a sink");
        logged.extend_from_slice(data);
    }

    fn status(&self, status: StepStatus) {
        let mut statuses = self.statuses.lock().expect("no panic in a sink");
        statuses.push(status);
    }

    fn warn(&self, message: &str) {
        let mut warnings = self.warnings.lock().expect("no panic in a sink");
        warnings.push(message.to_owned());
    }
}

impl Statuses {
    /// How many actions of that name were completed since the last call of this for any name.
    pub(crate) fn completed(&self, name: &str) -> usize {
        let statuses = self.statuses.lock().expect("no panic in a sink");
        let of_name = statuses
            .iter()
            .filter(|status| status.name.starts_with(name));
        of_name.filter(|status| status.completed.is_some()).count()
    }

    pub(crate) fn clear(&self) {
        self.statuses.lock().expect("no panic in a sink").clear();
    }

    pub(crate) fn logged(&self) -> String {
        let logged = self.logged.lock().expect("no panic in a sink");
        String::from_utf8_lossy(&logged).into_owned()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().expect("no panic in a sink").clone()
    }
}

impl Engine {
    pub(crate) fn new(session: LocalSessionBuilder) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let namespace = if rustix::process::geteuid().is_root() {
            XattrNamespace::Trusted
        } else {
            XattrNamespace::User
        };
        let registry = RegistryConfig {
            retry: RetryPolicy {
                attempts: 2,
                first_wait: Duration::from_millis(1),
            },
            ..RegistryConfig::default()
        };
        let config = SourceConfig {
            layers: SnapshotStore::open(&dir.path().join("layers"), namespace).expect("opens"),
            content: ContentStore::open(&dir.path().join("content")).expect("opens"),
            registry: RegistryClient::new(registry).expect("fits"),
            blocking: Blocking::new(2).expect("threads start"),
            sessions: SessionManager::default(),
            state: dir.path().join("sources"),
        };
        Self {
            sources: Sources::new(config.clone()),
            config,
            session: Arc::new(session.build()),
            cancel: CancelToken::new(),
            statuses: Arc::default(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime starts"),
            dir,
        }
    }

    /// An engine whose session offers `dir` as `context`.
    pub(crate) fn with_context(dir: &Path) -> Self {
        Self::new(LocalSession::builder().local_dir("context", dir))
    }

    pub(crate) fn context(&self) -> SourceContext {
        SourceContext {
            session: Arc::clone(&self.session),
            progress: Progress::new(Arc::clone(&self.statuses) as Arc<dyn ProgressSink>),
            cancel: self.cancel.clone(),
        }
    }

    pub(crate) fn resolve(&self, request: &SourceRequest) -> Result<Pinned, SourceError> {
        let context = self.context();
        self.runtime
            .block_on(self.sources.resolve(request, &context))
    }

    pub(crate) fn snapshot(&self, pinned: &Pinned) -> Result<LayerStack, SourceError> {
        let context = self.context();
        self.runtime
            .block_on(self.sources.snapshot(pinned, &context))
    }

    pub(crate) fn get(&self, request: &SourceRequest) -> Result<LayerStack, SourceError> {
        self.snapshot(&self.resolve(request)?)
    }

    pub(crate) fn transfer(&self, request: &SourceRequest) -> LayerStack {
        self.get(request).expect("transferred")
    }
}

pub(crate) fn context() -> SourceRequest {
    SourceRequest::new("local://context")
}

/// Lists a tree: kind, mode, owner, content or target, one line per path.
pub(crate) fn list(stack: &LayerStack) -> Vec<String> {
    let mut lines = Vec::new();
    list_below(&stack.tree().root().expect("readable"), &mut lines);
    lines
}

fn list_below(dir: &Entry, lines: &mut Vec<String>) {
    for name in dir.read_dir().expect("readable") {
        let entry = dir.child(&name).expect("there");
        let stat = entry.stat();
        let content = match stat.kind {
            FileKind::File => {
                let mut text = String::new();
                let mut file = entry.open().expect("opens");
                std::io::Read::read_to_string(&mut file, &mut text).expect("text");
                format!(" {text:?}")
            }
            FileKind::Symlink => format!(" -> {}", String::from_utf8_lossy(&stat.link_target)),
            _ => String::new(),
        };
        lines.push(format!(
            "{} {:?} {:o} {}:{}{content}",
            entry.path(),
            stat.kind,
            stat.mode,
            stat.uid,
            stat.gid
        ));
        if stat.is_dir() {
            list_below(&entry, lines);
        }
    }
}

/// Lists the paths only.
pub(crate) fn paths(stack: &LayerStack) -> Vec<String> {
    let mut paths = Vec::new();
    paths_below(&stack.tree().root().expect("readable"), &mut paths);
    paths
}

fn paths_below(dir: &Entry, paths: &mut Vec<String>) {
    for name in dir.read_dir().expect("readable") {
        let entry = dir.child(&name).expect("there");
        paths.push(entry.path().to_string()[1..].to_owned());
        if entry.stat().is_dir() {
            paths_below(&entry, paths);
        }
    }
}

pub(crate) fn entry(stack: &LayerStack, path: &str) -> Entry {
    stack
        .tree()
        .lookup(&RootedPath::new(path), Follow::Parents)
        .expect(path)
}

pub(crate) fn content_digest(stack: &LayerStack) -> Digest {
    let all = Selection {
        path: b"/".to_vec(),
        wildcard: false,
        follow_links: false,
        include: Vec::new(),
        exclude: Vec::new(),
    };
    stack.digest(&all, &CancelToken::new()).expect("digested")
}

/// A directory with these files; a path that ends in `/` is a directory.
pub(crate) fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (path, content) in files {
        write(dir.path(), path, content);
    }
    dir
}

pub(crate) fn write(dir: &Path, path: &str, content: &str) -> PathBuf {
    let target = dir.join(path);
    if path.ends_with('/') {
        fs::create_dir_all(&target).expect("made");
    } else {
        fs::create_dir_all(target.parent().expect("below")).expect("made");
        fs::write(&target, content).expect("written");
    }
    target
}

/// Waits until the clock has moved on so far that what was written is trusted to be settled.
pub(crate) fn let_the_clock_tick() {
    let end = SystemTime::now() + Duration::from_millis(25);
    while let Ok(left) = end.duration_since(SystemTime::now()) {
        std::thread::park_timeout(left);
    }
}
