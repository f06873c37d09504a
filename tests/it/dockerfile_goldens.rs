//! Dockerfiles with the results of BuildKit, built by the engine: config, history, tree, errors.
//!
//! `tests/goldens/dockerfile/README.md` describes the data. The base is made on this machine, so
//! trees are compared in what differs from it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
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
use lamina_session::LocalOwner;
use lamina_session::LocalSession;
use lamina_types::CancelToken;
use lamina_types::Digest;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::harness;
use crate::harness::User;
use crate::harness::skip;
use crate::scratch::scratch;

/// Cases that do not agree: those of the first two names in what comes out, the others in the words of
/// their errors only. docs/differences.md says why.
const DIFFERENT: [&str; 5] = [
    "copy/parents-dot",
    "add/tar-dotdot",
    "copy/wild-bad-pattern",
    "add/tar-symlink-then-file",
    "options/dockerfile-missing",
];

const CASES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/goldens/dockerfile/cases.jsonl"
);

type Tree = BTreeMap<String, Value>;

fn cases() -> Vec<Value> {
    let text = fs::read_to_string(CASES).expect("the cases are in the repository");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a case per line"))
        .filter(|case: &Value| case["kind"] == "build")
        .collect()
}

/// Writes the files of a context as the data describes them.
fn write_files(dir: &Path, files: &Value) {
    for file in files.as_array().into_iter().flatten() {
        let name = file["path"].as_str().expect("a path");
        let path = dir.join(name.trim_start_matches('/'));
        let parent = if name.ends_with('/') {
            path.as_path()
        } else {
            path.parent().expect("one")
        };
        fs::create_dir_all(parent).expect("folders");
        if name.ends_with('/') {
            set_mode(&path, &file["mode"], 0o755);
        } else if let Some(link) = file["link"].as_str() {
            std::os::unix::fs::symlink(link, &path).expect("a link");
        } else {
            let data = match &file["tar"] {
                Value::Null => file["data"]
                    .as_str()
                    .unwrap_or_default()
                    .as_bytes()
                    .to_vec(),
                entries => archive(entries, file["gzip"] == true),
            };
            fs::write(&path, data).expect("written");
            set_mode(&path, &file["mode"], 0o644);
        }
    }
}

fn number(value: &Value, default: u64) -> u64 {
    match value {
        Value::Number(number) => number.as_u64().expect("small"),
        Value::String(octal) => u64::from_str_radix(octal, 8).expect("octal"),
        _ => default,
    }
}

fn set_mode(path: &Path, mode: &Value, default: u64) {
    let mode = u32::try_from(number(mode, default)).expect("a mode");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

fn archive(entries: &Value, gzip: bool) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries.as_array().expect("entries") {
        let name = entry["path"].as_str().expect("a path");
        let mut header = tar::Header::new_gnu();
        let link = entry["link"].as_str();
        let (kind, mode) = match (link, name.ends_with('/')) {
            (Some(_), _) => (tar::EntryType::Symlink, 0o777),
            (None, true) => (tar::EntryType::Directory, 0o755),
            (None, false) => (tar::EntryType::Regular, 0o644),
        };
        header.set_entry_type(kind);
        header.set_mode(u32::try_from(number(&entry["mode"], mode)).expect("a mode"));
        header.set_uid(number(&entry["uid"], 0));
        header.set_gid(number(&entry["gid"], 0));
        header.set_mtime(1_000_000_000);
        // The names are hostile on purpose; the library's setters would refuse them.
        header.as_gnu_mut().expect("GNU").name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            header.as_gnu_mut().expect("GNU").linkname[..link.len()]
                .copy_from_slice(link.as_bytes());
        }
        let data = entry["data"].as_str().unwrap_or_default().as_bytes();
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).expect("appended");
    }
    let plain = builder.into_inner().expect("finished");
    if gzip { compress(&plain) } else { plain }
}

fn compress(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).expect("compressed");
    encoder.finish().expect("finished")
}

