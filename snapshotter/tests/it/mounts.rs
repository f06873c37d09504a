//! What processes are given.

use lamina_snapshotter::KernelOverlay;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter as _;
use rustix::fs::Mode;
use rustix::io::Errno;

use crate::oracle::random_stack;
use crate::support::Fixture;
use crate::support::host_path;
use crate::support::picture;
use crate::support::random::Random;
use crate::support::skipped;
use crate::support::write;

#[test]
fn views_cannot_be_written_to() {
    let fixture = Fixture::new();
    let Some(overlay) = fixture.overlay("read-only views") else {
        return;
    };
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
        let view = overlay.mount_view(&stack).unwrap();
        let made = rustix::fs::mkdirat(&view.fd, "new", Mode::from_raw_mode(0o755));
        assert_eq!(made, Err(Errno::ROFS), "{what}");
        let shown: Vec<String> = picture::of_mount(&view.fd).into_keys().skip(1).collect();
        assert_eq!(shown, names, "{what}");
    }
}

#[test]
fn an_active_layer_on_nothing_can_be_mounted_twice_in_turn() {
    let fixture = Fixture::new();
    let Some(overlay) = fixture.overlay("mounting twice") else {
        return;
    };
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    for name in ["one", "two"] {
        let mount = overlay.mount_active(&active).unwrap();
        std::fs::write(host_path(&mount.fd).join(name), name).unwrap();
    }
    let names = active.tree().root().unwrap().read_dir().unwrap();
    assert_eq!(names, [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn more_layers_than_one_mount_takes() {
    let fixture = Fixture::new();
    let Some(overlay) = fixture.overlay("many layers") else {
        return;
    };
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
    let view = overlay.mount_view(&stack).unwrap();
    let shown = picture::of_mount(&view.fd);
    assert_eq!(shown.len(), 520);
    assert_eq!(picture::of_tree(&stack.tree()), shown);
    let layers = fixture.store.all_layers().len();
    drop(overlay.mount_view(&stack).unwrap());
    assert_eq!(fixture.store.all_layers().len(), layers, "made once");
    let active = fixture.store.prepare(&stack).unwrap();
    let mount = overlay.mount_active(&active).unwrap();
    assert_eq!(picture::of_mount(&mount.fd), shown);
}

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
    for seed in 4000..4020 {
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

#[test]
fn a_probe_leaves_nothing_behind() {
    let fixture = Fixture::new();
    let list = || {
        let entries = std::fs::read_dir(fixture.layers()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    if fixture.overlay("probing").is_some() {
        assert_eq!(list(), before);
    }
}
