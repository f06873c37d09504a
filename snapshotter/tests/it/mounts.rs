//! What is the kernel backend's own; what all backends have in common is in `conformance`.

use lamina_snapshotter::KernelOverlay;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter as _;
use lamina_types::LayerId;

use crate::support::Fixture;
use crate::support::picture;
use crate::support::random::Random;
use crate::support::random::seeds;
use crate::support::skipped;
use crate::support::stacks::random_stack;
use crate::support::write;

#[test]
fn the_mounter_says_what_it_is() {
    let fixture = Fixture::new();
    let Some(overlay) = fixture.overlay("description") else {
        return;
    };
    let text = overlay.describe();
    let namespace = fixture.store.namespace();
    assert!(
        text.starts_with(&format!("overlay ({namespace} xattrs, ")),
        "{text}"
    );
}

#[test]
fn older_kernels_are_served_by_the_mount_call() {
    let fixture = Fixture::new();
    let overlay = match KernelOverlay::probe_mount_call(&fixture.store) {
        Ok(overlay) => overlay,
        Err(error) => return skipped("mount(2)", &error.to_string()),
    };
    for seed in seeds(4000, 20) {
        let mut random = Random::new(seed);
        let stack = random_stack(&fixture, &mut random);
        let view = overlay.mount_view(&stack).unwrap();
        let shown = picture::of_tree(&stack.tree());
        assert_eq!(shown, picture::of_mount(&view.fd), "seed {seed}");
        let active = fixture.store.prepare(&stack).unwrap();
        let mount = overlay.mount_active(&active).unwrap();
        assert_eq!(shown, picture::of_mount(&mount.fd), "seed {seed}");
    }
    let names = std::fs::read_dir(fixture.layers()).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.any(|name| name.starts_with("tmp-mount")));
}

/// Many layers with long names are too much for the one page of options that `mount(2)` takes.
#[test]
fn older_kernels_see_stacks_whose_names_fill_more_than_a_page() {
    let fixture = Fixture::new();
    std::fs::write(fixture.layers().join("next"), "fffffff0\n").unwrap();
    let fixture = fixture.reopen();
    let overlay = match KernelOverlay::probe_mount_call(&fixture.store) {
        Ok(overlay) => overlay,
        Err(error) => return skipped("a page of names", &error.to_string()),
    };
    let mut stack = LayerStack::empty();
    for index in 0..400 {
        stack = fixture.stack(&stack, |root| write(root, &format!("f{index}"), "x"));
    }
    assert!(stack.ids()[0] >= LayerId(0xffff_fff0), "names are long");
    let shown = picture::of_tree(&stack.tree());
    let view = overlay.mount_view(&stack).unwrap();
    assert_eq!(shown, picture::of_mount(&view.fd));
    let active = fixture.store.prepare(&stack).unwrap();
    let mount = overlay.mount_active(&active).unwrap();
    assert_eq!(shown, picture::of_mount(&mount.fd));
}
