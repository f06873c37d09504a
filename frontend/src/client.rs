//! The client's side of a build: its Dockerfile, ignore files and contexts (rows FDF-01 to FDF-05).
//!
//! Everything comes through the bridge: a source is put into a definition, solved, and read.

use std::sync::Arc;

use lamina_llb::Bridge;
use lamina_llb::BuildError;
use lamina_llb::Reference;
use lamina_patterns::parse_ignore_file;
use lamina_proto::pb;
use lamina_types::Digest;
use lamina_types::Platform;
use tokio::sync::OnceCell;

use crate::error::FrontendError;
use crate::error::MAX_DOCKERFILE_BYTES;
use crate::error::Result;
use crate::graph::Graph;
use crate::graph::LocalSource;
use crate::graph::Output;
use crate::graph::Vertex;
use crate::graph::local;
use crate::ignore::IgnoreFile;
use crate::located::Located;
use crate::paths;

mod download;
mod remote;

const IGNORE_FILE: &str = ".dockerignore";
const DOCKERFILE: &str = "Dockerfile";

/// Reads what the client has.
pub(crate) struct Client {
    bridge: Arc<dyn Bridge>,
    filename: String,
    dockerfile_dir: String,
    /// The build context, if it is no directory of the client.
    context: Option<pb::Definition>,
    /// Where the Dockerfile is, if not in a directory of the client.
    dockerfile: Option<pb::Definition>,
    /// `<filename>.dockerignore`, if there is one.
    own_ignore_file: OnceCell<Vec<u8>>,
    ignore: OnceCell<Arc<IgnoreFile>>,
}

/// The Dockerfile.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) text: String,
    /// As errors and definitions show it.
    pub(crate) info: pb::SourceInfo,
    /// The vertex that warnings are attached to.
    pub(crate) vertex: Digest,
}

impl Client {
    /// Finds out where Dockerfile and context are.
    ///
    /// # Errors
    /// If a remote context cannot be loaded.
    pub(crate) async fn new(bridge: Arc<dyn Bridge>) -> Result<Self> {
        let option = |key: &str| bridge.options().get(key).cloned();
        let dockerfile_key = option("dockerfilekey");
        let forced = dockerfile_key.is_some();
        let mut client = Self {
            filename: option("filename").unwrap_or_else(|| DOCKERFILE.to_owned()),
            dockerfile_dir: dockerfile_key.unwrap_or_else(|| "dockerfile".to_owned()),
            context: None,
            dockerfile: None,
            own_ignore_file: OnceCell::new(),
            ignore: OnceCell::new(),
            bridge,
        };
        client.find_remote_context().await?;
        if forced {
            client.dockerfile = None;
        }
        Ok(client)
    }

    /// Returns the engine.
    pub(crate) fn bridge(&self) -> &dyn Bridge {
        self.bridge.as_ref()
    }

    /// Returns an option.
    pub(crate) fn option(&self, key: &str) -> Option<&str> {
        self.bridge.options().get(key).map(String::as_str)
    }

    /// Says whether the engine has a capability.
    pub(crate) fn has_cap(&self, cap: &str) -> bool {
        self.bridge.has_cap(cap)
    }

    /// Returns the platform that steps run on.
    pub(crate) fn build_platform(&self) -> Platform {
        let platforms = self.bridge.worker_platforms();
        platforms.into_iter().next().unwrap_or_else(Platform::host)
    }

    /// Returns the build context, if it is no directory of the client.
    pub(crate) fn main_context(&self) -> Option<&pb::Definition> {
        self.context.as_ref()
    }

    /// Returns the session that serves the directory `name`.
    pub(crate) fn session_of(&self, name: &str) -> String {
        let other = self.option(&format!("local-sessionid:{name}"));
        other.unwrap_or(self.bridge.session_id()).to_owned()
    }

    /// Reads the Dockerfile.
    ///
    /// # Errors
    /// If it is missing or larger than [`MAX_DOCKERFILE_BYTES`].
    pub(crate) async fn read_dockerfile(&self) -> Result<Source> {
        let definition = match &self.dockerfile {
            Some(definition) => definition.clone(),
            None => alone(local(&self.dockerfile_source()).named(format!(
                "[internal] load build definition from {}",
                self.filename
            ))),
        };
        let vertex = head(&definition);
        let solved = self.bridge.solve(definition.clone()).await;
        let reference = solved.map_err(|error| engine(error, "failed to resolve dockerfile"))?;
        let bytes = self.dockerfile_bytes(reference.as_ref()).await?;
        if bytes.len() as u64 > MAX_DOCKERFILE_BYTES {
            return Err(FrontendError::DockerfileTooLarge.into());
        }
        let own_ignore = format!("{}{IGNORE_FILE}", self.filename);
        if let Ok(patterns) = self.read(reference.as_ref(), &own_ignore).await {
            // The cell is empty: the Dockerfile is read once.
            drop(self.own_ignore_file.set(patterns));
        }
        Ok(Source {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            info: pb::SourceInfo {
                filename: self.filename.clone(),
                data: bytes,
                definition: Some(definition),
                language: DOCKERFILE.to_owned(),
            },
            vertex,
        })
    }

