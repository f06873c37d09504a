//! What programs do with files and rely on, on top of lower layers.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use lamina_snapshotter::Backend;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::time::ClockId;

use super::World;
use crate::support::host_path;
use crate::support::in_user_namespace;
use crate::support::path;
use crate::support::picture;
use crate::support::picture::Picture;
use crate::support::picture::without_times;
use crate::support::random::Random;
use crate::support::random::seeds;
use crate::support::skipped;
use crate::support::stacks::random_stack;
use crate::support::summary;
use crate::support::write;

/// A layer with `f` and `dir/{one,two}`.
fn base(world: &World) -> LayerStack {
    world.fixture.stack(&LayerStack::empty(), |root| {
        write(root, "f", "lower")?;
        let dir = root.make_dir(b"dir", 0o755)?;
        write(&dir, "one", "1")?;
        write(&dir, "two", "2")
    })
}

fn text(stack: &LayerStack, at: &str) -> Vec<u8> {
    let entry = stack.tree().lookup(&path(at), Follow::Last).unwrap();
    let mut text = Vec::new();
    entry.open().unwrap().read_to_end(&mut text).unwrap();
    text
}

pub(super) fn a_program_may_change_whatever_it_sees(world: &World) {
    let lower = base(world);
    let stack = world.step(&lower, |mount| {
        let root = host_path(&mount.fd);
        let mut file = File::options().append(true).open(root.join("f")).unwrap();
        file.write_all(b" and upper").unwrap();
        fs::rename(root.join("dir/one"), root.join("dir/three")).unwrap();
        fs::remove_file(root.join("dir/two")).unwrap();
        fs::create_dir_all(root.join("new/deep")).unwrap();
        fs::rename(root.join("new"), root.join("moved")).unwrap();
        let names: Vec<_> = fs::read_dir(root.join("dir")).unwrap().collect();
        assert_eq!(names.len(), 1);
    });
    assert_eq!(text(&stack, "/f"), b"lower and upper");
    assert_eq!(text(&stack, "/dir/three"), b"1");
    assert_eq!(
        summary(&stack.layers()[1]),
        [
            "(/)",
            "(/dir)",
            "-/dir/one",
            "/dir/three",
            "-/dir/two",
            "/f",
            "/moved",
            "/moved/deep"
        ]
    );
    assert_eq!(text(&lower, "/f"), b"lower", "a sealed layer never changes");
}

/// A copy that is made for one name may leave others with the original, which is another file then.
pub(super) fn names_that_nobody_asked_for_are_told_apart(world: &World) {
    let lower = world.step(&LayerStack::empty(), |mount| {
        let root = host_path(&mount.fd);
        fs::create_dir(root.join("dir")).unwrap();
        for (first, second) in [("a1", "a2"), ("dir/b1", "b2")] {
            fs::write(root.join(first), "of both").unwrap();
            fs::hard_link(root.join(first), root.join(second)).unwrap();
        }
    });
    let mut shown = Picture::new();
    let stack = world.step(&lower, |mount| {
        let root = host_path(&mount.fd);
        fs::write(root.join("a1"), "through one").unwrap();
        // The kernel's overlayfs refuses to move what a sealed layer has.
        let dir = match fs::rename(root.join("dir"), root.join("moved")) {
            Ok(()) => "moved",
            Err(_) => "dir",
        };
        fs::write(root.join(dir).join("b1"), "through one").unwrap();
        shown = picture::of_mount(&mount.fd);
    });
    assert_eq!(shown, picture::of_tree(&stack.tree()));
}

