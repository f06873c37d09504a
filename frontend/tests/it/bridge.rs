//! An engine that runs nothing: it serves the files of a case and keeps what it is given.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::BuildResult;
use lamina_llb::CacheOption;
use lamina_llb::Container;
use lamina_llb::ContainerRequest;
use lamina_llb::Entitlements;
use lamina_llb::FrontendProcess;
use lamina_llb::FrontendRequest;
use lamina_llb::GitObjects;
use lamina_llb::Graph;
use lamina_llb::LoadError;
use lamina_llb::Reference;
use lamina_llb::ResolveImageOptions;
use lamina_llb::ResolveSourceRequest;
use lamina_llb::ResolvedGit;
use lamina_llb::ResolvedImage;
use lamina_llb::ResolvedSource;
use lamina_llb::RunningProcess;
use lamina_llb::SolveOptions;
use lamina_llb::Warning;
use lamina_llb::WorkerInfo;
use lamina_proto::pb;
use lamina_types::Digest;
use lamina_types::Platform;
use lamina_types::Stat;
use prost::Message;

use crate::cases::Case;

/// Files by the name of their directory and their path in it.
type Files = BTreeMap<(String, String), Vec<u8>>;

/// Answers a frontend.
#[derive(Default)]
pub(crate) struct RecordingBridge {
    files: Files,
    options: BTreeMap<String, String>,
    pub(crate) inputs: BTreeMap<String, pb::Definition>,
    /// Caches that solves are to look in.
    pub(crate) cache_imports: Mutex<Vec<CacheOption>>,
    /// Image configs by full reference.
    pub(crate) images: BTreeMap<String, Vec<u8>>,
    pub(crate) definitions: Mutex<Vec<pb::Definition>>,
    pub(crate) warnings: Mutex<Vec<Warning>>,
    /// Capabilities that it does not have.
    pub(crate) lacks: Vec<String>,
    /// What the engine's loader says against definitions, but for features that it lacks.
    pub(crate) refused: Mutex<Vec<String>>,
    pub(crate) worker: WorkerInfo,
    /// The commit that every source of git has.
    pub(crate) commit: Option<Vec<u8>>,
    /// When every file of the web was last modified.
    pub(crate) modified: Option<i64>,
    /// The files of every archive, by directory.
    pub(crate) archive: BTreeMap<String, Vec<(Vec<u8>, Stat)>>,
    /// The names of all look-ups of sources.
    pub(crate) lookups: Mutex<Vec<String>>,
    /// Takes definitions without a look.
    pub(crate) trusts: bool,
    /// Whether a rule is against all images.
    pub(crate) forbids_images: bool,
}

impl RecordingBridge {
    /// Serves a Dockerfile alone.
    pub(crate) fn of(dockerfile: &str, options: &[(&str, &str)]) -> Self {
        let mut bridge = Self::default();
        bridge.add("dockerfile", "Dockerfile", dockerfile.as_bytes());
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        bridge.options = options.iter().map(pair).collect();
        bridge
    }

    /// Serves a case.
    pub(crate) fn of_case(case: &Case) -> Self {
        let mut bridge = Self {
            options: case.options(),
            ..Self::default()
        };
        let main = ["context", "dockerfile"].map(|name| (name.to_owned(), &case.files));
        let others = case
            .contexts
            .iter()
            .map(|(name, files)| (name.clone(), files));
        for (dir, files) in main.into_iter().chain(others) {
            for file in files {
                if let Some(data) = &file.data {
                    bridge.add(&dir, &file.path, data.as_bytes());
                }
            }
        }
        if let Some(text) = &case.dockerfile {
            for dir in ["context", "dockerfile"] {
                bridge.add(dir, case.filename(), text.as_bytes());
            }
        }
        bridge
    }

    /// Adds a file of the client's, or of the web, where `dir` is the URL and `path` its last part.
    pub(crate) fn add(&mut self, dir: &str, path: &str, data: &[u8]) {
        self.files
            .insert((dir.to_owned(), clean(path)), data.to_vec());
    }

    /// Returns the last definition that was solved, decoded.
    pub(crate) fn result(&self) -> Option<pb::Definition> {
        self.definitions
            .lock()
            .expect("no test panics with it")
            .last()
            .cloned()
    }
}

fn linux() -> Platform {
    Platform::new("linux", "amd64", "")
}

fn clean(path: &str) -> String {
    path.split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect::<Vec<_>>()
        .join("/")
}

/// Returns the operations of a definition.
pub(crate) fn ops(definition: &pb::Definition) -> Vec<pb::Op> {
    let decode = |bytes: &Vec<u8>| pb::Op::decode(&bytes[..]).expect("our ops decode");
    definition.def.iter().map(decode).collect()
}

