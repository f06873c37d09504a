//! The golden file's scenarios.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lamina_proto::pb;
use prost::Message;
use serde::Deserialize;
use serde_json::Value;

use crate::tar_tree::Entry;

#[derive(Deserialize)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) builds: Vec<Build>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Build {
    definition: Option<String>,
    definitions: Vec<String>,
    pub(super) locals: BTreeMap<String, Value>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) shared_key: String,
    pub(super) cache_imports: Option<Vec<Transfer>>,
    pub(super) cache_exports: Option<Vec<Transfer>>,
    pub(super) restart_before: bool,
    pub(super) wipe_before: bool,
    pub(super) prune_before: Vec<String>,
    pub(super) concurrent_with_previous: bool,
    pub(super) start_after_log: Option<Sign>,
    pub(super) cancel_after_log: Option<Sign>,
    pub(super) vertices: Vec<Row>,
    pub(super) tree: Option<Vec<Entry>>,
    pub(super) error: Option<String>,
    pub(super) unstable: Vec<String>,
}

/// A cache that a build reads or writes.
#[derive(Deserialize)]
pub(super) struct Transfer {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The client's name of the folder.
    pub(super) dir: String,
    #[serde(default)]
    pub(super) attrs: BTreeMap<String, String>,
}

/// Something to wait for in a build's stream.
#[derive(Clone, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Sign {
    pub(super) build: usize,
    pub(super) vertex: String,
    /// `@started`, or a part of the log.
    pub(super) text: String,
}

/// The last state of one vertex.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) cached: bool,
    pub(super) ran: Vec<usize>,
    pub(super) unstable: Vec<String>,
}

impl Build {
    /// What is solved, one after the other; the last result is exported.
    pub(super) fn definitions(&self) -> Vec<pb::Definition> {
        let texts = self.definition.iter().chain(&self.definitions);
        let decode = |text: &String| {
            let bytes = BASE64_STANDARD.decode(text).expect("base64");
            pb::Definition::decode(bytes.as_slice()).expect("a definition")
        };
        texts.map(decode).collect()
    }

    /// Says whether all is solved by one client that drives the build.
    pub(super) fn is_driven(&self) -> bool {
        !self.definitions.is_empty()
    }
}