/// Reads the tree of an exported tar as the data describes trees.
fn tree(path: &Path) -> Tree {
    let mut archive = tar::Archive::new(fs::File::open(path).expect("exported"));
    let mut tree = Tree::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = format!("/{}", name.trim_start_matches("./").trim_matches('/'));
        if name == "/" {
            continue;
        }
        let row = describe(&name, &mut entry);
        tree.insert(name, row);
    }
    tree
}

fn describe(name: &str, entry: &mut tar::Entry<'_, fs::File>) -> Value {
    let header = entry.header().clone();
    let link = entry
        .link_name_bytes()
        .map(|link| String::from_utf8_lossy(&link).into_owned());
    let mut row = json!({
        "path": name,
        "mode": format!("{:04o}", header.mode().expect("a mode") & 0o7777),
        "uid": header.uid().expect("a uid"),
        "gid": header.gid().expect("a gid"),
    });
    let kind = header.entry_type();
    let name = match kind {
        tar::EntryType::Directory => "dir",
        tar::EntryType::Symlink => "symlink",
        tar::EntryType::Link => "hardlink",
        tar::EntryType::Fifo => "fifo",
        tar::EntryType::Char => "char",
        tar::EntryType::Block => "block",
        _ => "file",
    };
    row["type"] = name.into();
    match kind {
        tar::EntryType::Symlink => row["link"] = link.expect("a target").into(),
        tar::EntryType::Link => {
            let first = link.expect("a first name");
            row["link"] = format!("/{}", first.trim_start_matches('/')).into();
        }
        tar::EntryType::Regular => {
            let mut data = Vec::new();
            entry.read_to_end(&mut data).expect("data");
            if data.is_empty() {
                return row;
            }
            row["size"] = data.len().into();
            match String::from_utf8(data) {
                Ok(text) if text.len() <= 60 => row["data"] = text.into(),
                Ok(text) => row["sha256"] = Digest::of(text.as_bytes()).hex().into(),
                Err(error) => row["sha256"] = Digest::of(error.as_bytes()).hex().into(),
            }
        }
        _ => {}
    }
    row
}

/// Returns what of `tree` differs from `base`, in the form of the data.
fn difference(base: &Tree, tree: &Tree) -> Tree {
    let mut rows: Tree = tree
        .iter()
        .filter(|(path, row)| base.get(*path) != Some(row))
        .map(cloned)
        .collect();
    for path in base.keys().filter(|path| !tree.contains_key(*path)) {
        rows.insert(path.clone(), json!({"path": path, "removed": true}));
    }
    rows
}

fn cloned<'a>((key, value): (&'a String, &'a Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

/// Says in what the trees differ, if they do.
fn compare_trees(expected: &Value, found: &Tree) -> Result<(), String> {
    let mut found = found.clone();
    for row in expected.as_array().into_iter().flatten() {
        let path = row["path"].as_str().expect("a path");
        let mut ours = found.remove(path).unwrap_or(Value::Null);
        let mut theirs = row.clone();
        if theirs["opaque"] == true {
            for side in [&mut ours, &mut theirs] {
                for field in ["opaque", "size", "data", "sha256"] {
                    side.as_object_mut().map(|fields| fields.remove(field));
                }
            }
        }
        if ours != theirs {
            return Err(format!("tree: expected {theirs}, found {ours}"));
        }
    }
    match found.into_values().next() {
        Some(extra) => Err(format!("tree: not expected: {extra}")),
        None => Ok(()),
    }
}

/// The image inside an OCI archive.
struct Image {
    config: Value,
    layers: usize,
}

fn image(path: &Path) -> Image {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(fs::File::open(path).expect("exported"));
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // Layers are large and not looked at.
        if entry.size() < 1 << 20 {
            let mut data = Vec::new();
            entry.read_to_end(&mut data).expect("data");
            files.insert(name, data);
        }
    }
    let json = |name: &str| -> Value {
        serde_json::from_slice(files.get(name).unwrap_or_else(|| panic!("no {name}")))
            .expect("JSON")
    };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        json(&format!("blobs/{}", digest.replace(':', "/")))
    };
    let manifest = blob(&json("index.json")["manifests"][0]);
    Image {
        config: blob(&manifest["config"]),
        layers: manifest["layers"].as_array().expect("layers").len(),
    }
}

