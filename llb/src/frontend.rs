//! The contract between the engine and frontends.
//!
//! A [`Frontend`] turns the client's options into a [`BuildResult`] by asking a [`Bridge`]. The
//! bridge is what the gateway protocol offers over the wire (rows GW-01 to GW-35), so a frontend
//! in this process has no path of its own into the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use lamina_sources::GitObjects;
use lamina_types::Digest;
use lamina_types::Platform;
use lamina_types::Position;
use lamina_types::SourceFile;
use lamina_types::SourceRange;
use lamina_types::Stat;
use prost::Message;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::BuildError;
use crate::Container;
use crate::ContainerRequest;
use crate::Reference;

/// What a frontend made: trees and what exporters should know of them (section 10.1).
#[derive(Clone, Default)]
pub struct BuildResult {
    /// The trees.
    pub refs: ResultRefs,
    /// `containerimage.config`, `refs.platforms` and so on.
    pub metadata: BTreeMap<String, Vec<u8>>,
}

/// The trees of a result. `None` = scratch.
#[derive(Clone)]
pub enum ResultRefs {
    /// One tree.
    Single(Option<Reference>),
    /// One tree per key; `refs.platforms` says what the keys mean (row RMD-03).
    Map(BTreeMap<String, Option<Reference>>),
}

impl Default for ResultRefs {
    fn default() -> Self {
        Self::Single(None)
    }
}

impl ResultRefs {
    /// Returns all trees with their keys; a single one has the empty key.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (&str, Option<&Reference>)> + Send + '_> {
        match self {
            Self::Single(reference) => Box::new(std::iter::once(("", reference.as_ref()))),
            Self::Map(map) => Box::new(map.iter().map(|(key, r)| (key.as_str(), r.as_ref()))),
        }
    }
}

/// What a reference to an image names (row GW-08).
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// The reference in full form.
    pub reference: String,
    /// Digest of the index or manifest that it names.
    pub digest: Digest,
    /// The image config, as JSON.
    pub config: Vec<u8>,
}

/// How an image is looked up (rows GW-03 to GW-06).
#[derive(Clone, Debug, Default)]
pub struct ResolveImageOptions {
    /// Which manifest of an index; `None` = the default platform.
    pub platform: Option<Platform>,
    /// `default`, `pull` or `local`; empty = `default`.
    pub mode: String,
    /// Name of the progress step; made up if empty.
    pub log_name: String,
    /// The reference is `store@digest` of a layout that the client serves.
    pub oci_layout: bool,
    /// The session that serves the layout; empty = the build's.
    pub session: String,
    /// The client's name for the layout; empty = the one in the reference.
    pub store: String,
    /// Rules beside those of the build (row GW-07).
    pub policies: Vec<Policy>,
}

/// Beside the definition, what a solve is asked with (rows GW-19, GW-21).
#[derive(Clone, Debug, Default)]
pub struct SolveOptions {
    /// Caches to look in.
    pub cache_imports: Vec<CacheOption>,
    /// Rules beside those of the build.
    pub policies: Vec<Policy>,
}

/// A cache to read or write: its type and attributes (rows CSOL-11, CSOL-12).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct CacheOption {
    /// `registry`, `local`, `inline`..
    pub kind: String,
    /// Attributes of that type.
    pub attrs: BTreeMap<String, String>,
}

/// A call of another frontend (row GW-15).
#[derive(Clone, Debug, Default)]
pub struct FrontendRequest {
    /// Under which name it is registered.
    pub name: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Definitions that it may use by name.
    pub inputs: BTreeMap<String, pb::Definition>,
    /// For what it solves.
    pub solve: SolveOptions,
}

/// A source to look at without fetching it (rows GW-09 to GW-13).
#[derive(Clone, Debug, Default)]
pub struct ResolveSourceRequest {
    /// Identifier and attributes.
    pub source: pb::SourceOp,
    /// For images; `None` = the default platform.
    pub platform: Option<Platform>,
    /// Name of the progress step; made up if empty.
    pub log_name: String,
    /// As in [`ResolveImageOptions::mode`].
    pub mode: String,
    /// Leave the config of an image out.
    pub no_config: bool,
    /// Get the objects of a commit too, for which it is fetched (row GW-11).
    pub git_objects: bool,
    /// Rules beside those of the build.
    pub policies: Vec<Policy>,
}

/// What a source is now.
#[derive(Clone, Debug, Default)]
pub struct ResolvedSource {
    /// The source after all rules (row GW-13).
    pub source: pb::SourceOp,
    /// Digest and config of an image.
    pub image: Option<(Digest, Vec<u8>)>,
    /// Digest, file name and modification time (seconds) of a file from the web.
    pub http: Option<(Digest, String, Option<i64>)>,
    /// A commit.
    pub git: Option<ResolvedGit>,
}

/// What a name in a repository of git means now (row GW-11).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResolvedGit {
    /// The full name, or the commit if the source names no other.
    pub reference: String,
    /// The object that the name points to: a commit, or an annotated tag.
    pub object: String,
    /// The commit, if the object is known to be an annotated tag.
    pub commit: Option<String>,
    /// The objects as git has them, if they were asked for.
    pub objects: Option<GitObjects>,
}

