//! The recorded cases, and what a build is given of one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use lamina_session::LocalOwner;
use lamina_session::LocalSession;
use lamina_testkit::server::Reply;
use lamina_testkit::server::Server;
use serde_json::Map;
use serde_json::Value;

/// The files of recorded builds.
const CASES: [&str; 3] = [
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/goldens/dockerfile/cases.jsonl"
    ),
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/goldens/dockerfile/further.jsonl"
    ),
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/goldens/dockerfile/platforms.jsonl"
    ),
];

/// What stands in the data for the server that serves the members `web` of the cases.
const WEB: &str = "@WEB@";

/// The recorded builds, and the server that they add files from.
pub(crate) struct Cases {
    pub(crate) list: Vec<Value>,
    _web: Server,
}

impl Cases {
    /// Reads the cases, and serves what they want from the web.
    pub(crate) fn load() -> Self {
        let texts = CASES.map(|file| fs::read_to_string(file).expect("it is in the repository"));
        let web = serve(&builds(&texts.concat()));
        let address = format!("http://{}", web.host());
        Self {
            list: builds(&texts.concat().replace(WEB, &address)),
            _web: web,
        }
    }
}

fn builds(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a case per line"))
        .filter(|case: &Value| case["kind"] == "build")
        .collect()
}

fn serve(cases: &[Value]) -> Server {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for file in cases
        .iter()
        .filter_map(|case| case["web"].as_array())
        .flatten()
    {
        let path = file["path"].as_str().expect("a path").to_owned();
        files.insert(path, content(file));
    }
    Server::start(move |call| match files.get(&call.target) {
        Some(data) => {
            Reply::new(200, data.clone()).header("Last-Modified", "Sun, 09 Sep 2001 01:46:40 GMT")
        }
        None => Reply::new(404, "no"),
    })
}

/// What a build of a case is given.
pub(crate) struct Inputs {
    pub(crate) session: LocalSession,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) entitlements: Vec<String>,
    /// Where the tree goes, and the image.
    pub(crate) outputs: Outputs,
}

/// The files that a build writes.
#[derive(Clone)]
pub(crate) struct Outputs {
    pub(crate) tree: PathBuf,
    pub(crate) image: PathBuf,
}

impl Inputs {
    /// Writes the files of a case below `dir`, which is to be empty.
    pub(crate) fn new(case: &Value, base: &Path, dir: &Path) -> Self {
        let outputs = Outputs {
            tree: dir.join("tree.tar"),
            image: dir.join("image.tar"),
        };
        let mut options: BTreeMap<String, String> = strings(&case["opts"]);
        options.insert("context:base".to_owned(), "local:base".to_owned());
        let context = dir.join("context");
        write_context(&context, case, &options);
        let mut session = LocalSession::builder()
            .local_owner(LocalOwner::AsIs)
            .local_dir("base", base)
            .local_dir("context", &context)
            .local_dir("dockerfile", &context)
            .file_target(0, &outputs.tree)
            .file_target(1, &outputs.image);
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
        let names = case["allow"].as_array().into_iter().flatten();
        let names = names.filter_map(Value::as_str).map(str::to_owned);
        Self {
            session: session.build(),
            options,
            entitlements: names.collect(),
            outputs,
        }
    }
}

fn write_context(dir: &Path, case: &Value, options: &BTreeMap<String, String>) {
    fs::create_dir(dir).expect("created");
    write_files(dir, &case["files"]);
    if let Some(text) = case["dockerfile"].as_str() {
        let name = options.get("filename").map_or("Dockerfile", String::as_str);
        let file = dir.join(name);
        fs::create_dir_all(file.parent().expect("a parent")).expect("folders");
        fs::write(file, text).expect("written");
    }
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
            fs::write(&path, content(file)).expect("written");
            set_mode(&path, &file["mode"], 0o644);
        }
    }
}

/// Returns what is in a file: its data, or the archive that it describes.
fn content(file: &Value) -> Vec<u8> {
    match &file["tar"] {
        Value::Null => file["data"]
            .as_str()
            .unwrap_or_default()
            .as_bytes()
            .to_vec(),
        entries => archive(entries, file["gzip"] == true),
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
