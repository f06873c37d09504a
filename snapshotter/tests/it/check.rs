//! Damage inside of layers: found on demand, named, dropped.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Mounter as _;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::StoreCheck;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::host_path;
use crate::support::write;

fn sample(root: &WriteDir) -> Result<(), SnapshotError> {
    let dir = root.make_dir(b"d", 0o755)?;
    write(&dir, "f", "abcde")?;
    dir.symlink(b"link", b"f")?;
    dir.link_from(b"again", &dir.lookup(b"f")?.unwrap())?;
    root.make_dir(b"empty", 0o700).map(drop)
}

fn check(fixture: &Fixture) -> StoreCheck {
    fixture.store.check(&CancelToken::new()).unwrap()
}

/// All kinds of layers: one alone, one that deletes and replaces, one with links into another, one that
/// a process wrote, and what they make together.
fn layers(fixture: &Fixture) -> usize {
    let cancel = CancelToken::new();
    let below = fixture.stack(&LayerStack::empty(), sample);
    let above = fixture.stack(&below, |root| {
        root.remove(b"empty")?;
        root.remove(b"d")?;
        write(&root.make_dir(b"d", 0o750)?, "new", "x")
    });
    let tree = below.tree().root().unwrap().child(b"d").unwrap();
    fixture.layer(&LayerStack::empty(), |root| {
        root.link_from(b"linked", &tree.child(b"f")?)
    });
    let difference = fixture.store.diff(&below, &above, &cancel).unwrap();
    fixture.store.merge(&[below, difference], &cancel).unwrap();
    if let Some(overlay) = fixture.overlay("a layer that a process wrote") {
        let active = fixture.store.prepare(&above).unwrap();
        let mount = overlay.mount_active(&active).unwrap();
        let root = host_path(&mount.fd);
        fs::remove_dir_all(root.join("d")).unwrap();
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "other").unwrap();
        drop(mount);
        commit(active);
    }
    fixture.store.all_layers().len()
}

#[test]
fn what_was_sealed_is_sound_also_later() {
    for fixture in [Fixture::new(), Fixture::stored()] {
        let count = layers(&fixture);
        let sound = StoreCheck {
            sound: count,
            ..StoreCheck::default()
        };
        assert_eq!(check(&fixture), sound);
        assert_eq!(check(&fixture.reopen()), sound);
    }
}

#[test]
fn every_damage_is_found_and_its_layer_dropped() {
    type Damage = fn(&Path) -> std::io::Result<()>;
    let damages: [(&str, Damage, &str); 9] = [
        (
            "missing",
            |fs| fs::remove_file(fs.join("d/f")),
            "5 entries instead of 6",
        ),
        (
            "directory missing",
            |fs| fs::remove_dir_all(fs.join("d")),
            "2 entries instead of 6",
        ),
        (
            "added",
            |fs| fs::write(fs.join("new"), ""),
            "7 entries instead of 6",
        ),
        (
            "cut",
            |fs| {
                fs::File::options()
                    .write(true)
                    .open(fs.join("d/f"))?
                    .set_len(2)
            },
            "a file has changed",
        ),
        (
            "written to",
            |fs| {
                fs::write(fs.join("d/f"), "other")?;
                // Clocks of file systems are coarse.
                let file = fs::File::options().write(true).open(fs.join("d/f"))?;
                file.set_modified(UNIX_EPOCH)
            },
            "a file has changed",
        ),
        (
            "moved",
            |fs| fs::rename(fs.join("empty"), fs.join("moved")),
            "a file has changed",
        ),
        (
            "of another kind",
            |fs| {
                fs::remove_dir(fs.join("empty"))?;
                let mode = Mode::from_raw_mode(0o700);
                Ok(rustix::fs::mknodat(
                    CWD,
                    fs.join("empty"),
                    FileType::Fifo,
                    mode,
                    0,
                )?)
            },
            "a file has changed",
        ),
        (
            "of another mode",
            |fs| {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(fs.join("empty"), fs::Permissions::from_mode(0o711))
            },
            "a file has changed",
        ),
        (
            "all gone",
            |fs| fs::remove_dir_all(fs),
            "/: no such file or directory",
        ),
    ];
    for (what, damage, reason) in damages {
        let fixture = Fixture::new();
        let id = fixture.layer(&LayerStack::empty(), sample).id();
        let other = fixture.layer(&LayerStack::empty(), sample).id();
        let held = fixture.store.layer(id);
        damage(&fixture.layers().join(id.to_string()).join("fs")).unwrap();
        let found = check(&fixture);
        let [layer] = &found.damaged[..] else {
            panic!("{what}: {found:?}");
        };
        assert_eq!((layer.id, found.sound), (id, 1), "{what}");
        assert_eq!(layer.reason, reason, "{what}");
        assert!(!layer.dropped, "{what}: somebody holds it");
        drop(held);
        assert!(check(&fixture).damaged[0].dropped, "{what}");
        assert!(fixture.store.layer(id).is_none(), "{what}");
        assert!(fixture.store.layer(other).is_some(), "{what}");
        assert_eq!(check(&fixture).damaged, [], "{what}");
    }
}