/// Compares the image's config without what the data leaves out.
fn compare_config(expected: &Value, image: Image) -> Result<(), String> {
    let mut config = image.config;
    let fields = config.as_object_mut().expect("an object");
    fields.remove("created");
    fields.remove("rootfs");
    let mut history = fields.remove("history").unwrap_or_default();
    for entry in history.as_array_mut().into_iter().flatten() {
        entry.as_object_mut().map(|fields| fields.remove("created"));
    }
    if config != expected["config"] {
        return Err(format!(
            "config: expected {}, found {config}",
            expected["config"]
        ));
    }
    if history != expected["history"] {
        return Err(format!(
            "history: expected {}, found {history}",
            expected["history"]
        ));
    }
    if expected["layers"] != image.layers {
        return Err(format!(
            "layers: expected {}, found {}",
            expected["layers"], image.layers
        ));
    }
    Ok(())
}

fn compare_error(expected: &Value, error: &BuildError) -> Result<(), String> {
    // Recorded by a client in Go, whose typed errors repeat what their detail says.
    let message = match (&error.frontend_cap, &error.subrequest) {
        (Some(cap), _) => {
            let message = &error.message;
            format!("unsupported frontend capability {cap}: Unimplemented: {message}")
        }
        (None, Some(request)) => format!("unsupported request {request}: {}", error.message),
        (None, None) => error.message.clone(),
    };
    let message = message.trim_start_matches("failed to solve: ");
    let wanted = expected["message"].as_str().expect("a message");
    // A source that the ignore file leaves out is told with the line: docs/differences.md.
    let (message, reason) = message
        .split_once("\": not found: ")
        .map_or((message.to_owned(), ""), |(start, reason)| {
            (format!("{start}\": not found"), reason)
        });
    let explained = reason.is_empty() || reason.contains(" was excluded by ");
    if normalised(&message) != normalised(wanted) || !explained {
        return Err(format!("error: expected {wanted:?}, found {message:?}"));
    }
    let lines = marked_lines(error);
    let wanted = &expected["lines"];
    if !wanted.is_null() && lines.as_ref() != Some(wanted) {
        return Err(format!("lines: expected {wanted}, found {lines:?}"));
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

fn marked_lines(error: &BuildError) -> Option<Value> {
    let ranges = || error.sources.iter().flat_map(|source| &source.ranges);
    let first = ranges()
        .filter_map(|range| Some(range.start.as_ref()?.line))
        .min()?;
    let last = ranges()
        .filter_map(|range| Some(range.end.as_ref()?.line))
        .max()?;
    Some(json!([first, last]))
}

/// An engine and the base that all cases share.
struct Bench {
    engine: Engine,
    dir: PathBuf,
    base: PathBuf,
    base_tree: Tree,
}

impl Bench {
    async fn new(dir: &Path, base: &Path) -> Self {
        let mut options = EngineOptions::new(dir.join("state"), dir.join("run"));
        options.program = harness::lamina().to_owned();
        let frontend = Arc::new(DockerfileFrontend);
        options
            .frontends
            .insert("dockerfile.v0".to_owned(), frontend);
        let engine = Engine::open(options).await.expect("the engine opens");
        let mut bench = Self {
            engine,
            dir: dir.to_owned(),
            base: base.to_owned(),
            base_tree: Tree::new(),
        };
        let case = json!({"name": "base", "dockerfile": "FROM base\n", "opts": {}});
        let (tar, _) = bench.build(&case).await.expect("the base builds");
        bench.base_tree = tree(&tar);
        bench
    }

    /// Builds a case and returns the exported tar and OCI archive.
    async fn build(&self, case: &Value) -> Result<(PathBuf, PathBuf), BuildError> {
        let dir = tempfile::tempdir_in(&self.dir).expect("a folder").keep();
        let (tar, oci) = (dir.join("tree.tar"), dir.join("image.tar"));
        let mut session = LocalSession::builder()
            .local_owner(LocalOwner::AsIs)
            .local_dir("base", &self.base)
            .file_target(0, &tar)
            .file_target(1, &oci);
        let mut options: BTreeMap<String, String> = strings(&case["opts"]);
        options.insert("context:base".to_owned(), "local:base".to_owned());
        let context = dir.join("context");
        fs::create_dir(&context).expect("created");
        write_files(&context, &case["files"]);
        if let Some(text) = case["dockerfile"].as_str() {
            let name = options.get("filename").map_or("Dockerfile", String::as_str);
            let file = context.join(name);
            fs::create_dir_all(file.parent().expect("a parent")).expect("folders");
            fs::write(file, text).expect("written");
        }
        session = session
            .local_dir("context", &context)
            .local_dir("dockerfile", &context);
        for (name, files) in case["contexts"].as_object().into_iter().flatten() {
            let further = dir.join(format!("further-{name}"));
            fs::create_dir(&further).expect("created");
            write_files(&further, files);
            session = session.local_dir(name, &further);
            options.insert(format!("context:{name}"), format!("local:{name}"));
        }
        for (id, value) in strings(&case["secrets"]) {
            session = session.secret_bytes(id, value);
        }
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
                options,
                inputs: BTreeMap::new(),
            },
            exports: vec![export("tar"), export("oci")],
            session: Arc::new(session.build()),
            no_cache: false,
            entitlements: entitlements(case)?,
        };
        let (events, _watcher) = tokio::sync::mpsc::unbounded_channel();
        let outcome = self
            .engine
            .build(request, events, &CancelToken::new())
            .await;
        outcome.map(|_| (tar, oci))
    }

    /// Builds a case and says in what it differs, if it does.
    async fn check(&self, case: &Value) -> Result<(), String> {
        match (self.build(case).await, &case["error"]) {
            (Ok((tar, oci)), Value::Null) => {
                let empty = Tree::new();
                let base = if case["tree_base"] == "base" || case["result"]["tree_base"] == "base" {
                    &self.base_tree
                } else {
                    &empty
                };
                compare_trees(&case["result"]["tree"], &difference(base, &tree(&tar)))?;
                compare_config(&case["result"], image(&oci))
            }
            (Err(error), Value::Null) => Err(format!("failed: {error}")),
            (Ok(_), error) => Err(format!("succeeded instead of {error}")),
            (Err(error), expected) => compare_error(expected, &error),
        }
    }
}

