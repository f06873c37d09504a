//! What is done on every mount, and how long it takes.

use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotStore;
use lamina_types::CancelToken;

use crate::Outcome;
use crate::random::Random;
use crate::subject::Subject;
use crate::subject::open_store;

const FILES: usize = 50_000;
const FILES_PER_FOLDER: usize = 50;
const LARGE_BYTES: usize = 256 << 20;
const CHUNK_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4 << 10;
const PAGES: usize = 20_000;

/// What all subjects work on, made once.
pub(crate) struct Input {
    /// Many small files, packed.
    tar: PathBuf,
    pub(crate) store: SnapshotStore,
    /// The files, a git repository of some of them, and a large file.
    pub(crate) stack: LayerStack,
}

impl Input {
    /// Makes the input in `folder`.
    pub(crate) fn make(folder: &Path) -> Outcome<Self> {
        let tar = pack(folder)?;
        let store = open_store(&folder.join("layers"))?;
        let stack = layer(&tar, &store)?;
        Ok(Self { tar, store, stack })
    }
}

/// Packs many small files in `folder`.
fn pack(folder: &Path) -> Outcome<PathBuf> {
    let files = folder.join("files");
    let mut random = Random::new(1);
    let text: Vec<u8> = (0..8192).map(|_| random.next() as u8).collect();
    for index in 0..FILES {
        let parent = files.join((index / FILES_PER_FOLDER).to_string());
        if index % FILES_PER_FOLDER == 0 {
            std::fs::create_dir_all(&parent)?;
        }
        let size = 200 + index % 7800;
        std::fs::write(parent.join(index.to_string()), &text[..size])?;
    }
    let tar = folder.join("files.tar");
    run(Command::new("tar")
        .arg("-cf")
        .arg(&tar)
        .arg("-C")
        .arg(folder)
        .arg("files"))?;
    std::fs::remove_dir_all(&files)?;
    Ok(tar)
}

fn layer(tar: &Path, store: &SnapshotStore) -> Outcome<LayerStack> {
    let active = store.prepare(&LayerStack::empty())?;
    // A path for other programs too.
    let (process, number) = (std::process::id(), active.upper_dir().as_raw_fd());
    let root = PathBuf::from(format!("/proc/{process}/fd/{number}"));
    unpack(tar, &root)?;
    let repository = root.join("repository");
    std::fs::create_dir(&repository)?;
    for folder in 0..100 {
        let from = root.join(format!("files/{folder}"));
        run(Command::new("cp").arg("-a").arg(from).arg(&repository))?;
    }
    git(&repository, &["init", "-q"])?;
    git(&repository, &["add", "-A"])?;
    let mut large = File::create_new(root.join("large"))?;
    let chunk = vec![7; CHUNK_BYTES];
    for _ in 0..LARGE_BYTES / CHUNK_BYTES {
        large.write_all(&chunk)?;
    }
    Ok(LayerStack::new([active.commit(&CancelToken::new())?]))
}

fn run(command: &mut Command) -> Outcome<()> {
    let status = command.stdout(Stdio::null()).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {status}").into()),
    }
}

fn unpack(tar: &Path, place: &Path) -> Outcome<()> {
    run(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(place))
}

fn git(repository: &Path, arguments: &[&str]) -> Outcome<()> {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(repository)
        .args(["-c", "safe.directory=*"]);
    run(command.args(arguments))
}

/// Mounts by `subject` in `folder`, does what `group` says and returns the time of each.
///
/// What is cached by one piece of work must not help another: each group has a fresh mount.
pub(crate) fn measure(
    subject: &Subject,
    group: Group,
    input: &Input,
    folder: &Path,
) -> Outcome<Vec<Duration>> {
    let mounted = subject.mount(input, &folder.join(subject.name()))?;
    let mut times = Vec::new();
    for (_, work) in group {
        let begin = Instant::now();
        work(mounted.place(), input)?;
        times.push(begin.elapsed());
    }
    mounted.end()?;
    Ok(times)
}

type Work = fn(&Path, &Input) -> Outcome<()>;

/// Rows that are measured on one mount, one after the other.
pub(crate) type Group = &'static [(&'static str, Work)];

pub(crate) const GROUPS: &[Group] = &[
    &[
        ("untar of 50,000 small files", |at, input| {
            std::fs::create_dir(at.join("new"))?;
            unpack(&input.tar, &at.join("new"))
        }),
        ("rm -r of them", |at, _| {
            run(Command::new("rm").arg("-r").arg(at.join("new")))
        }),
    ],
    &[
        ("find -size over 50,000 files", |at, _| {
            run(Command::new("find")
                .arg(at.join("files"))
                .args(["-size", "+4k"]))
        }),
        ("find -size again", |at, _| {
            run(Command::new("find")
                .arg(at.join("files"))
                .args(["-size", "+4k"]))
        }),
        ("rm -r of 50,000 lower files", |at, _| {
            run(Command::new("rm").arg("-r").arg(at.join("files")))
        }),
    ],
    &[("git status of 5,000 files", |at, _| {
        git(&at.join("repository"), &["status", "--porcelain"])
    })],
    &[("random 4 KiB reads", |at, _| {
        random_reads(&at.join("large"))
    })],
    &[
        ("sequential 1 MiB reads", |at, _| {
            sequential_reads(&at.join("large"))
        }),
        ("sequential 1 MiB writes", |at, _| {
            sequential_writes(&at.join("written"))
        }),
        ("random 4 KiB writes", |at, _| {
            random_writes(&at.join("written"))
        }),
    ],
];

fn random_reads(path: &Path) -> Outcome<()> {
    let (file, mut page) = (File::open(path)?, [0; PAGE_BYTES]);
    let mut random = Random::new(2);
    for _ in 0..PAGES {
        let offset = random.below(LARGE_BYTES / PAGE_BYTES) * PAGE_BYTES;
        file.read_exact_at(&mut page, offset as u64)?;
    }
    Ok(())
}

fn sequential_reads(path: &Path) -> Outcome<()> {
    let (mut file, mut chunk) = (File::open(path)?, vec![0; CHUNK_BYTES]);
    while file.read(&mut chunk)? > 0 {}
    Ok(())
}

fn sequential_writes(path: &Path) -> Outcome<()> {
    let (mut file, chunk) = (File::create(path)?, vec![5; CHUNK_BYTES]);
    for _ in 0..LARGE_BYTES / CHUNK_BYTES {
        file.write_all(&chunk)?;
    }
    Ok(())
}

fn random_writes(path: &Path) -> Outcome<()> {
    let (file, page) = (File::options().write(true).open(path)?, [9; PAGE_BYTES]);
    let mut random = Random::new(3);
    for _ in 0..PAGES {
        let offset = random.below(LARGE_BYTES / PAGE_BYTES) * PAGE_BYTES;
        file.write_all_at(&page, offset as u64)?;
    }
    Ok(())
}