/// Who reads holds up the change of names, and ends late: the kernel does not wait for a `close`.
pub(super) fn names_stay_when_one_is_written_to_while_it_is_read(world: &World) {
    let lower = world.step(&LayerStack::empty(), |mount| {
        let root = host_path(&mount.fd);
        fs::write(root.join("a1"), "of both").unwrap();
        fs::hard_link(root.join("a1"), root.join("a2")).unwrap();
    });
    let mut shown = Picture::new();
    let stack = world.step(&lower, |mount| {
        let root = host_path(&mount.fd);
        assert_eq!(fs::read(root.join("a2")).unwrap(), b"of both");
        let mut reader = File::open(root.join("a1")).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        fs::write(root.join("a1"), "through one").unwrap();
        drop(reader);
        for _ in 0..20 {
            let other = fs::read(root.join("a2")).unwrap();
            assert!(other == b"of both" || other == b"through one");
            next_tick();
        }
        fs::write(root.join("a2"), "through the other").unwrap();
        shown = picture::of_mount(&mount.fd);
    });
    assert_eq!(shown, picture::of_tree(&stack.tree()));
}

/// Waits for the next tick of the clock that files get their times from.
fn next_tick() {
    let clock = || rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    let before = clock();
    while clock() == before {
        std::thread::yield_now();
    }
}

/// Has a step make files and write to them, most within one tick of the clock, and close them in another.
fn written_files(root: &Path) -> Vec<File> {
    let write = |number: usize| {
        let mut file = File::create_new(root.join(number.to_string())).unwrap();
        if number.is_multiple_of(3) {
            next_tick();
        }
        file.write_all(b"written at once").unwrap();
        file
    };
    let written = (0..20).map(write).collect();
    next_tick();
    written
}

/// A kernel that gathers writes brings them long after the program made them.
pub(super) fn a_layer_has_the_times_that_programs_saw(world: &World) {
    let mut shown = Picture::new();
    let stack = world.step(&LayerStack::empty(), |mount| {
        drop(written_files(&host_path(&mount.fd)));
        shown = picture::of_mount(&mount.fd);
    });
    assert_eq!(shown, picture::of_tree(&stack.tree()));
}

/// As everybody on the machine can have the kernel do, with `sync`; and it does so by itself.
pub(super) fn times_stay_when_the_kernel_writes_back(world: &World) {
    let lower = base(world);
    let mut shown = Picture::new();
    let stack = world.step(&lower, |mount| {
        let root = host_path(&mount.fd);
        let mut changed = OpenOptions::new()
            .append(true)
            .open(root.join("f"))
            .unwrap();
        changed.write_all(b" and more").unwrap();
        let written = written_files(&root);
        rustix::fs::syncfs(&changed).unwrap();
        drop((changed, written));
        fs::create_dir_all(root.join("new/folder")).unwrap();
        fs::rename(root.join("3"), root.join("new/folder/moved")).unwrap();
        fs::hard_link(root.join("6"), root.join("new/again")).unwrap();
        fs::remove_file(root.join("6")).unwrap();
        fs::remove_file(root.join("9")).unwrap();
        fs::write(root.join("9"), "another").unwrap();
        shown = picture::of_mount(&mount.fd);
    });
    assert_eq!(shown, picture::of_tree(&stack.tree()));
}

pub(super) fn handles_outlive_names(world: &World) {
    let lower = base(world);
    let stack = world.step(&lower, |mount| {
        let root = host_path(&mount.fd);
        let mut kept = File::open(root.join("f")).unwrap();
        fs::remove_file(root.join("f")).unwrap();
        fs::write(root.join("f"), "another").unwrap();
        let mut seen = String::new();
        kept.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "lower");
        let mut made = File::create_new(root.join("temporary")).unwrap();
        fs::remove_file(root.join("temporary")).unwrap();
        made.write_all(b"still here").unwrap();
        assert_eq!(made.metadata().unwrap().len(), 10);
        assert_eq!(made.metadata().unwrap().nlink(), 0);
    });
    assert_eq!(text(&stack, "/f"), b"another");
    assert_eq!(summary(&stack.layers()[1]), ["(/)", "/f"]);
}

/// A program that maps a file, changes the memory and ends, without `msync` and without unmapping.
const MAPS: &str = "
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(fd, 0)
memory[8192:8198] = b'mapped'
os.close(fd)
os._exit(0)
";