fn entitlements(case: &Value) -> Result<Entitlements, BuildError> {
    let names = case["allow"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let names: Vec<&str> = names.collect();
    Entitlements::parse(&names).map_err(|error| BuildError::new(error.to_string()))
}

fn strings(map: &Value) -> BTreeMap<String, String> {
    let fields: Map<String, Value> = map.as_object().cloned().unwrap_or_default();
    fields
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => (key, text),
            other => (key, other.to_string()),
        })
        .collect()
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
        let bench = Bench::new(dir.path(), base).await;
        let mut scores: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let mut surprises = Vec::new();
        for case in cases() {
            let name = case["name"].as_str().expect("a name");
            let score = scores.entry(case["group"].to_string()).or_default();
            score.1 += 1;
            match bench.check(&case).await {
                Ok(()) => score.0 += 1,
                Err(reason) => {
                    println!("differs: {name}: {reason}");
                    if !DIFFERENT.contains(&name) {
                        surprises.push(name.to_owned());
                    }
                }
            }
        }
        let (good, all) = scores
            .values()
            .fold((0, 0), |sum, score| (sum.0 + score.0, sum.1 + score.1));
        for (group, (good, all)) in &scores {
            println!("{group}: {good} of {all}");
        }
        println!("Dockerfiles: {good} of {all} agree");
        assert_eq!(surprises, [""; 0]);
    });
}
