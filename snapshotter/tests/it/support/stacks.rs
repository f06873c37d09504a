//! Random stacks, written without a mount.

use lamina_snapshotter::LayerStack;

use super::Fixture;
use super::commit;
use super::random::Random;
use super::script;

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
