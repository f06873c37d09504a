//! A bridge that runs nothing: it has a few files, and keeps what it is told.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::Container;
use lamina_llb::ContainerRequest;
use lamina_llb::FrontendProcess;
use lamina_llb::FrontendRequest;
use lamina_llb::GitObjects;
use lamina_llb::Pipe;
use lamina_llb::Reference;
use lamina_llb::ResolveImageOptions;
use lamina_llb::ResolveSourceRequest;
use lamina_llb::ResolvedGit;
use lamina_llb::ResolvedImage;
use lamina_llb::ResolvedSource;
use lamina_llb::ResultRefs;
use lamina_llb::RunningProcess;
use lamina_llb::SolveFailure;
use lamina_llb::SolveOptions;
use lamina_llb::SolveSubject;
use lamina_llb::Warning;
use lamina_llb::WorkerInfo;
use lamina_proto::pb;
use lamina_types::Digest;
use lamina_types::FileKind;
use lamina_types::Platform;
use lamina_types::Stat;

/// A definition whose evaluation fails.
pub(crate) const FAILING: &[u8] = b"fails";

/// A path whose description is a bug.
pub(crate) const PANICS: &str = "/panics";

/// What `/etc/group` holds.
pub(crate) const GROUP: &[u8] = b"root:x:0:\napp:x:1235:\n";

/// Answers from memory.
#[derive(Default)]
pub(crate) struct MemoryBridge {
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) inputs: BTreeMap<String, pb::Definition>,
    pub(crate) worker: WorkerInfo,
    /// What the worker can run for now.
    pub(crate) platforms: Arc<Mutex<Vec<Platform>>>,
    /// Labels of every image.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) warnings: Mutex<Vec<(Digest, Warning)>>,
    pub(crate) frontends: Mutex<Vec<FrontendRequest>>,
    /// Directories that were listed.
    pub(crate) listed: Mutex<Vec<String>>,
    pub(crate) failure: Mutex<Option<Arc<SolveFailure>>>,
}

impl MemoryBridge {
    pub(crate) fn with_options(options: &[(&str, &str)]) -> Self {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Self {
            options: options.iter().map(pair).collect(),
            worker: WorkerInfo {
                id: "worker".to_owned(),
                labels: [("k".to_owned(), "v".to_owned())].into(),
            },
            platforms: Arc::new(Mutex::new(vec![Platform::host()])),
            ..Self::default()
        }
    }
}

/// A definition that holds `bytes` and nothing that could be loaded.
pub(crate) fn definition(bytes: &[u8]) -> pb::Definition {
    pb::Definition {
        def: vec![bytes.to_vec()],
        ..pb::Definition::default()
    }
}

fn missing(operation: &str, path: &str) -> BuildError {
    BuildError::new(format!("{operation} {path}: no such file or directory"))
}

fn stat(kind: FileKind, mode: u32, size: u64) -> Stat {
    Stat {
        kind,
        mode,
        uid: 0,
        gid: 0,
        size,
        mtime_ns: 0,
        nlink: 1,
        link_target: Vec::new(),
        device: lamina_types::DeviceNumber::default(),
        xattrs: BTreeMap::new(),
    }
}

#[async_trait]
impl Bridge for MemoryBridge {
    async fn solve(&self, definition: pb::Definition) -> Result<Option<Reference>, BuildError> {
        let is_empty = definition.def.is_empty();
        Ok((!is_empty).then(|| Reference::foreign(definition)))
    }

    async fn solve_with(
        &self,
        definition: pb::Definition,
        _: SolveOptions,
    ) -> Result<Option<Reference>, BuildError> {
        self.solve(definition).await
    }

    async fn run_frontend(&self, request: FrontendRequest) -> Result<BuildResult, BuildError> {
        let refs = match request.name.as_str() {
            "map" => {
                let one = Some(Reference::foreign(definition(b"one")));
                ResultRefs::Map([("a".to_owned(), one), ("b".to_owned(), None)].into())
            }
            "failing map" => {
                let one = Some(Reference::foreign(definition(FAILING)));
                ResultRefs::Map([("a".to_owned(), one)].into())
            }
            "single" => ResultRefs::Single(None),
            "gateway.v0" => ResultRefs::Single(Some(Reference::foreign(definition(b"handed")))),
            name => return Err(BuildError::new(format!("invalid frontend: {name}"))),
        };
        self.frontends.lock().expect("unpoisoned").push(request);
        Ok(BuildResult {
            refs,
            metadata: [("k".to_owned(), b"v".to_vec())].into(),
        })
    }

    async fn resolve_source(
        &self,
        request: ResolveSourceRequest,
    ) -> Result<ResolvedSource, BuildError> {
        Ok(ResolvedSource {
            source: request.source,
            image: Some((Digest::of(b"image"), b"{}".to_vec())),
            http: Some((Digest::of(b"file"), "file".to_owned(), Some(7))),
            git: Some(ResolvedGit {
                reference: "refs/tags/v1".to_owned(),
                object: "tag".to_owned(),
                commit: Some("commit".to_owned()),
                objects: request.git_objects.then(|| GitObjects {
                    commit: b"c".to_vec(),
                    tag: b"t".to_vec(),
                }),
            }),
        })
    }

