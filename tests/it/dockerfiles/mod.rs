//! Dockerfiles with the results of BuildKit: config, history, layers, tree, errors and their lines.
//!
//! `tests/goldens/dockerfile/README.md` describes the data. The base is made on this machine, so
//! trees are compared in what differs from it. Here an embedded engine builds all of them as root;
//! `daemon::dockerfiles` does so with daemons of root's and of an ordinary user's.

mod cases;
mod images;
mod trees;

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use lamina_engine::BuildRequest;
use lamina_engine::BuildSource;
use lamina_engine::Engine;
use lamina_engine::EngineOptions;
use lamina_engine::ExportRequest;
use lamina_frontend::DockerfileFrontend;
use lamina_llb::BuildError;
use lamina_llb::Entitlements;
use lamina_proto::pb;
use lamina_types::CancelToken;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

pub(crate) use self::cases::Cases;
pub(crate) use self::cases::Inputs;
pub(crate) use self::cases::Outputs;
use self::images::Image;
use self::images::compare_config;
pub(crate) use self::images::image;
use self::images::images;
use self::trees::Tree;
use self::trees::compare_trees;
use self::trees::difference;
use self::trees::of_platform;
use self::trees::tree;
use crate::harness;
use crate::harness::User;
use crate::harness::skip;
use crate::scratch::scratch;

/// Cases that do not agree, in what comes out or in the words of their errors; docs/differences.md
/// says why.
pub(crate) const DIFFERENT: [&str; 5] = [
    "copy/parents-dot",
    "add/tar-dotdot",
    "copy/wild-bad-pattern",
    "add/tar-symlink-then-file",
    "options/dockerfile-missing",
];

/// What is told behind `not found` here, each with its row in docs/differences.md.
const REASONS: [&str; 4] = [
    " was excluded by ",
    " is not a directory",
    "there is /",
    " is a symbolic link that leads nowhere",
];

/// How a build failed.
pub(crate) struct Failed {
    pub(crate) message: String,
    /// The first and the last marked line.
    pub(crate) lines: Option<Value>,
}

impl Failed {
    /// Returns the failure with the lines of all `ranges`.
    pub(crate) fn at<'a>(message: String, ranges: impl Iterator<Item = &'a pb::Range>) -> Self {
        let marked: Vec<(i32, i32)> = ranges
            .filter_map(|range| Some((range.start?.line, range.end?.line)))
            .collect();
        let first = marked.iter().map(|(first, _)| *first).min();
        let last = marked.iter().map(|(_, last)| *last).max();
        Self {
            message,
            lines: first.zip(last).map(|(first, last)| json!([first, last])),
        }
    }
}

/// Something that builds.
pub(crate) trait Builder {
    /// Builds a case with `dockerfile.v0`, its tree as a tar and its image as an OCI archive.
    async fn build(&self, inputs: Inputs) -> Result<(), Failed>;
}

/// What a case was built to; its files go with it.
struct Built {
    outputs: Outputs,
    _dir: TempDir,
}

/// A builder, and the base that all cases share.
pub(crate) struct Bench<B> {
    builder: B,
    dir: PathBuf,
    base: PathBuf,
    base_tree: Tree,
}

impl<B: Builder> Bench<B> {
    /// Builds the base; `dir` is for files.
    pub(crate) async fn new(builder: B, dir: &Path, base: &Path) -> Self {
        let mut bench = Self {
            builder,
            dir: dir.to_owned(),
            base: base.to_owned(),
            base_tree: Tree::new(),
        };
        let case = json!({"name": "base", "dockerfile": "FROM base\n", "opts": {}});
        match bench.build(&case).await {
            Ok(built) => bench.base_tree = tree(&built.outputs.tree),
            Err(failed) => panic!("the base: {}", failed.message),
        }
        bench
    }

    async fn build(&self, case: &Value) -> Result<Built, Failed> {
        let dir = tempfile::tempdir_in(&self.dir).expect("a folder");
        let inputs = Inputs::new(case, &self.base, dir.path());
        let outputs = inputs.outputs.clone();
        self.builder.build(inputs).await?;
        Ok(Built { outputs, _dir: dir })
    }

    /// Builds a case and says in what it differs, if it does.
    async fn check(&self, case: &Value) -> Result<(), String> {
        match (self.build(case).await, &case["error"]) {
            (Ok(built), Value::Null) => self.compare(case, &built.outputs),
            (Err(failed), Value::Null) => Err(format!("failed: {}", failed.message)),
            (Ok(_), error) => Err(format!("succeeded instead of {error}")),
            (Err(failed), expected) => compare_error(expected, &failed),
        }
    }

    fn compare(&self, case: &Value, outputs: &Outputs) -> Result<(), String> {
        let whole = tree(&outputs.tree);
        let Some(results) = case["results"].as_object() else {
            return self.compare_result(&case["result"], &whole, image(&outputs.image));
        };
        let mut images = images(&outputs.image);
        for (platform, expected) in results {
            let image = images.remove(platform).ok_or(format!("no {platform}"))?;
            let part = of_platform(&whole, platform);
            let compared = self.compare_result(expected, &part, image);
            compared.map_err(|difference| format!("{platform}: {difference}"))?;
        }
        match images.into_keys().next() {
            Some(platform) => Err(format!("not expected: {platform}")),
            None => Ok(()),
        }
    }

