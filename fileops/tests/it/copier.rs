//! How data is copied: holes, ranges, sharing, and how soon a copy ends that nobody wants.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::FileOpError;
use lamina_fileops::Owner;
use lamina_fileops::RmAction;
use lamina_fileops::UserRef;
use lamina_fileops::apply;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;
use lamina_types::RootedPath;
use rustix::fs::AtFlags;

use crate::machine::Machine;
use crate::machine::one_in;
use crate::machine::skip;

const MIB: u64 = 1 << 20;

/// The longest that work may go on when nobody wants it any more.
const PATIENCE: Duration = Duration::from_millis(100);

/// A copy of everything to `/out` that must copy data, since the owner is another one.
pub(crate) fn given_away() -> Action {
    let id = Some(UserRef::Id(7));
    Action::Copy(CopyAction {
        source: b"/".to_vec(),
        destination: b"/out".to_vec(),
        owner: Some(Owner {
            user: id.clone(),
            group: id,
        }),
        create_parents: true,
        directory_contents: true,
        ..CopyAction::default()
    })
}

/// Gives everything in `layer` away, as a layer of its own.
fn give_away(machine: &Machine, layer: ActiveLayer) -> ActiveLayer {
    let source = machine.seal(layer).tree();
    let layer = machine.on(&LayerStack::empty());
    let copied = apply(&given_away(), &layer, Some(&source), &CancelToken::new());
    copied.expect("copied");
    layer
}

fn open(layer: &ActiveLayer, path: &str) -> File {
    let found = layer.tree().lookup(&RootedPath::new(path), Follow::Parents);
    let found = found.expect("copied");
    assert_eq!((found.stat().uid, found.stat().gid), (7, 7), "{path}");
    found.open().expect("opens")
}

/// Where the data of a file of this size is; between them are holes.
fn pieces(size: u64) -> Vec<u64> {
    let all = [0, 5 * MIB, 16 * MIB - 4096, 40 * MIB];
    all.into_iter().filter(|at| at + 8192 <= size).collect()
}

#[test]
fn large_files_keep_their_data_and_their_holes() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    // Less than a range, ranges and a rest, exactly two ranges, nothing but a hole.
    let sizes = [70_000, 16 * MIB + 1, 32 * MIB, 50 * MIB + 3];
    let data: Vec<u8> = (0..8192_u32)
        .map(|at| (at % 251).to_le_bytes()[0])
        .collect();
    for size in sizes {
        let file = root.create_file(size.to_string().as_bytes(), 0o640);
        let file = file.expect("a file");
        file.set_len(size).expect("grows");
        for piece in pieces(size) {
            file.write_all_at(&data, piece).expect("written");
        }
    }
    root.create_file(b"hole", 0o600)
        .expect("a file")
        .set_len(33 * MIB)
        .expect("grows");
    drop(root);
    let layer = give_away(&machine, layer);
    for size in sizes {
        let file = open(&layer, &format!("/out/{size}"));
        let found = file.metadata().expect("described");
        assert_eq!((found.len(), found.mode() & 0o7777), (size, 0o640));
        assert!(
            found.blocks() * 512 < size.min(2 * MIB),
            "{size}: {} blocks",
            found.blocks()
        );
        for piece in pieces(size) {
            let mut read = vec![0; data.len()];
            file.read_exact_at(&mut read, piece).expect("read");
            assert!(read == data, "{size} at {piece}");
        }
    }
    let hole = open(&layer, "/out/hole").metadata().expect("described");
    assert_eq!((hole.len(), hole.blocks()), (33 * MIB, 0));
}

#[test]
fn large_files_without_holes_are_the_same() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    let data: Vec<u8> = (0..35 * MIB)
        .map(|at| (at / 7 % 253).to_le_bytes()[0])
        .collect();
    let file = root.create_file(b"large", 0o4755).expect("a file");
    file.write_all_at(&data, 0).expect("written");
    drop((file, root));
    let layer = give_away(&machine, layer);
    let file = open(&layer, "/out/large");
    assert_eq!(file.metadata().expect("described").len(), 35 * MIB);
    let mut read = vec![0; data.len()];
    file.read_exact_at(&mut read, 0).expect("read");
    assert!(read == data);
}

/// Makes a tree of many files below `/d` of a layer on nothing.
fn many_files(machine: &Machine, count: usize) -> ActiveLayer {
    let layer = machine.on(&LayerStack::empty());
    let root = layer.writer().root().expect("root");
    let dir = root.make_dir(b"d", 0o755).expect("a directory");
    for number in 0..count {
        drop(
            dir.create_file(number.to_string().as_bytes(), 0o644)
                .expect("a file"),
        );
    }
    layer
}

/// Makes a directory of 400,000 names, which are of a few files.
fn huge_directory(machine: &Machine) -> ActiveLayer {
    let layer = machine.on(&LayerStack::empty());
    // A file of ext4 has at most 65,000 names.
    for first in 0..8 {
        let file = format!("first {first}");
        let root = layer.writer().root().expect("root");
        drop(root.create_file(file.as_bytes(), 0o644).expect("a file"));
        for number in 0..50_000 {
            let (dir, name) = (layer.upper_dir(), format!("a rather long {first} {number}"));
            rustix::fs::linkat(dir, &file, dir, name, AtFlags::empty()).expect("linked");
        }
    }
    layer
}

