//! A store as version 1 left it on disk, kept to the byte.
//!
//! `tests/fixtures/store-v1.tar.zst` must be readable for ever: what has changed in the code since must
//! not show. It was made by `cargo test -p lamina-snapshotter --test it old_format -- --ignored` as root
//! and is not made again as long as the version stays.

use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use lamina_snapshotter::Follow;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerBlob;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::WriteDir;
use lamina_snapshotter::XattrNamespace;
use lamina_types::CancelToken;
use lamina_types::ChainId;
use lamina_types::DiffId;
use lamina_types::Digest;
use lamina_types::LayerId;

use crate::support::commit;
use crate::support::in_user_namespace;
use crate::support::path;
use crate::support::picture;
use crate::support::skipped;
use crate::support::summary;
use crate::support::write;

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/store-v1.tar.zst"
);

const LAYERS: usize = 4;

fn blob() -> LayerBlob {
    LayerBlob {
        diff_id: DiffId(Digest::of(b"diff")),
        digest: Digest::of(b"blob"),
        size: 4,
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
    }
}

fn chain() -> ChainId {
    ChainId(Digest::of(b"chain"))
}

/// Sets what would differ from run to run.
fn settle(dir: &WriteDir) -> Result<(), SnapshotError> {
    dir.set_own_metadata(&MetadataChange {
        mtime_ns: Some(1_700_000_000_000_000_000),
        ..MetadataChange::default()
    })
}

/// Makes a store with all that the format has: deletions, replaced directories, attributes, hard links in
/// a layer and across layers, implied parents, blobs, chains, digests.
fn make(store: &SnapshotStore) -> Result<(), SnapshotError> {
    let layer = |lower: &LayerStack, name: &str, fill: &dyn Fn(&WriteDir) -> _| {
        let mut active = store.prepare(lower)?;
        active.describe(name);
        let root = active.writer().root()?;
        let filled: Result<(), SnapshotError> = fill(&root);
        filled?;
        settle(&root)?;
        Ok::<Layer, SnapshotError>(commit(active))
    };
    let base = layer(&LayerStack::empty(), "base", &|root| {
        let dir = root.make_dir(b"dir", 0o2755)?;
        for name in ["a", "b", "gone"] {
            write(&dir, name, name)?;
        }
        write(root, "tool", &"tool ".repeat(2_000))?;
        root.symlink(b"link", b"dir/a")?;
        let change = MetadataChange {
            mode: Some(0o4755),
            owner: Some((7, 8)),
            ..MetadataChange::default()
        };
        root.set_metadata(b"tool", &change)?;
        settle(&dir)
    })?;
    base.add_blob(blob())?;
    let base = LayerStack::new([base]);
    let change = layer(&base, "change", &|root| {
        let dir = root.open_dir(b"dir")?;
        dir.remove(b"gone")?;
        write(&dir, "new", "new")?;
        root.remove(b"link")?;
        settle(&root.make_dir(b"link", 0o700)?)
    })?;
    change.add_blob_at(blob(), chain())?;
    let tool = base.tree().lookup(&path("/tool"), Follow::Last)?;
    let linked = layer(&LayerStack::empty(), "linked", &|root| {
        let bin = root.make_implied_dir(b"dir", 0o755)?;
        bin.link_from(b"copy", &tool)
    })?;
    let stack = base.push(change).push(linked);
    stack.digest(&Selection::of_path("/"), &CancelToken::new())?;
    layer(&LayerStack::empty(), "empty", &|_| Ok(()))?;
    store.flush()
}

#[test]
#[ignore = "makes the fixture, which is not to change"]
fn make_the_fixture() {
    let folder = tempfile::tempdir().unwrap();
    let layers = folder.path().join("layers");
    let store = SnapshotStore::open(&layers, XattrNamespace::Trusted).unwrap();
    make(&store).unwrap();
    drop(store);
    std::fs::write(layers.join("boot"), "another boot").unwrap();
    let tar = Command::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--sort=name",
            "--numeric-owner",
        ])
        .arg("-C")
        .arg(folder.path())
        .args(["-c", "layers"])
        .output()
        .unwrap();
    assert!(tar.status.success());
    let packed = zstd::encode_all(tar.stdout.as_slice(), 19).unwrap();
    std::fs::write(FIXTURE, packed).unwrap();
}

