//! Images of merged and computed trees show, unpacked by a tool that is not ours, exactly what a step on
//! such a tree sees (rows OPS-04 to OPS-06).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use lamina_exporters::ExportInput;
use lamina_session::LocalSession;
use lamina_snapshotter::Follow;
use lamina_snapshotter::KernelOverlay;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Mounter as _;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::RootedPath;

use crate::support::Fixture;
use crate::support::has_program;
use crate::support::is_root;
use crate::support::report;
use crate::support::run;

/// One entry; the times of directories are left out, since tools differ about them.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    mode: u32,
    owner: (u32, u32),
    seconds: i64,
    content: Vec<u8>,
}

/// What a folder shows: entries by path, and the sets of names that are one file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Picture {
    nodes: BTreeMap<PathBuf, Node>,
    linked: BTreeSet<BTreeSet<PathBuf>>,
}

fn picture(root: &Path) -> Picture {
    let mut nodes = BTreeMap::new();
    let mut inodes: BTreeMap<u64, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = path.symlink_metadata().expect("is there");
        let shown = path.strip_prefix(root).expect("is below").to_owned();
        let content = match metadata.file_type() {
            kind if kind.is_file() => std::fs::read(&path).expect("is readable"),
            kind if kind.is_symlink() => {
                let target = std::fs::read_link(&path).expect("is readable");
                target.into_os_string().into_encoded_bytes()
            }
            _ => Vec::new(),
        };
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).expect("is readable");
            todo.extend(entries.map(|entry| entry.expect("is readable").path()));
        } else if metadata.nlink() > 1 {
            inodes
                .entry(metadata.ino())
                .or_default()
                .insert(shown.clone());
        }
        let node = Node {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            seconds: if metadata.is_dir() {
                0
            } else {
                metadata.mtime()
            },
            content,
        };
        nodes.insert(shown, node);
    }
    let linked = inodes.into_values().filter(|names| names.len() > 1);
    Picture {
        nodes,
        linked: linked.collect(),
    }
}

fn write(dir: &WriteDir, name: &str, text: &str) -> Result<(), SnapshotError> {
    let mut file = dir.create_file(name.as_bytes(), 0o644)?;
    file.write_all(text.as_bytes()).expect("writes");
    Ok(())
}

fn layer(
    store: &SnapshotStore,
    lower: &LayerStack,
    fill: impl FnOnce(&WriteDir) -> Result<(), SnapshotError>,
) -> LayerStack {
    let active = store.prepare(lower).expect("prepared");
    fill(&active.writer().root().expect("a root")).expect("filled");
    let layer = active.commit(&CancelToken::new()).expect("committed");
    lower.push(layer)
}

/// A tree with hard links, owners, links and modes.
fn base(store: &SnapshotStore) -> LayerStack {
    layer(store, &LayerStack::empty(), |root| {
        let home = root.make_dir(b"home", 0o711)?;
        home.set_own_metadata(&MetadataChange {
            owner: Some((5, 6)),
            ..MetadataChange::default()
        })?;
        let lib = root.make_dir(b"lib", 0o755)?;
        for name in ["one", "gone", "replaced"] {
            write(&lib, name, name)?;
        }
        let first = lib.lookup(b"one")?.expect("is there");
        lib.link_from(b"two", &first)?;
        root.symlink(b"link", b"lib/one")?;
        write(root, "tool", "#!")?;
        let change = MetadataChange {
            mode: Some(0o4755),
            ..MetadataChange::default()
        };
        root.set_metadata(b"tool", &change)
    })
}

/// Changes of that tree, as of two builds that know nothing of each other.
fn changed(store: &SnapshotStore, base: &LayerStack) -> LayerStack {
    layer(store, base, |root| {
        let lib = root.open_dir(b"lib")?;
        lib.remove(b"gone")?;
        lib.remove(b"replaced")?;
        write(&lib.make_dir(b"replaced", 0o700)?, "inside", "x")
    })
}

fn other(store: &SnapshotStore, base: &LayerStack) -> LayerStack {
    let tool = base.tree().lookup(&RootedPath::new("/tool"), Follow::Last);
    let tool = tool.expect("is there");
    layer(store, &LayerStack::empty(), |root| {
        let joe = root.make_dir(b"home", 0o755)?.make_dir(b"joe", 0o700)?;
        write(&joe, "file", "joe")?;
        let file = joe.lookup(b"file")?.expect("is there");
        joe.link_from(b"same", &file)?;
        root.make_dir(b"bin", 0o755)?.link_from(b"tool", &tool)
    })
}

/// Puts trees together in all the ways that there are.
fn trees(store: &SnapshotStore) -> Vec<(&'static str, LayerStack)> {
    let cancel = CancelToken::new();
    let base = base(store);
    let (changed, other) = (changed(store, &base), other(store, &base));
    let merge = |stacks: &[LayerStack]| store.merge(stacks, &cancel).expect("merged");
    let diff = |lower: &LayerStack, upper: &LayerStack| {
        store.diff(lower, upper, &cancel).expect("computed")
    };
    let merged = merge(&[base.clone(), other.clone()]);
    let computed = diff(&changed, &merged);
    vec![
        ("merged", merge(&[changed.clone(), other.clone()])),
        (
            "repeated",
            merge(&[merged.clone(), changed.clone(), base.clone()]),
        ),
        ("suffix", merge(&[other.clone(), diff(&base, &changed)])),
        ("computed", computed.clone()),
        ("computed, applied", merge(&[changed, computed])),
        ("deletions alone", merge(&[merged, diff(&other, &base)])),
    ]
}

#[tokio::test]
async fn unpacked_images_show_what_steps_see() {
    let test = "unpacked_images_show_what_steps_see";
    if !has_program(test, "umoci") {
        return;
    }
    if !is_root() {
        return report(&format!("{test} skipped: needs root to unpack owners"));
    }
    let fixture = Fixture::new();
    let overlay = match KernelOverlay::probe(&fixture.layers) {
        Ok(overlay) => overlay,
        Err(reason) => return report(&format!("{test} skipped: {reason}")),
    };
    for (number, (what, stack)) in trees(&fixture.layers).into_iter().enumerate() {
        let layout = fixture.path(&format!("layout{number}"));
        let session = LocalSession::builder().directory_target(0, &layout);
        let input = ExportInput::single(stack.clone());
        let exported = fixture
            .export("oci", "tar=false;name=x:1", session, &input)
            .await;
        exported.map(drop).expect("exports");
        let bundle = fixture.path(&format!("bundle{number}"));
        let image = format!("{}:1", layout.display());
        run(
            "umoci",
            &["unpack", "--image", &image, &bundle.display().to_string()],
        );
        let view = overlay.mount_view(&stack).expect("mounted");
        let seen = picture(&PathBuf::from(format!(
            "/proc/self/fd/{}/",
            view.fd.as_raw_fd()
        )));
        assert!(
            !seen.linked.is_empty() || what == "computed",
            "{what}: {seen:?}"
        );
        assert_eq!(picture(&bundle.join("rootfs")), seen, "{what}");
    }
}