pub(super) fn mapped_memory_arrives_without_a_sync(world: &World) {
    let python = Command::new("python3").arg("--version").output();
    if python.is_err() {
        return skipped("mapped memory", "no python3");
    }
    let large = "x".repeat(20_000);
    let lower = world
        .fixture
        .stack(&LayerStack::empty(), |root| write(root, "f", &large));
    let stack = world.step(&lower, |mount| {
        // The child opens by the parent's descriptor, which it does not inherit itself.
        let root = format!("/proc/{}/fd/{}", std::process::id(), number(&mount.fd));
        let status = Command::new("python3")
            .args(["-c", MAPS, &format!("{root}/f")])
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    });
    let text = text(&stack, "/f");
    assert_eq!(text.len(), large.len());
    assert_eq!(&text[8190..8200], b"xxmappedxx");
}

fn number(fd: &std::os::fd::OwnedFd) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(fd)
}

pub(super) fn names_of_one_file_stay_so(world: &World) {
    let lower = base(world);
    let stack = world.step(&lower, |mount| {
        let root = host_path(&mount.fd);
        fs::hard_link(root.join("f"), root.join("dir/link")).unwrap();
        let (one, two) = (root.join("f"), root.join("dir/link"));
        fs::write(&two, "through a link").unwrap();
        assert_eq!(fs::read(&one).unwrap(), b"through a link");
        let (one, two) = (fs::metadata(&one).unwrap(), fs::metadata(&two).unwrap());
        assert_eq!((one.nlink(), two.nlink()), (2, 2));
        // The kernel's, in a user namespace, forgets which lower file the copy is of.
        let forgets = world.backend == Backend::Overlay && in_user_namespace();
        assert!(one.ino() == two.ino() || forgets);
    });
    assert_eq!(
        summary(&stack.layers()[1]),
        ["(/)", "(/dir)", "/dir/link", "/f=/dir/link"]
    );
    let view = world.mounter.mount_view(&stack).unwrap();
    let root = host_path(&view.fd);
    let one = fs::metadata(root.join("f")).unwrap();
    let two = fs::metadata(root.join("dir/link")).unwrap();
    assert_eq!((one.ino(), one.nlink()), (two.ino(), 2));
}

pub(super) fn only_the_kernel_refuses_to_rename_lower_directories(world: &World) {
    let lower = base(world);
    let stack = world.step(&lower, |mount| {
        let root = host_path(&mount.fd);
        let before = fs::metadata(root.join("dir")).unwrap().ino();
        let renamed = rustix::fs::renameat(&mount.fd, "dir", &mount.fd, "moved");
        let (expected, name) = match world.backend {
            Backend::Overlay => (Err(Errno::XDEV), "dir"),
            _ => (Ok(()), "moved"),
        };
        assert_eq!(renamed, expected);
        let after = fs::metadata(root.join(name)).unwrap().ino();
        assert_eq!(after, before, "the same directory");
        assert_eq!(fs::read(root.join(name).join("one")).unwrap(), b"1");
    });
    let shown = match world.backend {
        Backend::Overlay => "/dir/one",
        _ => "/moved/one",
    };
    assert_eq!(text(&stack, shown), b"1");
}