/// Returns the names and attributes of a definition's sources.
pub(crate) fn sources(definition: &pb::Definition) -> Vec<pb::SourceOp> {
    let source = |op: pb::Op| match op.op {
        Some(pb::op::Op::Source(source)) => Some(source),
        _ => None,
    };
    ops(definition).into_iter().filter_map(source).collect()
}

#[async_trait]
impl Bridge for RecordingBridge {
    async fn solve(&self, definition: pb::Definition) -> Result<Option<Reference>, BuildError> {
        self.definitions
            .lock()
            .expect("no test panics with it")
            .push(definition.clone());
        if definition.def.is_empty() {
            return Ok(None);
        }
        if self.trusts {
            return Ok(Some(Reference::foreign(definition)));
        }
        let loaded = Graph::load(&definition, &linux(), &Entitlements::default());
        let known = |error: &LoadError| !error.to_string().starts_with("requested feature ");
        if let Some(error) = loaded.err().filter(known) {
            self.refused
                .lock()
                .expect("no test panics with it")
                .push(error.to_string());
        }
        Ok(Some(Reference::foreign(definition)))
    }

    async fn solve_with(
        &self,
        definition: pb::Definition,
        options: SolveOptions,
    ) -> Result<Option<Reference>, BuildError> {
        self.cache_imports
            .lock()
            .expect("no test panics with it")
            .extend(options.cache_imports);
        self.solve(definition).await
    }

    async fn run_frontend(&self, _: FrontendRequest) -> Result<BuildResult, BuildError> {
        Err(BuildError::new("there are no other frontends here"))
    }

    async fn resolve_source(
        &self,
        request: ResolveSourceRequest,
    ) -> Result<ResolvedSource, BuildError> {
        self.lookups
            .lock()
            .expect("no test panics with it")
            .push(request.log_name.clone());
        if request.source.identifier.starts_with("http") {
            return Ok(ResolvedSource {
                http: Some((Digest::of(b""), "name".to_owned(), self.modified)),
                ..ResolvedSource::default()
            });
        }
        let missing = || BuildError::new("no sources are looked up here");
        let commit = self.commit.clone().ok_or_else(missing)?;
        let objects = GitObjects {
            commit,
            ..GitObjects::default()
        };
        Ok(ResolvedSource {
            source: request.source,
            git: Some(ResolvedGit {
                objects: request.git_objects.then_some(objects),
                ..ResolvedGit::default()
            }),
            ..ResolvedSource::default()
        })
    }

    async fn spawn(&self, _: FrontendProcess) -> Result<RunningProcess, BuildError> {
        Err(BuildError::new("no programs are run here"))
    }

    async fn new_container(&self, _: ContainerRequest) -> Result<Container, BuildError> {
        Err(BuildError::new("no containers here"))
    }

    async fn resolve_image_config(
        &self,
        reference: &str,
        _options: ResolveImageOptions,
    ) -> Result<ResolvedImage, BuildError> {
        if self.forbids_images {
            return Err(BuildError::new("denied"));
        }
        let config = self.images.get(reference);
        let config = config.ok_or_else(|| BuildError {
            unavailable: true,
            ..BuildError::new("no such image")
        })?;
        Ok(ResolvedImage {
            reference: reference.to_owned(),
            digest: Digest::of(config),
            config: config.clone(),
        })
    }

    async fn read_file(
        &self,
        reference: &Reference,
        path: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Vec<u8>, BuildError> {
        let source = sources(reference.definition()).pop().expect("a source");
        let dir = source.identifier.trim_start_matches("local://").to_owned();
        let missing = || BuildError::new(format!("open {path}: no such file or directory"));
        let mut data = self
            .files
            .get(&(dir, clean(path)))
            .cloned()
            .ok_or_else(missing)?;
        if let Some((offset, length)) = range {
            data = data
                .into_iter()
                .skip(offset as usize)
                .take(length as usize)
                .collect();
        }
        Ok(data)
    }

    async fn read_dir(
        &self,
        _reference: &Reference,
        path: &str,
        _include: Option<&str>,
    ) -> Result<Vec<(Vec<u8>, Stat)>, BuildError> {
        let missing = || BuildError::new(format!("lstat {path}: no such file or directory"));
        self.archive.get(path).cloned().ok_or_else(missing)
    }

    async fn stat_file(
        &self,
        _reference: &Reference,
        _path: &str,
    ) -> Result<(Vec<u8>, Stat), BuildError> {
        Err(BuildError::new("nothing is described here"))
    }

    async fn evaluate(&self, _reference: &Reference) -> Result<(), BuildError> {
        Ok(())
    }

    fn warn(&self, _vertex: Digest, warning: Warning) {
        self.warnings
            .lock()
            .expect("no test panics with it")
            .push(warning);
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

    fn worker_platforms(&self) -> Vec<Platform> {
        vec![linux()]
    }

    fn worker(&self) -> &WorkerInfo {
        &self.worker
    }

    fn has_cap(&self, id: &str) -> bool {
        !self.lacks.iter().any(|lacking| lacking == id)
    }
}
