//! Writing to an active layer: contracts that the kernel does not have, and many threads.

use std::io::Read as _;

use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Mounter as _;
use lamina_snapshotter::SnapshotError;
use lamina_types::CancelToken;
use rayon::iter::IntoParallelIterator as _;
use rayon::iter::ParallelIterator as _;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::host_path;
use crate::support::path;
use crate::support::summary;
use crate::support::write;

fn names(active: &ActiveLayer, at: &str) -> Vec<String> {
    let entry = active.tree().lookup(&path(at), Follow::Parents).unwrap();
    let names = entry.read_dir().unwrap().into_iter();
    names.map(|name| String::from_utf8(name).unwrap()).collect()
}

#[test]
fn names_that_are_no_components_are_refused() {
    let fixture = Fixture::new();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
        let refused = |result: Result<(), SnapshotError>| {
            assert!(
                matches!(result, Err(SnapshotError::BadName { .. })),
                "{name:?}"
            );
        };
        refused(root.make_dir(name, 0o755).map(drop));
        refused(root.create_file(name, 0o644).map(drop));
        refused(root.symlink(name, b"x"));
        refused(root.remove(name));
        refused(root.whiteout(name));
        refused(root.lookup(name).map(drop));
        refused(root.open_dir(name).map(drop));
        refused(root.set_metadata(name, &MetadataChange::default()));
    }
}

#[test]
fn a_cancelled_removal_leaves_what_it_has_not_come_to() {
    let fixture = Fixture::new();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    let dir = root.make_dir(b"d", 0o755).unwrap();
    for name in [b"a", b"b"] {
        drop(dir.create_file(name, 0o644).unwrap());
    }
    let cancel = CancelToken::new();
    cancel.cancel();
    let ended = root.remove_while(b"d", &cancel);
    assert!(matches!(ended, Err(SnapshotError::Cancelled(_))));
    assert_eq!(names(&active, "/d"), ["a", "b"]);
    root.remove_while(b"d", &CancelToken::new()).unwrap();
    assert!(names(&active, "/").is_empty());
}

#[test]
fn nothing_can_be_written_after_commit() {
    let fixture = Fixture::new();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    let layer = commit(active);
    let result = root.make_dir(b"late", 0o755);
    assert!(matches!(result, Err(SnapshotError::Sealed { .. })));
    assert_eq!(summary(&layer), ["(/)"]);
}

#[test]
fn an_uncommitted_layer_leaves_nothing() {
    let fixture = Fixture::new();
    let before = std::fs::read_dir(fixture.layers()).unwrap().count();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    write(&active.writer().root().unwrap(), "f", "x").unwrap();
    drop(active);
    // The file that reserves ids is new.
    assert_eq!(
        std::fs::read_dir(fixture.layers()).unwrap().count(),
        before + 1
    );
}

#[test]
fn a_cancelled_commit_leaves_nothing() {
    let fixture = Fixture::new();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    root.make_dir(b"d", 0o755).unwrap();
    drop(root);
    let cancel = CancelToken::new();
    cancel.cancel();
    let result = active.commit(&cancel);
    assert!(matches!(result, Err(SnapshotError::Cancelled(_))));
    assert!(fixture.store.all_layers().is_empty());
}

#[test]
fn a_change_of_a_lower_file_copies_it_up_with_everything_else() {
    let fixture = Fixture::new();
    let lower = fixture.stack(&LayerStack::empty(), |root| {
        let dir = root.make_dir(b"d", 0o750)?;
        write(&dir, "f", "text")?;
        let change = MetadataChange {
            mode: Some(0o640),
            mtime_ns: Some(1_000_000_007),
            ..MetadataChange::default()
        };
        dir.set_metadata(b"f", &change)
    });
    let layer = fixture.layer(&lower, |root| {
        let change = MetadataChange {
            mode: Some(0o4755),
            ..MetadataChange::default()
        };
        root.open_dir(b"d")?.set_metadata(b"f", &change)
    });
    assert_eq!(summary(&layer), ["(/)", "(/d)", "/d/f"]);
    let stack = lower.push(layer);
    let file = stack.tree().lookup(&path("/d/f"), Follow::Last).unwrap();
    assert_eq!(
        (file.stat().mode, file.stat().mtime_ns),
        (0o4755, 1_000_000_007)
    );
    let mut text = String::new();
    file.open().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
    let old = lower.tree().lookup(&path("/d/f"), Follow::Last).unwrap();
    assert_eq!(old.stat().mode, 0o640);
}

#[test]
fn implied_parents_are_told_from_changed_ones() {
    let fixture = Fixture::new();
    let lower = fixture.stack(&LayerStack::empty(), |root| {
        for name in ["through", "chmod", "touched", "replaced"] {
            write(&root.make_dir(name.as_bytes(), 0o755)?, "f", "x")?;
        }
        Ok(())
    });
    let layer = fixture.layer(&lower, |root| {
        root.open_dir(b"through")?.remove(b"f")?;
        let chmod = MetadataChange {
            mode: Some(0o700),
            ..MetadataChange::default()
        };
        root.open_dir(b"chmod")?.remove(b"f")?;
        root.set_metadata(b"chmod", &chmod)?;
        let touch = MetadataChange {
            mtime_ns: Some(5),
            ..MetadataChange::default()
        };
        root.set_metadata(b"touched", &touch)?;
        root.remove(b"replaced")?;
        root.make_dir(b"replaced", 0o755)?;
        root.make_implied_dir(b"made", 0o755)?;
        Ok(())
    });
    let expected = [
        "(/)",
        "/chmod",
        "-/chmod/f",
        "(/made)",
        "/replaced",
        "-/replaced/f",
        "(/through)",
        "-/through/f",
        "/touched",
    ];
    assert_eq!(summary(&layer), expected);
}