pub(super) fn directories_of_lower_layers_can_be_moved(world: &World) {
    let mv = |root: &Path, from: &str, to: &str| {
        // The program copies where the file system refuses, as the kernel's overlay does.
        let status = Command::new("mv")
            .args([from, to])
            .current_dir(root)
            .status();
        assert!(status.unwrap().success(), "{from} to {to}");
    };
    for seed in seeds(7000, 10) {
        let lower = random_stack(&world.fixture, &mut Random::new(seed));
        let lower = world.fixture.stack(&lower, |root| {
            let top = root.make_dir(b"top", 0o755)?;
            write(&top.make_dir(b"inner", 0o755)?, "f", "x")
        });
        let below = picture::of_tree(&lower.tree());
        let stack = world.step(&lower, |mount| {
            let number = number(&mount.fd);
            let root = PathBuf::from(format!("/proc/{}/fd/{number}", std::process::id()));
            let names: Vec<_> = below
                .keys()
                .filter(|name| name.matches('/').count() == 1)
                .collect();
            let names = names
                .iter()
                .map(|name| &name[1..])
                .filter(|name| !name.is_empty());
            for name in names {
                // Once seen, so that the kernel knows it.
                drop(picture::of_mount(&mount.fd));
                mv(&root, name, "moved");
                drop(picture::of_mount(&mount.fd));
                mv(&root, "moved", name);
            }
            assert_eq!(
                without_times(picture::of_mount(&mount.fd)),
                without_times(below.clone())
            );
        });
        let shown = without_times(picture::of_tree(&stack.tree()));
        assert_eq!(shown, without_times(below), "seed {seed}");
    }
}

pub(super) fn sparse_files_stay_sparse(world: &World) {
    const SIZE: u64 = 64 << 20;
    let lower = world.step(&LayerStack::empty(), |mount| {
        let file = File::create_new(host_path(&mount.fd).join("f")).unwrap();
        file.set_len(SIZE).unwrap();
        file.write_all_at(b"middle", SIZE / 2).unwrap();
    });
    let stack = world.step(&lower, |mount| {
        let path = host_path(&mount.fd).join("f");
        let mut file = File::options().read(true).write(true).open(path).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.sync_all().unwrap();
        let found = file.seek(SeekFrom::Start(SIZE / 2)).unwrap();
        assert_eq!(found, SIZE / 2);
        let mut middle = [0; 6];
        file.read_exact(&mut middle).unwrap();
        assert_eq!(&middle, b"middle");
    });
    for (which, layer) in stack.layers().iter().enumerate() {
        let used = layer.usage_bytes();
        assert!(used < SIZE / 8, "layer {which} uses {used} bytes");
    }
    assert_eq!(text(&stack, "/f").len() as u64, SIZE);
}

pub(super) fn locks_exclude_each_other(world: &World) {
    let lower = base(world);
    let active = world.fixture.store.prepare(&lower).unwrap();
    world.work(&active, |mount| {
        let path = host_path(&mount.fd).join("f");
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let (one, two) = (open(), open());
        rustix::fs::flock(&one, FlockOperation::LockExclusive).unwrap();
        let second = rustix::fs::flock(&two, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(second, Err(Errno::AGAIN));
        drop(one);
        rustix::fs::flock(&two, FlockOperation::NonBlockingLockExclusive).unwrap();
    });
}

/// Neither one that a lower layer has nor one that was made here.
pub(super) fn a_running_program_keeps_its_text(world: &World) {
    // By another process: a program that another test starts would inherit our descriptor.
    let program = |root: &Path, name: &str| {
        let mut cp = Command::new("cp");
        cp.args(["/bin/sleep", name]).current_dir(root);
        assert!(cp.status().unwrap().success(), "{name}");
    };
    let lower = world.step(&LayerStack::empty(), |mount| {
        program(&host_path(&mount.fd), "lower");
    });
    let stack = world.step(&lower, |mount| {
        let root = host_path(&mount.fd);
        program(&root, "upper");
        for name in ["lower", "upper"] {
            let at = root.join(name);
            let mut child = Command::new(&at).arg("60").spawn().unwrap();
            for flags in [OFlags::WRONLY, OFlags::RDWR, OFlags::TRUNC] {
                let opened = rustix::fs::open(&at, flags, Mode::empty());
                assert_eq!(opened.err(), Some(Errno::TXTBSY), "{name}, {flags:?}");
            }
            assert_eq!(child.try_wait().unwrap(), None, "{name} runs");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    });
    let kept = |name: &str| text(&stack, name) == fs::read("/bin/sleep").unwrap();
    assert!(kept("/upper"));
    // The kernel's overlay makes an empty copy before it finds that the program runs.
    assert!(kept("/lower") || world.backend == Backend::Overlay);
}
