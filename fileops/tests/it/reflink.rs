//! On file systems whose files can share blocks, copies of data take no space.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use lamina_fileops::apply;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::XattrNamespace;
use lamina_types::CancelToken;
use tempfile::TempDir;

use crate::copier::given_away;
use crate::machine::skip;

const MIB: u64 = 1 << 20;

/// Size of the file that is copied, in MiB.
const SIZE: u64 = 64;

/// A new file system in a file, unmounted when dropped.
struct Mounted {
    place: PathBuf,
    _folder: TempDir,
}

impl Mounted {
    fn new(kind: &str) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting needs root".to_owned());
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (image, place) = (folder.path().join("image"), folder.path().join("mounted"));
        let made = File::create(&image).and_then(|file| file.set_len(640 * MIB));
        made.and_then(|()| std::fs::create_dir(&place))
            .map_err(|error| error.to_string())?;
        succeeds(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image))?;
        succeeds(
            Command::new("mount")
                .args(["-o", "loop"])
                .args([&image, &place]),
        )?;
        Ok(Self {
            place,
            _folder: folder,
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(reason) = succeeds(Command::new("umount").arg(&self.place)) {
            skip::<()>(&format!("left mounted: {reason}"));
        }
    }
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// Returns how many bytes of a file system are in use.
fn used(place: &Path) -> u64 {
    let dir = File::open(place).expect("opens");
    rustix::fs::syncfs(&dir).expect("written");
    let found = rustix::fs::fstatvfs(&dir).expect("described");
    (found.f_blocks - found.f_bfree) * found.f_frsize
}

#[test]
fn copies_share_blocks() {
    for kind in ["btrfs", "xfs"] {
        match Mounted::new(kind) {
            Ok(mounted) => takes_no_space(kind, &mounted.place),
            Err(reason) => drop(skip::<()>(&format!("{kind}: {reason}"))),
        }
    }
}

fn takes_no_space(kind: &str, place: &Path) {
    let store = SnapshotStore::open(&place.join("layers"), XattrNamespace::Trusted);
    let store = store.expect("an empty store");
    let layer = store.prepare(&LayerStack::empty()).expect("a layer");
    let root = layer.writer().root().expect("root");
    let file = root.create_file(b"large", 0o644).expect("a file");
    let mut block: Vec<u8> = (0..MIB)
        .map(|at| (at * at % 251).to_le_bytes()[0])
        .collect();
    for number in 0..SIZE {
        block[0] = number.to_le_bytes()[0];
        file.write_all_at(&block, number * MIB).expect("written");
    }
    drop((file, root));
    let cancel = CancelToken::new();
    let source = LayerStack::new([layer.commit(&cancel).expect("sealed")]);
    let layer = store.prepare(&LayerStack::empty()).expect("a layer");
    let before = used(place);
    apply(&given_away(), &layer, Some(&source.tree()), &cancel).expect("copied");
    let added = used(place).saturating_sub(before);
    assert!(
        added < 8 * MIB,
        "{kind}: {added} bytes for a file of {SIZE} MiB"
    );
    let dir = layer.writer().root().expect("root").open_dir(b"out");
    let copy = dir
        .expect("/out")
        .lookup(b"large")
        .expect("looked up")
        .expect("copied");
    assert_eq!(
        (copy.stat().size, copy.stat().uid),
        (SIZE * MIB, 7),
        "{kind}"
    );
    let mut last = [0];
    let copy = copy.open().expect("opens");
    copy.read_exact_at(&mut last, (SIZE - 1) * MIB)
        .expect("read");
    assert_eq!(u64::from(last[0]), SIZE - 1, "{kind}");
}