    fn compare_result(&self, expected: &Value, tree: &Tree, image: Image) -> Result<(), String> {
        let empty = Tree::new();
        let based = expected["tree_base"] == "base";
        let base = if based { &self.base_tree } else { &empty };
        compare_trees(&expected["tree"], &difference(base, tree))?;
        compare_config(expected, image)
    }

    /// Builds all cases, and checks that none differs but those of which that is known.
    pub(crate) async fn check_all(&self, cases: &Cases, known: &[&str]) {
        let mut scores: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let mut differing = Vec::new();
        for case in &cases.list {
            let name = case["name"].as_str().expect("a name");
            let score = scores.entry(case["group"].to_string()).or_default();
            score.1 += 1;
            match self.check(case).await {
                Ok(()) => score.0 += 1,
                Err(reason) => {
                    println!("differs: {name}: {reason}");
                    differing.push(name);
                }
            }
        }
        for (group, (good, all)) in &scores {
            println!("{group}: {good} of {all}");
        }
        let all = cases.list.len();
        println!("Dockerfiles: {} of {all} agree", all - differing.len());
        differing.retain(|name| !known.contains(name));
        assert_eq!(differing, [""; 0]);
    }
}

fn compare_error(expected: &Value, failed: &Failed) -> Result<(), String> {
    let message = failed.message.trim_start_matches("failed to solve: ");
    let wanted = expected["message"].as_str().expect("a message");
    let (message, reason) = message
        .split_once("\": not found: ")
        .map_or((message.to_owned(), ""), |(start, reason)| {
            (format!("{start}\": not found"), reason)
        });
    let explained = reason.is_empty() || REASONS.iter().any(|known| reason.contains(known));
    if normalised(&message) != normalised(wanted) || !explained {
        return Err(format!("error: expected {wanted:?}, found {message:?}"));
    }
    let wanted = &expected["lines"];
    if !wanted.is_null() && failed.lines.as_ref() != Some(wanted) {
        return Err(format!(
            "lines: expected {wanted}, found {:?}",
            failed.lines
        ));
    }
    Ok(())
}

/// Cuts what names records of the store and places on the host.
fn normalised(message: &str) -> String {
    let message = message.replace("<mount>/", "/");
    let words: Vec<&str> = message.split(' ').collect();
    let after_ref = |index: usize| index > 0 && words[index - 1] == "ref";
    let word =
        |(index, word): (usize, &&str)| if after_ref(index) { "<ref>" } else { *word }.to_owned();
    words
        .iter()
        .enumerate()
        .map(word)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The engine in this process.
struct Embedded(Engine);

impl Embedded {
    async fn open(dir: &Path) -> Self {
        let mut options = EngineOptions::new(dir.join("state"), dir.join("run"));
        options.program = harness::lamina().to_owned();
        let frontend = Arc::new(DockerfileFrontend);
        options
            .frontends
            .insert("dockerfile.v0".to_owned(), frontend);
        Self(Engine::open(options).await.expect("the engine opens"))
    }
}

impl Builder for Embedded {
    async fn build(&self, inputs: Inputs) -> Result<(), Failed> {
        let names: Vec<&str> = inputs.entitlements.iter().map(String::as_str).collect();
        let entitlements = Entitlements::parse(&names)
            .map_err(|error| failed(&BuildError::new(error.to_string())))?;
        let export = |kind: &str| ExportRequest {
            kind: kind.to_owned(),
            ..Default::default()
        };
        let request = BuildRequest {
            id: String::new(),
            cache_imports: Vec::new(),
            cache_exports: Vec::new(),
            session_exporters: None,
            policy: None,
            internal: false,
            source: BuildSource::Frontend {
                name: "dockerfile.v0".to_owned(),
                options: inputs.options,
                inputs: BTreeMap::new(),
            },
            exports: vec![export("tar"), export("oci")],
            session: Arc::new(inputs.session),
            no_cache: false,
            entitlements,
        };
        let (events, _watcher) = tokio::sync::mpsc::unbounded_channel();
        let outcome = self.0.build(request, events, &CancelToken::new()).await;
        outcome.map(drop).map_err(|error| failed(&error))
    }
}

/// Words an error as the client in Go does that the data was recorded with: its typed errors repeat
/// what their detail says (rows ERR-07, ERR-08).
fn failed(error: &BuildError) -> Failed {
    let message = &error.message;
    let message = match (&error.frontend_cap, &error.subrequest) {
        (Some(cap), _) => {
            format!("unsupported frontend capability {cap}: Unimplemented: {message}")
        }
        (None, Some(request)) => format!("unsupported request {request}: {message}"),
        (None, None) => message.clone(),
    };
    let sources = error.sources.iter();
    Failed::at(message, sources.flat_map(|source| &source.ranges))
}

#[test]
fn dockerfiles_give_what_they_give_with_buildkit() {
    if let Err(reason) = harness::may_act_as(User::Root) {
        skip!("{reason}");
    }
    let base = match harness::base() {
        Ok(base) => base,
        Err(reason) => skip!("{reason}"),
    };
    let dir = scratch();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let cases = Cases::load();
        let builder = Embedded::open(dir.path()).await;
        let bench = Bench::new(builder, dir.path(), base).await;
        bench.check_all(&cases, &DIFFERENT).await;
    });
}
