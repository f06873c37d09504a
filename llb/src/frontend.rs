//! The contract between the engine and frontends.
//!
//! A [`Frontend`] turns the client's options into a [`BuildResult`] by asking a [`Bridge`]. The
//! bridge is what the gateway protocol offers over the wire (rows GW-01 to GW-35), so a frontend
//! in this process has no path of its own into the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use lamina_proto::pb;
use lamina_types::Digest;
use lamina_types::Platform;
use lamina_types::Stat;

use crate::BuildError;
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
}

/// A problem with the user's file: what clients print with the excerpt (rows ERR-02, GW-35).
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named as on the wire")]
pub struct Warning {
    pub short: String,
    pub detail: Vec<String>,
    pub url: String,
    pub source: Option<pb::SourceInfo>,
    pub ranges: Vec<pb::Range>,
    pub level: i32,
}

/// What a frontend may ask of the engine (rows GW-01 to GW-35); the gRPC service is a thin shell
/// on it.
#[async_trait]
pub trait Bridge: Send + Sync {
    /// Loads and validates; runs nothing. Empty definition = `None` (scratch).
    async fn solve(&self, definition: pb::Definition) -> Result<Option<Reference>, BuildError>;

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

    /// First = default target platform.
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
