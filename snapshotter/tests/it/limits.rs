//! Sizes at which file systems and the kernel say no.

use std::path::Path;

use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter as _;
use lamina_snapshotter::Selection;
use lamina_types::CancelToken;

use crate::support::Fixture;
use crate::support::path;
use crate::support::picture;
use crate::support::skipped;
use crate::support::write;

/// More than twice what one mount takes.
const LAYERS: usize = 1_000;

/// Names that one file may have on ext4.
const EXT4_LINKS: usize = 65_000;

#[test]
fn a_thousand_layers_are_read_merged_and_mounted() {
    let fixture = Fixture::new();
    let cancel = CancelToken::new();
    let layers: Vec<LayerStack> = (0..LAYERS)
        .map(|index| {
            fixture.stack(&LayerStack::empty(), |root| {
                let dir = root.make_dir(format!("d{}", index % 7).as_bytes(), 0o755)?;
                write(&dir, &format!("f{index}"), &index.to_string())?;
                match index {
                    700.. => dir.whiteout(format!("f{}", index - 700).as_bytes()),
                    _ => Ok(()),
                }
            })
        })
        .collect();
    // Each layer twice: the topmost counts, which shows the same tree.
    let twice: Vec<LayerStack> = layers.iter().chain(&layers).cloned().collect();
    let merged = fixture.store.merge(&layers, &cancel).unwrap();
    assert_eq!(fixture.store.merge(&twice, &cancel).unwrap(), merged);
    assert_eq!(merged.layers().len(), LAYERS);
    let top = merged
        .tree()
        .lookup(&path("/d6/f993"), Follow::Last)
        .unwrap();
    assert_eq!(top.stat().size, 3);
    assert!(merged.tree().lookup(&path("/d0/f0"), Follow::Last).is_err());
    merged.digest(&Selection::of_path("/"), &cancel).unwrap();
    let below = LayerStack::new(merged.layers()[..400].iter().cloned());
    let rest = fixture.store.diff(&below, &merged, &cancel).unwrap();
    assert_eq!(rest.ids(), merged.ids()[400..]);
    let Some(overlay) = fixture.overlay("mounting a thousand layers") else {
        return;
    };
    let shown = picture::of_tree(&merged.tree());
    let view = overlay.mount_view(&merged).unwrap();
    assert_eq!(picture::of_mount(&view.fd), shown);
    let active = fixture.store.prepare(&merged).unwrap();
    let mount = overlay.mount_active(&active).unwrap();
    assert_eq!(picture::of_mount(&mount.fd), shown);
}

#[test]
fn a_file_with_too_many_names_is_copied() {
    let fixture = Fixture::new();
    let other = fixture.stack(&LayerStack::empty(), |root| write(root, "other", "x"));
    let full = fixture.stack(&LayerStack::empty(), |root| write(root, "full", "text"));
    let file = fixture
        .layers()
        .join(full.layers()[0].id().to_string())
        .join("fs/full");
    let names = fixture.layers().parent().unwrap().join("names");
    std::fs::create_dir(&names).unwrap();
    if let Err(reason) = use_up_links(&file, &names) {
        return skipped("too many links", &reason);
    }
    let diff = fixture.store.diff(&other, &full, &CancelToken::new());
    let diff = diff.unwrap();
    let inode = |stack: &LayerStack| {
        let entry = stack.tree().lookup(&path("/full"), Follow::Last).unwrap();
        entry.origin().inode
    };
    assert_ne!(inode(&diff), inode(&full), "copied");
    let nodes = [
        picture::of_tree(&diff.tree()),
        picture::of_tree(&full.tree()),
    ];
    assert_eq!(nodes[0]["/full"], nodes[1]["/full"]);
}

/// Gives a file as many names as it can have.
fn use_up_links(file: &Path, names: &Path) -> Result<(), String> {
    for number in 0..=EXT4_LINKS {
        match std::fs::hard_link(file, names.join(number.to_string())) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::TooManyLinks => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("this file system allows more than {EXT4_LINKS}"))
}