/// Cancels `work`, which gets one thread, when it has begun, and says for how long that thread went on;
/// `None` if it was done before. The time that others take of the processor does not count.
fn went_on(work: impl FnOnce(&CancelToken) -> Result<(), FileOpError> + Send) -> Option<Duration> {
    let cancel = CancelToken::new();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.expect("a thread");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            pool.install(|| {
                let thread = rustix::thread::gettid().as_raw_nonzero().get();
                sender.send(thread).expect("somebody waits");
                (work(&cancel), on_processor(thread))
            })
        });
        let thread = receiver.recv().expect("begins");
        let begin = on_processor(thread);
        while on_processor(thread) < begin + Duration::from_millis(20) && !working.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let cancelled = on_processor(thread);
        cancel.cancel();
        let (ended, end) = working.join().expect("no panic");
        matches!(ended, Err(FileOpError::Cancelled(_))).then(|| end.saturating_sub(cancelled))
    })
}

/// Returns for how long a thread of this process has had a processor.
fn on_processor(thread: i32) -> Duration {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(first.unwrap_or_default())
}

/// Asserts that one of some attempts is cancelled, and ends soon enough.
fn ends_soon(name: &str, attempt: impl Fn() -> Option<Duration>) {
    // An emulated processor, where only some of the random rounds are run, is ten times as slow.
    let patience = PATIENCE * if one_in() == 1 { 1 } else { 10 };
    let times: Vec<Option<Duration>> = (0..3).map(|_| attempt()).collect();
    match times.iter().flatten().min() {
        Some(&least) => assert!(least < patience, "{name}: {times:?}"),
        None => drop(skip::<()>(&format!(
            "{name}: done before it could be cancelled"
        ))),
    }
}

#[test]
fn work_that_nobody_wants_ends_soon() {
    let Some(machine) = Machine::new() else {
        return;
    };
    // The count is brought up to date when a thread waits.
    std::thread::sleep(Duration::from_millis(1));
    if on_processor(rustix::thread::gettid().as_raw_nonzero().get()).is_zero() {
        skip::<()>("the kernel does not count the time of threads");
        return;
    }
    let small = machine.seal(many_files(&machine, 20_000)).tree();
    ends_soon("many small files", || {
        let layer = machine.on(&LayerStack::empty());
        went_on(|cancel| apply(&given_away(), &layer, Some(&small), cancel))
    });
    let huge = huge_directory(&machine);
    ends_soon("a listing", || {
        let layer = machine.on(&LayerStack::empty());
        went_on(|cancel| apply(&given_away(), &layer, Some(&huge.tree()), cancel))
    });
    let layer = machine.on(&LayerStack::empty());
    let large = layer
        .writer()
        .root()
        .expect("root")
        .create_file(b"large", 0o644);
    let (large, data) = (large.expect("a file"), vec![7; 1 << 20]);
    for at in 0..400 {
        large.write_all_at(&data, at * MIB).expect("written");
    }
    drop(large);
    let large = machine.seal(layer).tree();
    ends_soon("one large file", || {
        let layer = machine.on(&LayerStack::empty());
        went_on(|cancel| apply(&given_away(), &layer, Some(&large), cancel))
    });
    ends_soon("a removal", || {
        let layer = many_files(&machine, 20_000);
        let action = Action::Rm(RmAction {
            path: b"/d".to_vec(),
            ..RmAction::default()
        });
        went_on(|cancel| apply(&action, &layer, None, cancel))
    });
}

#[test]
fn removals_by_many_threads_touch_only_their_directories() {
    const TIME: i128 = 1_000_000_000_000_000_000;
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    let all = layer.writer().root().expect("root").make_dir(b"all", 0o755);
    let all = all.expect("a directory");
    for number in 0..64 {
        let dir = all.make_dir(number.to_string().as_bytes(), 0o755);
        let dir = dir.expect("a directory");
        for name in [b"a", b"b"] {
            drop(dir.create_file(name, 0o644).expect("a file"));
        }
    }
    all.restore_own_mtime(TIME).expect("set");
    drop(all);
    let lower = machine.seal(layer);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build();
    let pool = pool.expect("threads");
    let action = Action::Rm(RmAction {
        path: b"/all/*/*".to_vec(),
        allow_wildcard: true,
        ..RmAction::default()
    });
    for round in 0..4 {
        let layer = machine.on(&lower);
        let removed = pool.install(|| apply(&action, &layer, None, &CancelToken::new()));
        removed.expect("removed");
        let all = layer
            .tree()
            .lookup(&RootedPath::new("/all"), Follow::Parents);
        let all = all.expect("stays");
        assert_eq!(all.stat().mtime_ns, TIME, "round {round}");
        for name in all.read_dir().expect("names") {
            let left = all.child(&name).expect("stays").read_dir().expect("names");
            assert!(left.is_empty(), "round {round}: {left:?}");
        }
    }
}
