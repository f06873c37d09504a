//! One format on disk: what one backend writes, every other mounts.

use lamina_snapshotter::Backend;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::choose;

use super::World;
use crate::support::host_path;
use crate::support::picture;
use crate::support::random::Random;
use crate::support::random::seeds;
use crate::support::script;

pub(super) fn every_backend_reads_what_another_wrote(world: &World) {
    let all = [Backend::Overlay, Backend::Fuse, Backend::Copy];
    let others: Vec<_> = all
        .into_iter()
        .filter_map(|backend| choose(&world.fixture.store, Some(backend)).ok())
        .collect();
    for seed in seeds(6000, 10) {
        let mut random = Random::new(seed);
        let mut stack = LayerStack::empty();
        for _ in 0..3 {
            let steps = script::script(&mut random, 20);
            stack = world.step(&stack, |mount| {
                for step in &steps {
                    script::run_on_mount(step, &host_path(&mount.fd));
                }
            });
        }
        let expected = picture::of_tree(&stack.tree());
        for other in &others {
            let view = other.mounter.mount_view(&stack).unwrap();
            let shown = picture::of_mount(&view.fd);
            assert_eq!(shown, expected, "seed {seed}, {}", other.backend);
        }
    }
}