    async fn spawn(&self, process: FrontendProcess) -> Result<RunningProcess, BuildError> {
        let env = process.env.iter().filter_map(|pair| pair.split_once('='));
        let mut child = tokio::process::Command::new("/proc/self/exe")
            .arg(&process.args[0])
            .env_clear()
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| BuildError::new(error.to_string()))?;
        let writer = child.stdin.take().expect("piped");
        let reader = child.stdout.take().expect("piped");
        let exit = async move {
            let status = child.wait().await.expect("a child");
            match status.code() {
                Some(0) => Ok(()),
                code => Err(BuildError {
                    exit_code: code,
                    ..BuildError::new(format!("the program failed: {code:?}"))
                }),
            }
        };
        Ok(RunningProcess {
            pipe: Pipe {
                reader: Box::new(reader),
                writer: Box::new(writer),
            },
            exit: Box::pin(exit),
        })
    }

    async fn new_container(&self, _: ContainerRequest) -> Result<Container, BuildError> {
        Err(BuildError::new("no containers here"))
    }

    async fn resolve_image_config(
        &self,
        reference: &str,
        options: ResolveImageOptions,
    ) -> Result<ResolvedImage, BuildError> {
        let labels = serde_json::json!(self.labels);
        let config = serde_json::json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": [crate::program::ROLE],
                "Labels": labels,
                "Env": [format!("MODE={}", options.mode)],
            },
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        Ok(ResolvedImage {
            reference: reference.to_owned(),
            digest: Digest::of(reference.as_bytes()),
            config: config.to_string().into_bytes(),
        })
    }

    async fn read_file(
        &self,
        reference: &Reference,
        path: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Vec<u8>, BuildError> {
        self.evaluate(reference).await?;
        let data = match path {
            "/etc/group" => GROUP,
            "Dockerfile" => b"FROM scratch\n",
            path => return Err(missing("open", path)),
        };
        let (offset, length) = range.unwrap_or((0, u64::MAX));
        let skipped = data
            .iter()
            .skip(usize::try_from(offset).unwrap_or(usize::MAX));
        let taken = skipped.take(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(taken.copied().collect())
    }

    async fn read_dir(
        &self,
        _: &Reference,
        path: &str,
        include: Option<&str>,
    ) -> Result<Vec<(Vec<u8>, Stat)>, BuildError> {
        let mut listed = self.listed.lock().expect("unpoisoned");
        listed.push(path.to_owned());
        match (path, include) {
            ("/etc", None | Some("g*")) => {
                let size = GROUP.len() as u64;
                Ok(vec![(b"group".to_vec(), stat(FileKind::File, 0o644, size))])
            }
            _ => Err(missing("lstat", path)),
        }
    }

    async fn stat_file(&self, _: &Reference, path: &str) -> Result<(Vec<u8>, Stat), BuildError> {
        match path {
            "/etc" => Ok((b"etc".to_vec(), stat(FileKind::Directory, 0o755, 4096))),
            PANICS => panic!("as a bug does"),
            path => Err(missing("lstat", path)),
        }
    }

    async fn evaluate(&self, reference: &Reference) -> Result<(), BuildError> {
        if reference.definition().def != [FAILING] {
            return Ok(());
        }
        let mut failure = self.failure.lock().expect("unpoisoned");
        let failure = failure.get_or_insert_with(|| {
            let mount = |bytes| Some(Reference::foreign(definition(bytes)));
            Arc::new(SolveFailure {
                op: Vec::new(),
                description: BTreeMap::new(),
                inputs: vec![mount(b"input"), None],
                mounts: vec![mount(b"mount")],
                subject: SolveSubject::Op,
            })
        });
        Err(BuildError {
            vertex: Some(Digest::of(FAILING)),
            exit_code: Some(5),
            solve: Some(Arc::clone(failure)),
            ..BuildError::new("process \"x\" did not complete successfully: exit code: 5")
        })
    }

    fn warn(&self, vertex: Digest, warning: Warning) {
        let mut warnings = self.warnings.lock().expect("unpoisoned");
        warnings.push((vertex, warning));
    }

    fn options(&self) -> &BTreeMap<String, String> {
        &self.options
    }

    fn inputs(&self) -> &BTreeMap<String, pb::Definition> {
        &self.inputs
    }

    fn session_id(&self) -> &str {
        "session"
    }

    fn worker(&self) -> &WorkerInfo {
        &self.worker
    }

    fn worker_platforms(&self) -> Vec<Platform> {
        self.platforms.lock().expect("unpoisoned").clone()
    }

    fn has_cap(&self, id: &str) -> bool {
        lamina_llb::has_cap(id)
    }
}