/// A program that is a frontend, to be run in a sandbox (row FGW-07).
#[derive(Clone)]
pub struct FrontendProcess {
    /// Its root, which it may write to; nothing of that is kept.
    pub root: Reference,
    /// Program and arguments.
    pub args: Vec<String>,
    /// `K=V` in order.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// As in the image config.
    pub user: String,
    /// Without any network (row FGW-10).
    pub no_network: bool,
    /// Files that it finds, by absolute path.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A frontend program at work.
pub struct RunningProcess {
    /// Its standard output and input.
    pub pipe: Pipe,
    /// Ends when it does, with what it wrote to standard error if it failed. Dropping this stops it.
    pub exit: BoxFuture<'static, Result<(), BuildError>>,
}

/// Bytes from and to a program.
pub struct Pipe {
    /// What it says.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What it is told.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Lets a program at the other end of a pipe use a bridge; the gateway protocol is the only one.
#[async_trait]
pub trait BridgeServer: Send + Sync {
    /// Serves until the program returns a result or an error; `None` if it closed the pipe without
    /// (rows GW-30, GW-36).
    async fn serve(
        &self,
        bridge: Arc<dyn Bridge>,
        pipe: Pipe,
    ) -> Option<Result<BuildResult, BuildError>>;
}

/// What steps run on (rows GW-01, CTL-03).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Stable as long as the state folder lives.
    pub id: String,
    /// By full name.
    pub labels: BTreeMap<String, String>,
}

/// A problem with the user's file: what clients print with the excerpt (rows ERR-02, GW-35).
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "named as on the wire")]
pub struct Warning {
    pub short: String,
    pub detail: Vec<String>,
    pub url: String,
    pub source: Option<pb::SourceInfo>,
    pub ranges: Vec<pb::Range>,
    pub level: i32,
}

impl Warning {
    /// Returns what watchers of the build see.
    pub(crate) fn into_event(self) -> lamina_types::Warning {
        lamina_types::Warning {
            level: self.level.into(),
            short: self.short,
            detail: self.detail,
            url: self.url,
            file: self.source.map(|source| Arc::new(source_file(source))),
            ranges: self.ranges.iter().map(source_range).collect(),
        }
    }
}

fn source_file(source: pb::SourceInfo) -> SourceFile {
    let definition = source.definition.as_ref();
    SourceFile {
        definition: definition.map(Message::encode_to_vec).unwrap_or_default(),
        filename: source.filename,
        language: source.language,
        data: source.data,
    }
}

fn source_range(range: &pb::Range) -> SourceRange {
    let position = |position: Option<pb::Position>| {
        let pb::Position { line, character } = position.unwrap_or_default();
        Position { line, character }
    };
    SourceRange {
        start: position(range.start),
        end: position(range.end),
    }
}

/// What a frontend may ask of the engine (rows GW-01 to GW-35); the gRPC service is a thin shell
/// on it.
#[async_trait]
pub trait Bridge: Send + Sync {
    /// Loads and validates; runs nothing. Empty definition = `None` (scratch).
    async fn solve(&self, definition: pb::Definition) -> Result<Option<Reference>, BuildError>;

    /// The same with options of the call.
    async fn solve_with(
        &self,
        definition: pb::Definition,
        options: SolveOptions,
    ) -> Result<Option<Reference>, BuildError>;

    /// Runs another frontend in this build (rows GW-15, FGW-12).
    async fn run_frontend(&self, request: FrontendRequest) -> Result<BuildResult, BuildError>;

    /// Looks a source of any kind up without fetching it (rows GW-09 to GW-13).
    async fn resolve_source(
        &self,
        request: ResolveSourceRequest,
    ) -> Result<ResolvedSource, BuildError>;

    /// Starts a program that is a frontend (row FGW-07).
    async fn spawn(&self, process: FrontendProcess) -> Result<RunningProcess, BuildError>;

    /// Makes a container, building what its mounts name first (rows EXE-01 to EXE-06). It ends with
    /// the build.
    async fn new_container(&self, request: ContainerRequest) -> Result<Container, BuildError>;

    /// Looks an image up without pulling its layers.
    async fn resolve_image_config(
        &self,
        reference: &str,
        options: ResolveImageOptions,
    ) -> Result<ResolvedImage, BuildError>;

    /// Reads a regular file, following links inside the tree; `range` = offset, length (row GW-25).
    async fn read_file(
        &self,
        reference: &Reference,
        path: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Vec<u8>, BuildError>;

    /// Lists direct children, sorted by name; `include` is an ignore-file pattern (row GW-26).
    async fn read_dir(
        &self,
        reference: &Reference,
        path: &str,
        include: Option<&str>,
    ) -> Result<Vec<(Vec<u8>, Stat)>, BuildError>;

    /// Describes what `path` leads to, under the base name of the resolved path (row GW-27).
    async fn stat_file(
        &self,
        reference: &Reference,
        path: &str,
    ) -> Result<(Vec<u8>, Stat), BuildError>;

    /// Runs what `reference` needs (row GW-24).
    async fn evaluate(&self, reference: &Reference) -> Result<(), BuildError>;

    /// Adds a warning to a vertex, known to the solver or not (row GW-35).
    fn warn(&self, vertex: Digest, warning: Warning);

    /// Options as given by the client, `build-arg:X` and so on (section 8.2).
    fn options(&self) -> &BTreeMap<String, String>;

    /// Named definitions that the client offers (row GW-29).
    fn inputs(&self) -> &BTreeMap<String, pb::Definition>;

    /// Id of the client's session.
    fn session_id(&self) -> &str;

    /// What steps run on.
    fn worker(&self) -> &WorkerInfo;

    /// What steps can run for now; first = default target platform.
    fn worker_platforms(&self) -> Vec<Platform>;

    /// Whether the cap `id` of section 7.1 is offered.
    fn has_cap(&self, id: &str) -> bool;
}

/// A frontend: registered by name with the engine (`dockerfile.v0`).
#[async_trait]
pub trait Frontend: Send + Sync {
    /// Makes a result of what the bridge's options ask for.
    async fn build(&self, bridge: Arc<dyn Bridge>) -> Result<BuildResult, BuildError>;
}
