//! Trees that turn hostile while an operation runs: directories and symlinks to the outside swap places
//! all the time, in the layer that is written and in the one that is read (row FIL-03).
//!
//! Nothing outside may be touched or read. `LAMINA_TEST_SEED` repeats a run; the seed is printed.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::MkDirAction;
use lamina_fileops::MkFileAction;
use lamina_fileops::RmAction;
use lamina_fileops::SymlinkAction;
use lamina_fileops::apply;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Tree;
use lamina_types::CancelToken;
use rustix::fs::CWD;
use rustix::fs::RenameFlags;

use crate::archives::archive;
use crate::machine::Machine;

/// How long operations and renames race.
const TIME: Duration = Duration::from_secs(3);

const SECRET: &[u8] = b"the secret outside";

/// The outside: everything in it must stay as it is.
struct Outside(tempfile::TempDir);

impl Outside {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(folder.path().join("d")).expect("d");
        for name in ["f", "d/f", "passwd"] {
            std::fs::write(folder.path().join(name), SECRET).expect(name);
        }
        Self(folder)
    }

    /// Names, kinds, links, owners, times and data of all in it.
    fn picture(&self) -> Vec<(PathBuf, Vec<i64>, Vec<u8>)> {
        let mut picture: Vec<_> = walk(self.0.path())
            .into_iter()
            .map(|path| {
                let meta = path.symlink_metadata().expect("metadata");
                let numbers = vec![
                    i64::from(meta.mode()),
                    i64::try_from(meta.nlink()).expect("few"),
                    i64::from(meta.uid()),
                    meta.mtime(),
                    meta.mtime_nsec(),
                    meta.ctime(),
                    meta.ctime_nsec(),
                ];
                let data = std::fs::read(&path).unwrap_or_default();
                (path, numbers, data)
            })
            .collect();
        picture.sort();
        picture
    }
}

/// Everything below `root`, and itself; symlinks are not followed.
fn walk(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut at) = (vec![root.to_owned()], 0);
    while at < found.len() {
        let path = found[at].clone();
        at += 1;
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            let children = path.read_dir().expect("a directory");
            found.extend(children.map(|child| child.expect("a name").path()));
        }
    }
    found
}

/// The splitmix64 generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Makes `/d/d`, `/d/f` and, beside each directory, symlinks to the outside by several ways.
fn hostile(layer: &ActiveLayer, outside: &Path) {
    let root = layer.writer().root().expect("root");
    let dir = root.make_dir(b"d", 0o755).expect("/d");
    let inner = dir.make_dir(b"d", 0o755).expect("/d/d");
    let target = outside.as_os_str().as_encoded_bytes();
    let mut file = root.create_file(b"archive", 0o644).expect("/archive");
    file.write_all(&archive("d/d/f", b"unpacked"))
        .expect("written");
    let climbing = [&b"../".repeat(30), &target[1..]].concat();
    for at in [&root, &dir, &inner] {
        drop(at.create_file(b"f", 0o644).expect("f"));
        at.symlink(b"absolute", target).expect("a symlink");
        at.symlink(b"climbing", &climbing).expect("a symlink");
        at.symlink(b"file", &[target, b"/passwd"].concat())
            .expect("a symlink");
    }
}

/// Where the layer's files are on the host.
fn host_folder(machine: &Machine, before: &[OsString]) -> PathBuf {
    let new = names(machine)
        .into_iter()
        .find(|name| !before.contains(name));
    machine
        .folder
        .path()
        .join(new.expect("a new layer"))
        .join("fs")
}

fn names(machine: &Machine) -> Vec<OsString> {
    let layers = machine.folder.path().read_dir();
    layers
        .expect("layers")
        .map(|entry| entry.expect("a name").file_name())
        .collect()
}

/// Lets directories, files and symlinks below `fs` swap places until `stop`.
fn swap(fs: &Path, stop: &AtomicBool, mut random: Random) -> u64 {
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let dir = fs.join(["", "d", "d/d"][random.below(3) as usize]);
        let (name, link) = match random.below(3) {
            0 => ("f", "file"),
            1 => ("d", "absolute"),
            _ => ("d", "climbing"),
        };
        // Twice, so that directories are mostly where they were.
        for _ in 0..2 {
            let (a, b) = (dir.join(name), dir.join(link));
            let swapped = rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
            done += u64::from(swapped.is_ok());
        }
    }
    done
}