/// Unpacks the fixture; `Err` = why that cannot be done here.
fn unpack(to: &Path) -> Result<PathBuf, String> {
    let packed = std::fs::read(FIXTURE).unwrap();
    let unpacked = zstd::decode_all(packed.as_slice()).unwrap();
    let mut tar = Command::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-xp",
            "-C",
        ])
        .arg(to)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("tar: {error}"))?;
    tar.stdin.take().unwrap().write_all(&unpacked).unwrap();
    let output = tar.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(to.join("layers")),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn text_of(stack: &LayerStack) -> Vec<String> {
    let shown = picture::of_tree(&stack.tree());
    let line = |(path, node): (String, picture::Node)| {
        let data = String::from_utf8_lossy(&node.data)
            .chars()
            .take(5)
            .collect::<String>();
        let (uid, gid) = node.owner;
        format!("{path} {:o} {uid}:{gid} {data}", node.mode)
    };
    shown.into_iter().map(line).collect()
}

#[test]
fn a_store_of_version_1_is_read() {
    if in_user_namespace() || !rustix::process::geteuid().is_root() {
        return skipped("version 1", "unpacking trusted attributes needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    let layers = match unpack(folder.path()) {
        Ok(layers) => layers,
        Err(reason) => return skipped("version 1", &reason),
    };
    let store = SnapshotStore::open(&layers, XattrNamespace::Trusted).unwrap();
    let all = store.all_layers();
    assert_eq!(all.len(), LAYERS, "nothing was lost by a boot");
    let told: Vec<String> = all.iter().map(Layer::description).collect();
    assert_eq!(told, ["base", "change", "linked", "empty"]);
    let stack = LayerStack::new(all[..3].iter().cloned());
    assert_eq!(
        text_of(&stack),
        [
            "/ 755 0:0 ",
            "/dir 755 0:0 ",
            "/dir/a 644 0:0 a",
            "/dir/b 644 0:0 b",
            "/dir/copy 4755 7:8 tool ",
            "/dir/new 644 0:0 new",
            "/link 700 0:0 ",
            "/tool 4755 7:8 tool ",
        ]
    );
    assert_eq!(
        summary(&all[1]),
        ["/", "(/dir)", "-/dir/gone", "/dir/new", "/link"]
    );
    assert_eq!(summary(&all[2]), ["/", "(/dir)", "/dir/copy"]);
    assert_eq!(all[0].blobs(), [blob()]);
    let elsewhere = ChainId(Digest::of(b"elsewhere"));
    let found = |at| {
        store
            .layer_by_diff_id(blob().diff_id, at)
            .map(|layer| layer.id())
    };
    assert_eq!(found(elsewhere), Some(all[0].id()));
    assert!(all[1].has_whiteouts() && !all[0].has_whiteouts());
    let origin = stack
        .tree()
        .lookup(&path("/tool"), Follow::Last)
        .unwrap()
        .origin();
    let other = store.prepare(&LayerStack::new([all[2].clone()])).unwrap();
    assert!(!other.may_link_from(&origin), "the layers share inodes");
    drop(other);
    let digest = stack.digest(&Selection::of_path("/"), &CancelToken::new());
    assert_eq!(digest.unwrap().to_string(), CONTENT);
    let new = commit(store.prepare(&stack).unwrap()).id();
    assert!(
        new > LayerId(256),
        "ids of the first process are used up: {new}"
    );
}

/// The content digest of the first three layers on top of each other.
const CONTENT: &str = "sha256:76bb01c1e67a60791778049764cd5f6ee1222fb8355b2b62758731322282907d";
