//! The recorded cases of the Dockerfile language: what goes in, and what BuildKit made of it.
//!
//! The format is described in `tests/goldens/dockerfile/README.md`.

use std::collections::BTreeMap;
use std::path::Path;

use lamina_llb::BuildError;
use serde::Deserialize;
use serde_json::Value;

/// A case.
#[derive(Clone, Debug, Deserialize)]
#[expect(
    dead_code,
    reason = "what whole builds give is compared in the workspace's tests"
)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) kind: String,
    /// `None`: no Dockerfile is written.
    pub(crate) dockerfile: Option<String>,
    #[serde(default)]
    pub(crate) files: Vec<CaseFile>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Vec<CaseFile>>,
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) allow: Vec<String>,
    #[serde(default)]
    pub(crate) opts: BTreeMap<String, String>,
    pub(crate) result: Option<CaseResult>,
    /// The same by platform.
    #[serde(default)]
    pub(crate) results: BTreeMap<String, CaseResult>,
    pub(crate) error: Option<CaseError>,
    #[serde(default)]
    pub(crate) warnings: Vec<CaseWarning>,
    pub(crate) subresult: Option<Value>,
}

/// A file of a context; which members are set says what it is.
#[derive(Clone, Debug, Deserialize)]
#[expect(
    dead_code,
    reason = "what whole builds give is compared in the workspace's tests"
)]
pub(crate) struct CaseFile {
    /// A slash at the end makes it a directory.
    pub(crate) path: String,
    pub(crate) data: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) link: Option<String>,
    pub(crate) tar: Option<Value>,
    #[serde(default)]
    pub(crate) gzip: bool,
}

/// What a successful build gave.
#[derive(Clone, Debug, Deserialize)]
#[expect(
    dead_code,
    reason = "what whole builds give is compared in the workspace's tests"
)]
pub(crate) struct CaseResult {
    pub(crate) config: Value,
    pub(crate) history: Option<Vec<Value>>,
    pub(crate) layers: Option<usize>,
    pub(crate) tree_base: String,
    pub(crate) tree: Vec<Value>,
}

/// How a build failed.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct CaseError {
    pub(crate) message: String,
    /// First and last marked line; `None`: the error has no source.
    pub(crate) lines: Option<(u32, u32)>,
    /// The source's name, if it is not `Dockerfile`.
    pub(crate) file: Option<String>,
}

/// A warning of the build.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct CaseWarning {
    pub(crate) short: String,
    #[serde(default)]
    pub(crate) url: String,
    pub(crate) lines: Option<(u32, u32)>,
}

impl Case {
    /// Returns the name of the Dockerfile.
    pub(crate) fn filename(&self) -> &str {
        self.opts
            .get("filename")
            .map_or("Dockerfile", String::as_str)
    }

    /// Returns the frontend's options: those of the case, and the base directory as a context.
    pub(crate) fn options(&self) -> BTreeMap<String, String> {
        let mut options = self.opts.clone();
        options.insert("context:base".to_owned(), "local:base".to_owned());
        for name in self.contexts.keys() {
            options
                .entry(format!("context:{name}"))
                .or_insert_with(|| format!("local:{name}"));
        }
        options
    }
}

/// Reads the cases.
pub(crate) fn load(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).expect("the recorded cases are part of the source");
    // Nothing is fetched here, so any server will do.
    let text = text.replace("@WEB@", "http://files.example");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a recorded case reads"))
        .collect()
}

/// Returns the message as it was recorded: by a client in Go, whose typed errors repeat what their
/// detail says in front of the daemon's message (rows ERR-07, ERR-08).
pub(crate) fn as_go_clients_print(error: &BuildError) -> String {
    let message = &error.message;
    match (&error.frontend_cap, &error.subrequest) {
        (Some(cap), _) => {
            format!("unsupported frontend capability {cap}: Unimplemented: {message}")
        }
        (None, Some(request)) => format!("unsupported request {request}: {message}"),
        (None, None) => message.clone(),
    }
}