    fn dockerfile_source(&self) -> LocalSource {
        let name = &self.filename;
        let mut follow = vec![name.clone(), format!("{name}{IGNORE_FILE}")];
        follow.extend(self.lower_case_name());
        LocalSource {
            name: self.dockerfile_dir.clone(),
            session: self.session_of(&self.dockerfile_dir),
            follow,
            shared_key: self.dockerfile_dir.clone(),
            always_send: true,
            ..LocalSource::default()
        }
    }

    /// `dockerfile` stands in for `Dockerfile`.
    fn lower_case_name(&self) -> Option<String> {
        if paths::base_name(&self.filename) != DOCKERFILE {
            return None;
        }
        let dir = self.filename.strip_suffix(DOCKERFILE)?;
        Some(format!("{dir}{}", DOCKERFILE.to_lowercase()))
    }

    async fn dockerfile_bytes(&self, reference: Option<&Reference>) -> Result<Vec<u8>> {
        let error = match self.read(reference, &self.filename).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        if let Some(name) = self.lower_case_name()
            && let Ok(bytes) = self.read(reference, &name).await
        {
            return Ok(bytes);
        }
        Err(engine(error, "failed to read dockerfile"))
    }

    /// Reads a file, one byte more than is allowed at most.
    async fn read(
        &self,
        reference: Option<&Reference>,
        path: &str,
    ) -> std::result::Result<Vec<u8>, BuildError> {
        let Some(reference) = reference else {
            return Err(missing(path));
        };
        self.bridge
            .read_file(reference, path, Some((0, MAX_DOCKERFILE_BYTES + 1)))
            .await
    }

    /// Returns the ignore file that applies to the build context (row FDF-47), an empty one if
    /// there is none.
    ///
    /// # Errors
    /// If the context cannot be reached, or a pattern is malformed.
    pub(crate) async fn ignore_file(&self) -> Result<Arc<IgnoreFile>> {
        let load = async {
            if self.context.is_some() {
                return Ok(Arc::new(IgnoreFile::parse(IGNORE_FILE, b"")?));
            }
            if let Some(own) = self.own_ignore_file.get() {
                let name = format!("{}{IGNORE_FILE}", self.filename);
                return Ok(Arc::new(IgnoreFile::parse(&name, own)?));
            }
            let source = LocalSource {
                shared_key: format!("context-{IGNORE_FILE}"),
                ..self.ignore_source("context")
            };
            let vertex = local(&source).named(format!("[internal] load {IGNORE_FILE}"));
            let bytes = self.read_ignore_file(vertex).await?;
            Ok(Arc::new(IgnoreFile::parse(IGNORE_FILE, &bytes)?))
        };
        self.ignore.get_or_try_init(|| load).await.cloned()
    }

    /// Returns the patterns of the ignore file in the directory `dir` of the named context `name`.
    ///
    /// # Errors
    /// If the directory cannot be reached.
    pub(crate) async fn ignore_file_of(&self, name: &str, dir: &str) -> Result<Vec<String>> {
        let source = LocalSource {
            shared_key: format!("context:{name}-{IGNORE_FILE}"),
            ..self.ignore_source(dir)
        };
        let shown = format!("[context {name}] load {IGNORE_FILE}");
        let bytes = self.read_ignore_file(local(&source).named(shown)).await?;
        Ok(patterns(&bytes))
    }

    fn ignore_source(&self, dir: &str) -> LocalSource {
        LocalSource {
            name: dir.to_owned(),
            session: self.session_of(dir),
            follow: vec![IGNORE_FILE.to_owned()],
            always_send: true,
            ..LocalSource::default()
        }
    }

    async fn read_ignore_file(&self, source: Vertex) -> Result<Vec<u8>> {
        let reference = self.bridge.solve(alone(source)).await?;
        if let Some(reference) = &reference {
            // Only a directory that cannot be reached is an error; a missing file is not.
            self.bridge.evaluate(reference).await?;
        }
        let read = self.read(reference.as_ref(), IGNORE_FILE).await;
        Ok(read.unwrap_or_default())
    }

    /// Returns the source of the build context, narrowed to the paths in `used`.
    pub(crate) fn context_source(&self, used: &[String], ignore: &[String]) -> LocalSource {
        LocalSource {
            name: "context".to_owned(),
            session: self.session_of("context"),
            excludes: ignore.to_vec(),
            follow: used.to_vec(),
            shared_key: "context".to_owned(),
            always_send: false,
        }
    }
}

fn patterns(bytes: &[u8]) -> Vec<String> {
    parse_ignore_file(bytes)
        .into_iter()
        .map(|(_, pattern)| pattern)
        .collect()
}

/// Returns a definition of one source.
pub(crate) fn alone(source: Vertex) -> pb::Definition {
    let mut graph = Graph::default();
    let output = Output::of(graph.add(source));
    graph.into_definition(Some(output), None)
}

/// Returns the digest of the vertex that a definition is for.
fn head(definition: &pb::Definition) -> Digest {
    let ops = definition.def.len().saturating_sub(1);
    Digest::of(
        definition
            .def
            .get(ops.saturating_sub(1))
            .map_or(&[][..], Vec::as_slice),
    )
}

/// Puts what was being done in front of the engine's message.
fn engine(error: BuildError, what: &str) -> Located<FrontendError> {
    Located::nowhere(FrontendError::Engine(error)).while_doing(what)
}

fn missing(path: &str) -> BuildError {
    BuildError::new(format!("open {path}: no such file or directory"))
}
