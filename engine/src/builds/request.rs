//! What a build is asked for, and what it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use lamina_llb::BuildResult;
use lamina_llb::CacheOption;
use lamina_llb::Entitlements;
use lamina_llb::Frontend;
use lamina_proto::pb;
use lamina_proto::sourcepolicy::Policy;
use lamina_session::Session;

use super::ReferenceNames;

/// What to build, for whom, and where to put it (section 2.1).
pub struct BuildRequest {
    /// The client's name for the build: others find it by that (row CSOL-01). Empty = one is made up.
    pub id: String,
    /// What makes the result.
    pub source: BuildSource,
    /// Where the result goes, by index: sessions know the targets by it (row CSOL-09). None = the
    /// result stays in the cache.
    pub exports: Vec<ExportRequest>,
    /// The client may add exporters when it knows the result, whose references get these ids
    /// (row CSOL-18). None = it is not asked.
    pub session_exporters: Option<ReferenceNames>,
    /// Caches to look in (row CSOL-12).
    pub cache_imports: Vec<CacheOption>,
    /// Caches to write (row CSOL-11).
    pub cache_exports: Vec<CacheOption>,
    /// Rules on sources (row CSOL-16).
    pub policy: Option<Policy>,
    /// Not to be remembered (row CSOL-15).
    pub internal: bool,
    /// The client's services.
    pub session: Arc<dyn Session>,
    /// Do not use what earlier builds made.
    pub no_cache: bool,
    /// What the steps may ask of the host; refused if the engine is not set up for it.
    pub entitlements: Entitlements,
}

impl BuildRequest {
    /// Asks for a result and nothing else.
    #[must_use]
    pub fn new(source: BuildSource, session: Arc<dyn Session>) -> Self {
        Self {
            id: String::new(),
            source,
            exports: Vec::new(),
            session_exporters: None,
            cache_imports: Vec::new(),
            cache_exports: Vec::new(),
            policy: None,
            internal: false,
            session,
            no_cache: false,
            entitlements: Entitlements::default(),
        }
    }
}

/// What makes the result of a build.
#[derive(Clone)]
pub enum BuildSource {
    /// A definition as it came from a client (row CSOL-02).
    Definition(pb::Definition),
    /// A frontend (rows CSOL-04 to CSOL-07).
    Frontend {
        /// Under which name it is registered.
        name: String,
        /// `filename`, `build-arg:X` and so on.
        options: BTreeMap<String, String>,
        /// Definitions that the frontend may use by name.
        inputs: BTreeMap<String, pb::Definition>,
    },
    /// A frontend that is no part of the engine: a client that drives the build itself (CSOL-03).
    Client {
        /// Gets the bridge and returns what the client returned.
        frontend: Arc<dyn Frontend>,
        /// As given by the client.
        options: BTreeMap<String, String>,
        /// Definitions that the client offers.
        inputs: BTreeMap<String, pb::Definition>,
    },
}

/// One exporter (section 10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportRequest {
    /// `image`, `oci`, `docker`, `local` or `tar`.
    pub kind: String,
    /// Attributes of that kind.
    pub attrs: BTreeMap<String, String>,
}

/// What a build gave.
#[derive(Clone)]
pub struct BuildOutcome {
    /// Keys of the exporters and `frontend.*` metadata (row CSOL-25).
    pub exporter_response: BTreeMap<String, String>,
    /// The evaluated result.
    pub result: BuildResult,
}
