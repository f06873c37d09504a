//! A result in temporary stores, and clients for it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use lamina_content::ContentStore;
use lamina_content::unpack_layer;
use lamina_exporters::ExportContext;
use lamina_exporters::ExportError;
use lamina_exporters::ExportInput;
use lamina_exporters::parse;
use lamina_registry::RegistryClient;
use lamina_registry::RegistryConfig;
use lamina_session::LocalSession;
use lamina_session::LocalSessionBuilder;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::XattrNamespace;
use lamina_types::Blocking;
use lamina_types::CancelToken;
use lamina_types::Progress;
use tempfile::TempDir;

pub(crate) fn report(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("standard error is open");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says whether a program is installed; prints why the test does nothing if not.
pub(crate) fn has_program(test: &str, program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        report(&format!("{test} skipped: {program} is not installed"));
    }
    found
}

/// Runs a program that must succeed, and returns what it printed.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().expect("runs");
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{program} {args:?}: {errors}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

pub(crate) type Response = BTreeMap<String, String>;

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) layers: SnapshotStore,
    pub(crate) content: ContentStore,
}

/// A file of a layer: path ending in `/` is a directory, `path=data` a file, `path->target` a
/// symlink, `path=>first` a hard link.
pub(crate) fn tar_of(files: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o644);
        if let Some((path, first)) = file.split_once("=>") {
            header.set_entry_type(tar::EntryType::Link);
            header.set_size(0);
            builder
                .append_link(&mut header, path, first)
                .expect("writes");
        } else if let Some((path, target)) = file.split_once("->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder
                .append_link(&mut header, path, target)
                .expect("writes");
        } else if file.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            builder
                .append_data(&mut header, file, &b""[..])
                .expect("writes");
        } else {
            let (path, data) = file.split_once('=').expect("path=data");
            header.set_size(data.len() as u64);
            builder
                .append_data(&mut header, path, data.as_bytes())
                .expect("writes");
        }
    }
    builder.into_inner().expect("writes")
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let namespace = match is_root() {
            true => XattrNamespace::Trusted,
            false => XattrNamespace::User,
        };
        let layers = SnapshotStore::open(&dir.path().join("layers"), namespace);
        let content = ContentStore::open(&dir.path().join("content"));
        Self {
            layers: layers.expect("opens"),
            content: content.expect("opens"),
            dir,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn stack(&self, layers: &[&[&str]]) -> LayerStack {
        let cancel = CancelToken::new();
        layers.iter().fold(LayerStack::empty(), |stack, files| {
            let tar = tar_of(files);
            let unpacked = unpack_layer(&self.layers, &stack, &mut &tar[..], &cancel, &|_| {});
            stack.push(unpacked.expect("unpacks").0)
        })
    }

    /// A two-layer result with a config.
    pub(crate) fn result(&self) -> ExportInput {
        let stack = self.stack(&[
            &["bin/", "bin/tool=#!", "etc/", "etc/name=old", "gone=x"],
            &["etc/name=new", ".wh.gone=", "link->bin/tool"],
        ]);
        let mut input = ExportInput::single(stack);
        let config = concat!(
            r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/tool"],"#,
            r#""Healthcheck":{"Test":["NONE"]}},"history":[{"created_by":"COPY bin","#,
            r#""created":"2001-01-01T00:00:00Z"},{"created_by":"ENV x","empty_layer":true}]}"#
        );
        let key = "containerimage.config".to_owned();
        input.metadata.insert(key, config.into());
        input
    }

    pub(crate) fn context(&self, session: LocalSessionBuilder) -> ExportContext {
        ExportContext {
            snapshots: self.layers.clone(),
            content: self.content.clone(),
            registry: RegistryClient::new(RegistryConfig::default()).expect("is well formed"),
            session: Arc::new(session.build()),
            blocking: Blocking::new(2).expect("threads start"),
            progress: Progress::default(),
            cancel: CancelToken::new(),
        }
    }

    pub(crate) async fn export(
        &self,
        kind: &str,
        attrs: &str,
        session: LocalSessionBuilder,
        input: &ExportInput,
    ) -> Result<Response, ExportError> {
        let exporter = parse(kind, &attrs_of(attrs), 0)?;
        exporter.export(input, &self.context(session)).await
    }

    /// Exports to the file `name` and returns its path.
    pub(crate) async fn to_file(
        &self,
        kind: &str,
        attrs: &str,
        name: &str,
        input: &ExportInput,
    ) -> (PathBuf, Response) {
        let path = self.path(name);
        let session = LocalSession::builder().file_target(0, &path);
        let response = self.export(kind, attrs, session, input).await;
        (path, response.expect("exports"))
    }

    /// Exports to the image layout `name` and returns its path.
    pub(crate) async fn to_oci_layout(&self, name: &str, input: &ExportInput) -> PathBuf {
        let path = self.path(name);
        let session = LocalSession::builder().directory_target(0, &path);
        let exported = self.export("oci", "tar=false", session, input).await;
        exported.expect("exports");
        path
    }

    /// Exports to the directory `name` and returns its path.
    pub(crate) async fn to_directory(
        &self,
        attrs: &str,
        name: &str,
        input: &ExportInput,
    ) -> Result<PathBuf, ExportError> {
        let path = self.path(name);
        let session = LocalSession::builder().directory_target(0, &path);
        self.export("local", attrs, session, input).await?;
        Ok(path)
    }
}

/// `a=b;c=d` as attributes.
pub(crate) fn attrs_of(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(';').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Files below a directory: path, and data or target.
pub(crate) fn files_below(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    collect(dir, "", &mut lines);
    lines
}

fn collect(dir: &Path, prefix: &str, lines: &mut Vec<String>) {
    let mut items: Vec<_> = std::fs::read_dir(dir)
        .expect("is readable")
        .map(|item| item.expect("is readable"))
        .collect();
    items.sort_by_key(std::fs::DirEntry::file_name);
    for item in items {
        let path = format!("{prefix}/{}", item.file_name().to_string_lossy());
        let kind = item.file_type().expect("is known");
        if kind.is_symlink() {
            let target = std::fs::read_link(item.path()).expect("is a link");
            lines.push(format!("{path} -> {}", target.display()));
        } else if kind.is_dir() {
            lines.push(format!("{path}/"));
            collect(&item.path(), &path, lines);
        } else {
            let data = std::fs::read_to_string(item.path()).expect("is text");
            lines.push(format!("{path} {data}"));
        }
    }
}

/// What the result of `Fixture::result` shows.
pub(crate) const RESULT_FILES: [&str; 5] = [
    "/bin/",
    "/bin/tool #!",
    "/etc/",
    "/etc/name new",
    "/link -> bin/tool",
];
