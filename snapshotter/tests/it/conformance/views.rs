//! What processes are given, and what is left afterwards.

use lamina_snapshotter::LayerStack;
use lamina_snapshotter::choose;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::World;
use crate::support::commit;
use crate::support::host_path;
use crate::support::picture;
use crate::support::random::Random;
use crate::support::random::seeds;
use crate::support::stacks::random_stack;
use crate::support::summary;
use crate::support::write;

pub(super) fn views_cannot_be_written_to(world: &World) {
    let fixture = &world.fixture;
    let plain = fixture.stack(&LayerStack::empty(), |root| write(root, "a", "x"));
    let whiteouts = fixture.stack(&LayerStack::empty(), |root| {
        write(root, "b", "x")?;
        root.whiteout(b"a")
    });
    let two = LayerStack::new([plain.layers()[0].clone(), whiteouts.layers()[0].clone()]);
    for (what, stack, names) in [
        ("no layer", LayerStack::empty(), vec![]),
        ("one plain layer", plain, vec!["/a"]),
        ("one layer that deletes", whiteouts, vec!["/b"]),
        ("two layers", two, vec!["/b"]),
    ] {
        let view = world.mounter.mount_view(&stack).unwrap();
        let made = rustix::fs::mkdirat(&view.fd, "new", Mode::from_raw_mode(0o755));
        assert_eq!(made, Err(Errno::ROFS), "{what}");
        let shown: Vec<String> = picture::of_mount(&view.fd).into_keys().skip(1).collect();
        assert_eq!(shown, names, "{what}");
    }
}

pub(super) fn a_layer_can_be_mounted_twice_in_turn(world: &World) {
    let active = world.fixture.store.prepare(&LayerStack::empty()).unwrap();
    for name in ["one", "two"] {
        let mount = world.mounter.mount_active(&active).unwrap();
        std::fs::write(host_path(&mount.fd).join(name), name).unwrap();
    }
    active.end_mount().unwrap();
    let names = active.tree().root().unwrap().read_dir().unwrap();
    assert_eq!(names, [b"one".to_vec(), b"two".to_vec()]);
}

pub(super) fn many_layers(world: &World) {
    let fixture = &world.fixture;
    let mut stack = LayerStack::empty();
    for index in 0..520 {
        let layer = fixture.layer(&LayerStack::empty(), |root| {
            let dir = root.make_dir(b"d", 0o755)?;
            write(&dir, &format!("f{index}"), "x")?;
            match index {
                10 => dir.whiteout(b"f9"),
                515 => dir.whiteout(b"f8"),
                _ => Ok(()),
            }
        });
        stack = stack.push(layer);
    }
    let view = world.mounter.mount_view(&stack).unwrap();
    let shown = picture::of_mount(&view.fd);
    assert_eq!(shown.len(), 520);
    assert_eq!(picture::of_tree(&stack.tree()), shown);
    drop(view);
    let layers = fixture.store.all_layers().len();
    drop(world.mounter.mount_view(&stack).unwrap());
    assert_eq!(fixture.store.all_layers().len(), layers, "nothing piles up");
    let active = fixture.store.prepare(&stack).unwrap();
    world.work(&active, |mount| {
        assert_eq!(picture::of_mount(&mount.fd), shown);
    });
}

pub(super) fn a_probe_leaves_nothing_behind(world: &World) {
    let list = || {
        world.fixture.store.finish_deleting();
        let entries = std::fs::read_dir(world.fixture.layers()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    let chosen = choose(&world.fixture.store, Some(world.backend)).unwrap();
    assert_eq!(list(), before);
    assert_eq!(chosen.backend, world.backend);
    assert!(chosen.refused.is_empty());
    let text = chosen.mounter.describe();
    assert!(text.starts_with(world.backend.name()), "{text}");
}

pub(super) fn a_layer_that_is_given_up_leaves_nothing(world: &World) {
    let active = world.fixture.store.prepare(&LayerStack::empty()).unwrap();
    let mount = world.mounter.mount_active(&active).unwrap();
    std::fs::create_dir(host_path(&mount.fd).join("d")).unwrap();
    drop(mount);
    drop(active);
    let entries = std::fs::read_dir(world.fixture.layers()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.starts_with("tmp-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

pub(super) fn unchanged_trees_give_empty_layers(world: &World) {
    for seed in seeds(5000, 5) {
        let stack = random_stack(&world.fixture, &mut Random::new(seed));
        let active = world.fixture.store.prepare(&stack).unwrap();
        world.work(&active, |mount| drop(picture::of_mount(&mount.fd)));
        assert_eq!(summary(&commit(active)), ["(/)"], "seed {seed}");
    }
}
