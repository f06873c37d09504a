//! Inodes that layers share by link must not show as shared, nor be written to.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;

use super::World;
use crate::support::commit;
use crate::support::host_path;
use crate::support::path;
use crate::support::picture;
use crate::support::write;

fn source(world: &World) -> LayerStack {
    world
        .fixture
        .stack(&LayerStack::empty(), |root| write(root, "f", "text"))
}

pub(super) fn a_mount_writes_to_copies(world: &World) {
    let from = source(world);
    let before = picture::of_tree(&from.tree());
    let active = world.fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    let entry = from.tree().lookup(&path("/f"), Follow::Parents).unwrap();
    root.link_from(b"f", &entry).unwrap();
    world.work(&active, |mount| {
        std::fs::write(host_path(&mount.fd).join("f"), "other").unwrap();
    });
    drop(root);
    let to = LayerStack::new([commit(active)]);
    assert_eq!(picture::of_tree(&from.tree()), before);
    let mut text = String::new();
    let entry = to.tree().lookup(&path("/f"), Follow::Parents).unwrap();
    entry.open().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "other");
}

pub(super) fn layers_that_share_inodes_show_different_ones(world: &World) {
    let from = source(world);
    let entry = from.tree().lookup(&path("/f"), Follow::Parents).unwrap();
    let linked = world.fixture.stack(&LayerStack::empty(), |root| {
        write(root, "own", "x")?;
        root.whiteout(b"nothing")?;
        let dir = root.make_dir(b"d", 0o711)?;
        dir.link_from(b"copy", &entry)
    });
    let both = LayerStack::new([from.layers()[0].clone(), linked.layers()[0].clone()]);
    let view = world.mounter.mount_view(&both).unwrap();
    let root = host_path(&view.fd);
    let one = std::fs::metadata(root.join("f")).unwrap();
    let two = std::fs::metadata(root.join("d/copy")).unwrap();
    assert_ne!(one.ino(), two.ino());
    assert_eq!(picture::of_tree(&both.tree()), picture::of_mount(&view.fd));
}