fn action(random: &mut Random) -> Action {
    let dirs = ["/", "/d/", "/d/d/", "/d/d/d/", "/absolute/", "/d/climbing/"];
    let dir = dirs[random.below(6) as usize];
    let name = ["f", "d", "new", "file", "passwd", "x/y"][random.below(6) as usize];
    let path = format!("{dir}{name}").into_bytes();
    match random.below(6) {
        0 => Action::MkFile(MkFileAction {
            path,
            mode: 0o600,
            data: b"written".to_vec(),
            timestamp: Some(0),
            ..MkFileAction::default()
        }),
        1 => Action::MkDir(MkDirAction {
            path,
            mode: 0o700,
            make_parents: true,
            timestamp: Some(0),
            ..MkDirAction::default()
        }),
        2 => Action::Rm(RmAction {
            path: if random.below(2) == 0 {
                path
            } else {
                format!("{dir}*").into()
            },
            allow_not_found: true,
            allow_wildcard: true,
        }),
        3 => Action::Symlink(SymlinkAction {
            target: b"/passwd".to_vec(),
            path,
            ..SymlinkAction::default()
        }),
        _ => Action::Copy(copy(random, path)),
    }
}

fn copy(random: &mut Random, destination: Vec<u8>) -> CopyAction {
    let sources: [&[u8]; 5] = [b"/", b"/d", b"/d/d/f", b"/*/f", b"/archive"];
    CopyAction {
        source: sources[random.below(5) as usize].to_vec(),
        destination,
        create_parents: true,
        allow_wildcard: true,
        replace_existing: true,
        unpack_archives: true,
        follow_symlink: random.below(2) == 0,
        directory_contents: random.below(2) == 0,
        timestamp: (random.below(2) == 0).then_some(0),
        ..CopyAction::default()
    }
}

/// Runs random operations on fresh layers while they are swapped about; returns how many succeeded.
fn race(machine: &Machine, source: &Tree, outside: &Outside, seed: u64) -> u64 {
    let (mut random, mut done) = (Random(seed), 0);
    let start = Instant::now();
    while start.elapsed() < TIME {
        let before = names(machine);
        let layer = machine.on(&LayerStack::empty());
        hostile(&layer, outside.0.path());
        let fs = host_folder(machine, &before);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let swaps = Random(random.below(u64::MAX));
            let swapper = scope.spawn(|| swap(&fs, &stop, swaps));
            for _ in 0..40 {
                let result = apply(
                    &action(&mut random),
                    &layer,
                    Some(source),
                    &CancelToken::new(),
                );
                done += u64::from(result.is_ok());
            }
            stop.store(true, Ordering::Relaxed);
            swapper.join().expect("swaps");
        });
        for path in walk(&fs) {
            let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
            let leaked = is_file && std::fs::read(&path).is_ok_and(|data| data == SECRET);
            assert!(!leaked, "{} is from outside", path.display());
        }
    }
    done
}

#[test]
fn hostile_trees_never_lead_outside() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let seed = std::env::var("LAMINA_TEST_SEED").ok();
    let seed = seed.and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    print_seed(seed);
    let outside = Outside::new();
    let before = names(&machine);
    let layer = machine.on(&LayerStack::empty());
    hostile(&layer, outside.0.path());
    let source = machine.seal(layer);
    let fs = host_folder(&machine, &before);
    let picture = outside.picture();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| swap(&fs, &stop, Random(!seed)));
        let done = race(&machine, &source.tree(), &outside, seed);
        stop.store(true, Ordering::Relaxed);
        let swapped = swapper.join().expect("swaps");
        assert!(
            done > 0 && swapped > 0,
            "{done} operations, {swapped} swaps"
        );
    });
    assert_eq!(outside.picture(), picture, "seed {seed}");
}

fn print_seed(seed: u64) {
    let line = format!("seed {seed}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error");
}
