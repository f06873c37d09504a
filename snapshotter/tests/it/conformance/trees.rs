//! Random operations: what a process does through a mount, and what our own writer does.

use lamina_snapshotter::Backend;
use lamina_snapshotter::LayerStack;

use super::World;
use crate::support::commit;
use crate::support::host_path;
use crate::support::in_user_namespace;
use crate::support::picture;
use crate::support::picture::without_times;
use crate::support::random::Random;
use crate::support::random::seeds;
use crate::support::script;
use crate::support::stacks::random_stack;

/// Returns how many stacks a test usually has; each has 1 to 6 layers.
fn stacks(world: &World) -> u64 {
    match (world.backend, in_user_namespace()) {
        (Backend::Overlay, false) => 150,
        (_, false) => 80,
        (_, true) => 40,
    }
}

pub(super) fn the_same_operations_give_the_same_tree_with_and_without_a_mount(world: &World) {
    for seed in seeds(0, stacks(world)) {
        let mut random = Random::new(seed);
        let (mut written, mut mounted) = (LayerStack::empty(), LayerStack::empty());
        for layer in 0..1 + random.below(6) {
            let count = 4 + random.below(20);
            let steps = script::script(&mut random, count);
            let at = format!("seed {seed}, layer {layer}: {steps:?}");
            (written, mounted) = write_both(world, (&written, &mounted), &steps, &at);
            world.compare_view(&written, &at);
            world.compare_view(&mounted, &at);
            let ours = without_times(picture::of_tree(&written.tree()));
            let theirs = without_times(picture::of_tree(&mounted.tree()));
            assert_eq!(ours, theirs, "{at}");
        }
        world.fixture.store.sweep(&|_| false).unwrap();
    }
}

/// Carries `steps` out on both stacks, comparing the results of every step and the unsealed trees.
fn write_both(
    world: &World,
    (written, mounted): (&LayerStack, &LayerStack),
    steps: &[script::Step],
    at: &str,
) -> (LayerStack, LayerStack) {
    let ours = world.fixture.store.prepare(written).unwrap();
    let theirs = world.fixture.store.prepare(mounted).unwrap();
    let mut expected = picture::Picture::new();
    world.work(&theirs, |mount| {
        for step in steps {
            let worked = script::run_on_upper(step, &ours.writer());
            let done = script::run_on_mount(step, &host_path(&mount.fd));
            assert_eq!(worked, done, "{step:?} in {at}");
        }
        expected = without_times(picture::of_mount(&mount.fd));
    });
    let shown = without_times(picture::of_tree(&ours.tree()));
    assert_eq!(shown, expected, "unsealed, {at}");
    assert_eq!(
        without_times(picture::of_tree(&theirs.tree())),
        expected,
        "written through the mount, {at}"
    );
    (written.push(commit(ours)), mounted.push(commit(theirs)))
}

pub(super) fn an_active_layer_of_ours_shows_the_same_when_it_is_mounted(world: &World) {
    for seed in seeds(1000, stacks(world) / 2) {
        let mut random = Random::new(seed);
        let lower = random_stack(&world.fixture, &mut random);
        let active = world.fixture.store.prepare(&lower).unwrap();
        for step in script::script(&mut random, 20) {
            script::run_on_upper(&step, &active.writer());
        }
        let shown = picture::of_tree(&active.tree());
        world.work(&active, |mount| {
            assert_eq!(shown, picture::of_mount(&mount.fd), "seed {seed}");
        });
        assert_eq!(shown, picture::of_tree(&active.tree()), "seed {seed}");
        world.fixture.store.sweep(&|_| false).unwrap();
    }
}

pub(super) fn layers_of_different_stacks_merge(world: &World) {
    for seed in seeds(2000, stacks(world)) {
        let mut random = Random::new(seed);
        let mut layers = Vec::new();
        for _ in 0..2 + random.below(2) {
            layers.extend(random_stack(&world.fixture, &mut random).layers().to_vec());
        }
        for _ in 0..layers.len() {
            let (a, b) = (random.below(layers.len()), random.below(layers.len()));
            layers.swap(a, b);
        }
        let repeated = random.pick(&layers).clone();
        layers.push(repeated);
        world.compare_view(&LayerStack::new(layers), &format!("seed {seed}"));
        world.fixture.store.sweep(&|_| false).unwrap();
    }
}