#[test]
fn whiteouts_and_hiding_do_not_need_a_lower() {
    let fixture = Fixture::new();
    let layer = fixture.layer(&LayerStack::empty(), |root| {
        root.whiteout(b"gone")?;
        write(root, "file", "x")?;
        root.whiteout(b"file")
    });
    assert_eq!(summary(&layer), ["(/)", "-/file", "-/gone"]);
    assert!(layer.has_whiteouts());
    let lower = fixture.stack(&LayerStack::empty(), |root| {
        write(root, "gone", "x")?;
        let dir = root.make_dir(b"dir", 0o755)?;
        write(&dir, "old", "x")?;
        write(&dir.make_dir(b"sub", 0o755)?, "old", "x")
    });
    let active = fixture.store.prepare(&lower).unwrap();
    let dir = active.writer().dir(&path("/dir")).unwrap();
    write(&dir.open_dir(b"sub").unwrap(), "new", "x").unwrap();
    write(&dir.hide_lower().unwrap(), "new", "x").unwrap();
    assert_eq!(names(&active, "/dir"), ["new", "sub"]);
    assert_eq!(names(&active, "/dir/sub"), ["new"]);
    let stack = lower.push(commit(active));
    let top = &stack.layers()[1];
    assert_eq!(
        summary(top),
        [
            "(/)",
            "/dir",
            "/dir/new",
            "-/dir/old",
            "/dir/sub",
            "/dir/sub/new",
            "-/dir/sub/old"
        ]
    );
}

#[test]
fn the_root_can_hide_its_lower() {
    let fixture = Fixture::new();
    let lower = fixture.stack(&LayerStack::empty(), |root| {
        write(root, "old", "x")?;
        write(&root.make_dir(b"dir", 0o755)?, "old", "x")
    });
    let active = fixture.store.prepare(&lower).unwrap();
    let root = active.writer().root().unwrap();
    write(&root.open_dir(b"dir").unwrap(), "new", "x").unwrap();
    root.hide_lower().unwrap();
    assert_eq!(names(&active, "/"), ["dir"]);
    assert_eq!(names(&active, "/dir"), ["new"]);
}

#[test]
fn modes_are_exact_whatever_the_umask_and_the_parent() {
    let fixture = Fixture::new();
    let layer = fixture.layer(&LayerStack::empty(), |root| {
        let parent = root.make_dir(b"shared", 0o2777)?;
        parent.make_dir(b"plain", 0o777)?;
        drop(parent.create_file(b"file", 0o6777)?);
        drop(parent.create_file(b"none", 0)?);
        Ok(())
    });
    let tree = LayerStack::new([layer]).tree();
    for (name, mode) in [
        ("/shared", 0o2777),
        ("/shared/plain", 0o777),
        ("/shared/file", 0o6777),
        ("/shared/none", 0),
    ] {
        let entry = tree.lookup(&path(name), Follow::Last).unwrap();
        assert_eq!(entry.stat().mode, mode, "{name}");
    }
}

#[test]
fn many_threads_fill_the_same_directories() {
    let fixture = Fixture::new();
    let lower = fixture.stack(&LayerStack::empty(), |root| {
        let mut dir = root.clone();
        for name in ["a", "b", "c", "d"] {
            dir = dir.make_dir(name.as_bytes(), 0o751)?;
        }
        Ok(())
    });
    let active = fixture.store.prepare(&lower).unwrap();
    let upper = active.writer();
    let made: usize = (0..2000_usize)
        .into_par_iter()
        .map(|index| {
            let at = ["/a", "/a/b", "/a/b/c", "/a/b/c/d"][index % 4];
            let dir = upper.dir(&path(at)).unwrap();
            write(&dir, &format!("f{index}"), "x").unwrap();
            1
        })
        .sum();
    assert_eq!(made, 2000);
    let stack = lower.push(commit(active));
    for (at, count) in [
        ("/a", 501),
        ("/a/b", 501),
        ("/a/b/c", 501),
        ("/a/b/c/d", 500),
    ] {
        let entry = stack.tree().lookup(&path(at), Follow::Last).unwrap();
        assert_eq!(entry.read_dir().unwrap().len(), count, "{at}");
        assert_eq!(entry.stat().mode, 0o751, "{at}");
    }
}

#[test]
fn attributes_of_an_overlay_inside_the_step_stay_and_foreign_ones_are_refused() {
    if crate::support::in_user_namespace() {
        return;
    }
    let fixture = Fixture::new();
    let Some(overlay) = fixture.overlay("overlay attributes") else {
        return;
    };
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    active
        .writer()
        .root()
        .unwrap()
        .make_dir(b"d", 0o755)
        .unwrap();
    let mount = overlay.mount_active(&active).unwrap();
    drop(mount);
    let upper = host_path(active.upper_dir());
    xattr::set(upper.join("d"), "trusted.overlay.overlay.kept", b"1").unwrap();
    xattr::set(upper.join("d"), "trusted.overlay.redirect", b"/x").unwrap();
    let error = active.commit(&CancelToken::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/d: unsupported overlayfs attribute \"trusted.overlay.redirect\""
    );
}

#[test]
fn an_attribute_that_is_refused_is_not_taken_for_an_owner_that_is() {
    let fixture = Fixture::new();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    let malformed = (b"system.posix_acl_access".to_vec(), b"x".to_vec());
    let change = MetadataChange {
        owner: Some((0, 0)),
        xattrs: Some([malformed].into()),
        ..MetadataChange::default()
    };
    drop(root.create_file(b"f", 0o644).unwrap());
    let error = root.set_metadata(b"f", &change).unwrap_err();
    assert!(matches!(error, SnapshotError::Io(_)), "{error}");
}
