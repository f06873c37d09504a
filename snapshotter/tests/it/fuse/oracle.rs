//! What random programs leave behind on the kernel's overlay and on our file system.
//!
//! That they see the same is checked by `sequences`.

use lamina_snapshotter::Backend;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter;
use rustix::io::Errno;

use super::world;
use crate::conformance::World;
use crate::support::commit;
use crate::support::picture;
use crate::support::picture::without_times;
use crate::support::random::Random;
use crate::support::random::seeds;
use crate::support::steps;
use crate::support::steps::Kinds;
use crate::support::steps::Step;
use crate::support::summary;

/// Each makes up to four layers.
const PROGRAMS: u64 = 60;

const STEPS: usize = 40;

/// Seeds that were found to go wrong: a call that failed had copied an empty directory up.
const FOUND: [u64; 1] = [101_225];

/// The kernel's overlay takes hard links among lower files apart.
const KINDS: Kinds = Kinds {
    hard_links: false,
    sockets: true,
};

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
    for seed in seeds(1000, PROGRAMS).chain(FOUND) {
        let mut random = Random::new(seed);
        let mut stack = LayerStack::empty();
        for layer in 0..1 + random.below(4) {
            let script = steps::script(&mut random, STEPS, KINDS);
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
