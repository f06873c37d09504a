//! Stores in a temporary directory, tars to order, and trees as text.

use std::io::Write;
use std::os::unix::fs::FileExt;

use lamina_content::ContentError;
use lamina_content::ContentStore;
use lamina_content::unpack_layer;
use lamina_snapshotter::Entry;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::StoreFormat;
use lamina_snapshotter::XattrNamespace;
use lamina_testkit::namespace;
use lamina_types::CancelToken;
use lamina_types::DiffId;
use lamina_types::FileKind;
use tempfile::TempDir;

/// A layer store and a content store.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) layers: SnapshotStore,
    pub(crate) content: ContentStore,
}

/// Says whether owners and devices can be made here; prints why not.
pub(crate) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        report(&format!("{test} skipped: needs root to set owners"));
    }
    root
}

pub(crate) fn report(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("standard error is open");
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let format = if namespace::inside().is_some() {
            StoreFormat::STORED
        } else if rustix::process::geteuid().is_root() {
            XattrNamespace::Trusted.into()
        } else {
            XattrNamespace::User.into()
        };
        let layers = SnapshotStore::open(&dir.path().join("layers"), format);
        let content = ContentStore::open(&dir.path().join("content"));
        Self {
            layers: layers.expect("opens"),
            content: content.expect("opens"),
            dir,
        }
    }

    pub(crate) fn unpack(
        &self,
        lower: &LayerStack,
        blob: &[u8],
    ) -> Result<(Layer, DiffId), ContentError> {
        let cancel = CancelToken::new();
        unpack_layer(&self.layers, lower, &mut &blob[..], &cancel, &|_| {})
    }

    /// Unpacks tars on top of each other.
    pub(crate) fn stack(&self, tars: &[Vec<u8>]) -> LayerStack {
        tars.iter().fold(LayerStack::empty(), |stack, tar| {
            let (layer, _) = self.unpack(&stack, tar).expect("unpacks");
            stack.push(layer)
        })
    }
}

/// One entry of a tar, written by the `tar` crate: `d:path`, `f:path=data`, `l:path=target` (symlink),
/// `h:path=target` (hard link), `p:path` (fifo), `c:path=major,minor`.
pub(crate) fn tar_of(entries: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        append(&mut builder, entry);
    }
    builder.into_inner().expect("writes to memory")
}

fn append(builder: &mut tar::Builder<Vec<u8>>, entry: &str) {
    let (kind, rest) = entry.split_once(':').expect("kind:path");
    let (path, value) = rest.split_once('=').unwrap_or((rest, ""));
    let mut header = tar::Header::new_gnu();
    header.set_mode(if kind == "d" { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_size(if kind == "f" { value.len() as u64 } else { 0 });
    let entry_type = match kind {
        "d" => tar::EntryType::Directory,
        "f" => tar::EntryType::Regular,
        "l" => tar::EntryType::Symlink,
        "h" => tar::EntryType::Link,
        "p" => tar::EntryType::Fifo,
        _ => tar::EntryType::Char,
    };
    header.set_entry_type(entry_type);
    if kind == "c" {
        let (major, minor) = value.split_once(',').expect("major,minor");
        header
            .set_device_major(major.parse().expect("a number"))
            .expect("ustar");
        header
            .set_device_minor(minor.parse().expect("a number"))
            .expect("ustar");
    }
    // The crate's own setters refuse hostile names; these do not.
    let fields = header.as_old_mut();
    fields.name[..path.len()].copy_from_slice(path.as_bytes());
    if matches!(kind, "l" | "h") {
        fields.linkname[..value.len()].copy_from_slice(value.as_bytes());
    }
    header.set_cksum();
    let data = if kind == "f" { value.as_bytes() } else { b"" };
    builder.append(&header, data).expect("writes to memory");
}

/// Every file of a stack, one line each, sorted by path.
pub(crate) fn listing(stack: &LayerStack) -> Vec<String> {
    let mut lines = Vec::new();
    list(&stack.tree().root().expect("has a root"), &mut lines);
    lines
}

fn list(directory: &Entry, lines: &mut Vec<String>) {
    for name in directory.read_dir().expect("is readable") {
        let entry = directory.child(&name).expect("is there");
        lines.push(line(&entry));
        if entry.stat().is_dir() {
            list(&entry, lines);
        }
    }
}

fn line(entry: &Entry) -> String {
    let stat = entry.stat();
    let detail = match stat.kind {
        FileKind::File => read(entry),
        FileKind::Symlink => format!("-> {}", String::from_utf8_lossy(&stat.link_target)),
        FileKind::CharDevice | FileKind::BlockDevice => {
            format!("{},{}", stat.device.major, stat.device.minor)
        }
        _ => String::new(),
    };
    let time = if stat.is_dir() { 0 } else { stat.mtime_ns };
    format!(
        "{} {:?} {:o} {}:{} {time} {:?} {detail}",
        entry.path(),
        stat.kind,
        stat.mode,
        stat.uid,
        stat.gid,
        stat.xattrs
    )
}

fn read(entry: &Entry) -> String {
    let file = entry.open().expect("is readable");
    let mut data = vec![0; usize::try_from(entry.stat().size).expect("is small")];
    file.read_exact_at(&mut data, 0).expect("is readable");
    String::from_utf8_lossy(&data).into_owned()
}

/// Paths and data only: for tests that are not about metadata.
pub(crate) fn paths(stack: &LayerStack) -> Vec<String> {
    shortened(listing(stack))
}

/// Cuts the lines of a listing down to path and data.
pub(crate) fn shortened(lines: Vec<String>) -> Vec<String> {
    let short = |line: String| {
        let path = line.split(' ').next().unwrap_or_default();
        let detail = line.rsplit("} ").next().unwrap_or_default();
        format!("{path} {detail}").trim_end().to_owned()
    };
    lines.into_iter().map(short).collect()
}
