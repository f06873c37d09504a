//! Random programs: on a plain directory, on the kernel's overlay, and on our file system.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lamina_snapshotter::Backend;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::steps;
use super::steps::Step;
use super::world;
use crate::conformance::World;
use crate::support::commit;
use crate::support::host_path;
use crate::support::picture;
use crate::support::picture::without_times;
use crate::support::random::Random;
use crate::support::summary;

/// Programs per test; each makes up to four layers.
const PROGRAMS: u64 = 60;

const STEPS: usize = 40;

fn open_dir(path: &Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

/// A program cannot tell the mount from a directory of its own: every call has the same result, also
/// renames of directories that merge and hard links among lower files.
#[test]
fn a_mount_behaves_like_a_plain_directory() {
    let Some(world) = world("plain directory") else {
        return;
    };
    for seed in 0..PROGRAMS {
        let mut random = Random::new(seed);
        let folder = tempfile::tempdir().unwrap();
        let plain = open_dir(folder.path());
        std::fs::set_permissions(folder.path(), mode(0o755)).unwrap();
        let mut stack = LayerStack::empty();
        for layer in 0..1 + random.below(4) {
            let script = steps::script(&mut random, STEPS, true);
            let at = format!("seed {seed}, layer {layer}");
            stack = live_through(&world, &stack, &plain, &script, &at);
        }
        world.fixture.store.sweep(&|_| false).unwrap();
    }
}

fn mode(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// Carries `script` out in the plain directory and on top of `stack`, which shows the same.
fn live_through(
    world: &World,
    stack: &LayerStack,
    plain: &OwnedFd,
    script: &[Step],
    at: &str,
) -> LayerStack {
    let next = world.step(stack, |mount| {
        // Every name is seen before, so that links among lower files are known.
        assert_eq!(names(&mount.fd), names(plain), "before {at}");
        for (number, step) in script.iter().enumerate() {
            let done = steps::run(step, &mount.fd);
            let expected = steps::run(step, plain);
            assert_eq!(done, expected, "step {number} {step:?}, {at}: {script:?}");
        }
        let (shown, expected) = (picture::of_mount(&mount.fd), picture::of_mount(plain));
        assert_eq!(
            without_times(shown),
            without_times(expected),
            "{at}: {script:?}"
        );
        assert_eq!(names(&mount.fd), names(plain), "after {at}: {script:?}");
    });
    let (kept, expected) = (picture::of_tree(&next.tree()), picture::of_mount(plain));
    assert_eq!(
        without_times(kept),
        without_times(expected),
        "sealed, {at}: {script:?}"
    );
    next
}

/// Returns for every name the first name of the same file.
fn names(root: &OwnedFd) -> BTreeMap<String, String> {
    let mut firsts = BTreeMap::new();
    let mut names = BTreeMap::new();
    let shown = picture::of_mount(root);
    for path in shown.keys().skip(1) {
        let meta = host_path(root).join(&path[1..]).symlink_metadata().unwrap();
        let first: &mut String = firsts.entry(meta.ino()).or_insert_with(|| path.clone());
        names.insert(path.clone(), first.clone());
    }
    names
}

/// What the kernel's overlay leaves behind is what ours leaves behind; where the kernel refuses to rename
/// a directory, ours is not asked.
#[test]
fn layers_are_those_that_the_kernel_would_have_made() {
    let Some(world) = world("the kernel's layers") else {
        return;
    };
    let chosen = lamina_snapshotter::choose(&world.fixture.store, Some(Backend::Overlay));
    let kernel = match chosen {
        Ok(chosen) => chosen.mounter,
        Err(error) => return crate::support::skipped("the kernel's layers", &error.to_string()),
    };
    for seed in 1000..1000 + PROGRAMS {
        let mut random = Random::new(seed);
        let mut stack = LayerStack::empty();
        for layer in 0..1 + random.below(4) {
            let script = steps::script(&mut random, STEPS, false);
            let at = format!("seed {seed}, layer {layer}: {script:?}");
            stack = compare_layers(&world, &*kernel, &stack, &script, &at);
        }
        world.fixture.store.sweep(&|_| false).unwrap();
    }
}

fn compare_layers(
    world: &World,
    kernel: &dyn Mounter,
    stack: &LayerStack,
    script: &[Step],
    at: &str,
) -> LayerStack {
    let theirs = world.fixture.store.prepare(stack).unwrap();
    let mount = kernel.mount_active(&theirs).unwrap();
    let expected: Vec<_> = script
        .iter()
        .map(|step| steps::run(step, &mount.fd))
        .collect();
    drop(mount);
    let theirs = stack.push(commit(theirs));
    let ours = world.step(stack, |mount| {
        for (step, expected) in script.iter().zip(expected) {
            if expected != Err(Errno::XDEV) {
                assert_eq!(steps::run(step, &mount.fd), expected, "{step:?} in {at}");
            }
        }
    });
    let pictures = [&ours, &theirs].map(|stack| without_times(picture::of_tree(&stack.tree())));
    assert_eq!(pictures[0], pictures[1], "{at}");
    assert_eq!(changes(&ours), changes(&theirs), "{at}");
    ours
}

/// Returns what the topmost layer says, but directories that are only passed through: calls that fail
/// may have copied them up.
fn changes(stack: &LayerStack) -> Vec<String> {
    let mut lines = summary(stack.layers().last().unwrap());
    lines.retain(|line| !line.starts_with('('));
    lines
}
