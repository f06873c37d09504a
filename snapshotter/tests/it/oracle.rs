//! Our overlay semantics against the kernel's, on random trees.

use lamina_snapshotter::KernelOverlay;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter as _;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::host_path;
use crate::support::in_user_namespace;
use crate::support::picture;
use crate::support::picture::without_times;
use crate::support::random::Random;
use crate::support::script;

/// Returns the number of stacks per test; each has 1 to 6 layers.
fn stacks() -> u64 {
    if in_user_namespace() { 60 } else { 150 }
}

#[test]
fn the_same_operations_give_the_same_tree_with_and_without_a_mount() {
    let fixture = Fixture::new();
    let Some(overlay) = fixture.overlay("operations") else {
        return;
    };
    for seed in 0..stacks() {
        let mut random = Random::new(seed);
        let (mut written, mut mounted) = (LayerStack::empty(), LayerStack::empty());
        for layer in 0..1 + random.below(6) {
            let count = 4 + random.below(20);
            let steps = script::script(&mut random, count);
            let at = format!("seed {seed}, layer {layer}: {steps:?}");
            (written, mounted) = write_both(&fixture, &overlay, (&written, &mounted), &steps, &at);
            compare_with_mount(&overlay, &written, &at);
            compare_with_mount(&overlay, &mounted, &at);
            let ours = without_times(picture::of_tree(&written.tree()));
            let kernels = without_times(picture::of_tree(&mounted.tree()));
            assert_eq!(ours, kernels, "{at}");
        }
        fixture.store.sweep(&|_| false).unwrap();
    }
}

/// Carries `steps` out on both stacks, comparing the results of every step and the unsealed trees.
fn write_both(
    fixture: &Fixture,
    overlay: &KernelOverlay,
    (written, mounted): (&LayerStack, &LayerStack),
    steps: &[script::Step],
    at: &str,
) -> (LayerStack, LayerStack) {
    let ours = fixture.store.prepare(written).unwrap();
    let theirs = fixture.store.prepare(mounted).unwrap();
    let mount = overlay.mount_active(&theirs).unwrap();
    for step in steps {
        let worked = script::run_on_upper(step, &ours.writer());
        let expected = script::run_on_mount(step, &host_path(&mount.fd));
        assert_eq!(worked, expected, "{step:?} in {at}");
    }
    let shown = without_times(picture::of_tree(&ours.tree()));
    let expected = without_times(picture::of_mount(&mount.fd));
    assert_eq!(shown, expected, "unsealed, {at}");
    assert_eq!(
        without_times(picture::of_tree(&theirs.tree())),
        expected,
        "written by the kernel, {at}"
    );
    drop(mount);
    (written.push(commit(ours)), mounted.push(commit(theirs)))
}

fn compare_with_mount(overlay: &KernelOverlay, stack: &LayerStack, at: &str) {
    let view = overlay.mount_view(stack).unwrap();
    let shown = picture::of_tree(&stack.tree());
    assert_eq!(shown, picture::of_mount(&view.fd), "{at}");
}

#[test]
fn an_active_layer_of_ours_shows_the_same_when_it_is_mounted() {
    let fixture = Fixture::new();
    let Some(overlay) = fixture.overlay("mounting what was written") else {
        return;
    };
    for seed in 1000..1000 + stacks() / 2 {
        let mut random = Random::new(seed);
        let lower = random_stack(&fixture, &mut random);
        let active = fixture.store.prepare(&lower).unwrap();
        for step in script::script(&mut random, 20) {
            script::run_on_upper(&step, &active.writer());
        }
        let shown = picture::of_tree(&active.tree());
        let mount = overlay.mount_active(&active).unwrap();
        assert_eq!(shown, picture::of_mount(&mount.fd), "seed {seed}");
        fixture.store.sweep(&|_| false).unwrap();
    }
}

#[test]
fn layers_of_different_stacks_merge_as_the_kernel_merges_them() {
    let fixture = Fixture::new();
    let Some(overlay) = fixture.overlay("foreign stacks") else {
        return;
    };
    for seed in 2000..2000 + stacks() {
        let mut random = Random::new(seed);
        let mut layers = Vec::new();
        for _ in 0..2 + random.below(2) {
            layers.extend(random_stack(&fixture, &mut random).layers().to_vec());
        }
        for _ in 0..layers.len() {
            let (a, b) = (random.below(layers.len()), random.below(layers.len()));
            layers.swap(a, b);
        }
        let repeated = random.pick(&layers).clone();
        layers.push(repeated);
        compare_with_mount(&overlay, &LayerStack::new(layers), &format!("seed {seed}"));
        fixture.store.sweep(&|_| false).unwrap();
    }
}

/// Makes one to three layers on top of each other.
pub(crate) fn random_stack(fixture: &Fixture, random: &mut Random) -> LayerStack {
    let mut stack = LayerStack::empty();
    for _ in 0..1 + random.below(3) {
        let active = fixture.store.prepare(&stack).unwrap();
        let count = 4 + random.below(16);
        for step in script::script(random, count) {
            script::run_on_upper(&step, &active.writer());
        }
        stack = stack.push(commit(active));
    }
    stack
}
