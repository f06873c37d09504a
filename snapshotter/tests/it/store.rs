//! The store on disk: restarts, broken layers, ids, sweeping.

use std::collections::BTreeSet;

use lamina_snapshotter::LayerBlob;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Owners;
use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::SnapshotStore;
use lamina_snapshotter::StoreFormat;
use lamina_snapshotter::XattrNamespace;
use lamina_types::CancelToken;
use lamina_types::ChainId;
use lamina_types::DiffId;
use lamina_types::Digest;
use lamina_types::LayerId;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::path;
use crate::support::picture;
use crate::support::summary;
use crate::support::write;

fn blob(name: &str) -> LayerBlob {
    LayerBlob {
        diff_id: DiffId(Digest::of(name.as_bytes())),
        digest: Digest::of(b"blob"),
        size: 4,
        media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
    }
}

fn chain(name: &str) -> ChainId {
    ChainId(Digest::of(name.as_bytes()))
}

#[test]
fn layers_survive_a_restart_with_all_that_is_known() {
    let fixture = Fixture::new();
    let lower = fixture.stack(&LayerStack::empty(), |root| {
        write(&root.make_dir(b"d", 0o700)?, "f", "text")
    });
    let stack = fixture.stack(&lower, |root| root.open_dir(b"d")?.remove(b"f"));
    let top = &stack.layers()[1];
    top.add_blob(blob("a")).unwrap();
    let ids = stack.ids();
    let before = (
        picture::of_tree(&stack.tree()),
        summary(top),
        top.usage_bytes(),
    );
    let content = stack
        .digest(&Selection::of_path("/"), &CancelToken::new())
        .unwrap();
    drop((lower, stack));
    let fixture = fixture.reopen();
    let layers = ids.iter().map(|id| fixture.store.layer(*id).unwrap());
    let stack = LayerStack::new(layers);
    let top = &stack.layers()[1];
    let after = (
        picture::of_tree(&stack.tree()),
        summary(top),
        top.usage_bytes(),
    );
    assert_eq!(after, before);
    assert_eq!(top.blobs(), [blob("a")]);
    assert!(top.has_whiteouts());
    assert_eq!(
        stack
            .digest(&Selection::of_path("/"), &CancelToken::new())
            .unwrap(),
        content
    );
}

#[test]
fn ids_never_come_back() {
    let fixture = Fixture::new();
    let mut seen = BTreeSet::new();
    let mut fixture = fixture;
    for _ in 0..3 {
        for _ in 0..3 {
            let layer = fixture.layer(&LayerStack::empty(), |_| Ok(()));
            assert!(seen.insert(layer.id()), "{:?} again", layer.id());
        }
        fixture.store.sweep(&|_| false).unwrap();
        assert!(fixture.store.all_layers().is_empty());
        fixture = fixture.reopen();
    }
}

#[test]
fn what_is_broken_is_dropped_and_the_rest_works() {
    let fixture = Fixture::new();
    let make = |name: &str| {
        fixture
            .layer(&LayerStack::empty(), |root| write(root, name, "x"))
            .id()
    };
    let (good, garbage, missing, future) = (make("a"), make("b"), make("c"), make("d"));
    let layers = fixture.layers();
    let manifest = |id: LayerId| layers.join(id.to_string()).join("manifest");
    std::fs::write(manifest(garbage), "{ nonsense").unwrap();
    std::fs::remove_file(manifest(missing)).unwrap();
    let text = std::fs::read_to_string(manifest(future)).unwrap();
    std::fs::write(
        manifest(future),
        text.replace("\"version\":1", "\"version\":9"),
    )
    .unwrap();
    std::fs::create_dir_all(layers.join("tmp-77/fs/deep")).unwrap();
    std::fs::create_dir_all(layers.join("dead-78/fs")).unwrap();
    let fixture = fixture.reopen();
    fixture.store.finish_deleting();
    let ids: Vec<LayerId> = fixture
        .store
        .all_layers()
        .iter()
        .map(|layer| layer.id())
        .collect();
    assert_eq!(ids, [good]);
    let names: BTreeSet<String> = std::fs::read_dir(&layers)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = [
        good.to_string(),
        "boot".to_owned(),
        "empty".to_owned(),
        "format".to_owned(),
        "next".to_owned(),
    ];
    assert_eq!(names, expected.into());
}

#[test]
fn a_store_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(SnapshotStore::open(folder.path(), XattrNamespace::Trusted).unwrap());
    let error = SnapshotStore::open(folder.path(), XattrNamespace::User).unwrap_err();
    assert!(matches!(error, SnapshotError::Format { .. }));
    assert!(
        error
            .to_string()
            .ends_with("made for trusted attributes, not user"),
        "{error}"
    );
    std::fs::write(
        folder.path().join("format"),
        "{\"version\":2,\"xattrs\":\"trusted\"}",
    )
    .unwrap();
    let error = SnapshotStore::open(folder.path(), XattrNamespace::Trusted).unwrap_err();
    assert!(error.to_string().ends_with("version 2 is not 1"), "{error}");
}

#[test]
fn where_owners_are_kept_is_fixed() {
    let header = |owners: &str| format!("{{\"version\":1,\"xattrs\":\"user\"{owners}}}");
    let (none, stored) = (header(""), header(",\"owners\":\"stored\""));
    let other = header(",\"owners\":\"elsewhere\"");
    let real = StoreFormat::from(XattrNamespace::User);
    for (name, found, wanted, outcome) in [
        ("new, real", None, real, Ok(Owners::Real)),
        ("new, stored", None, StoreFormat::STORED, Ok(Owners::Stored)),
        (
            "stored",
            Some(&stored),
            StoreFormat::STORED,
            Ok(Owners::Stored),
        ),
        ("older", Some(&none), real, Ok(Owners::Real)),
        (
            "older, of one id",
            Some(&none),
            StoreFormat::STORED,
            Ok(Owners::Real),
        ),
        ("of one id", Some(&stored), real, Err("use another folder")),
        (
            "newer",
            Some(&other),
            StoreFormat::STORED,
            Err("which are unknown here"),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let format = folder.path().join("format");
        if let Some(text) = found {
            std::fs::write(&format, text).unwrap();
        }
        let opened = SnapshotStore::open(folder.path(), wanted);
        let opened = opened.map(|store| store.owners());
        match (opened.map_err(|error| error.to_string()), outcome) {
            (Err(error), Err(end)) => assert!(error.ends_with(end), "{name}: {error}"),
            (opened, outcome) => assert_eq!(opened, outcome.map_err(str::to_owned), "{name}"),
        }
        let new = if wanted == real { &none } else { &stored };
        let kept = std::fs::read_to_string(&format).unwrap();
        assert_eq!(kept, *found.unwrap_or(new), "{name}");
    }
}

#[test]
fn sweeping_takes_what_nobody_holds_or_keeps() {
    let fixture = Fixture::new();
    let make = |name: &str| fixture.layer(&LayerStack::empty(), |root| write(root, name, "x"));
    let (held, kept) = (LayerStack::new([make("held")]), make("kept").id());
    let usage = {
        let gone = make("gone");
        assert_eq!(gone.usage_bytes() % 512, 0);
        gone.usage_bytes()
    };
    assert_eq!(fixture.store.sweep(&|id| id == kept).unwrap(), usage);
    let tree = held.tree();
    drop(held);
    assert_eq!(
        fixture.store.sweep(&|id| id == kept).unwrap(),
        0,
        "a reader holds layers"
    );
    assert!(
        tree.lookup(&path("/held"), lamina_snapshotter::Follow::Last)
            .is_ok()
    );
    drop(tree);
    fixture.store.sweep(&|_| false).unwrap();
    assert!(fixture.store.all_layers().is_empty());
}

#[test]
fn unpacked_layers_are_found_wherever_they_mean_the_same() {
    let fixture = Fixture::new();
    let free = fixture.layer(&LayerStack::empty(), |root| write(root, "a", "x"));
    let bound = fixture.layer(&LayerStack::empty(), |root| write(root, "b", "x"));
    free.add_blob(blob("free")).unwrap();
    bound.add_blob_at(blob("bound"), chain("here")).unwrap();
    let fixture = {
        drop((free, bound));
        fixture.reopen()
    };
    let find = |name: &str, at: &str| {
        let layer = fixture
            .store
            .layer_by_diff_id(blob(name).diff_id, chain(at));
        layer.map(|layer| summary(&layer).pop().unwrap())
    };
    for (name, at, found) in [
        ("free", "here", Some("/a")),
        ("free", "elsewhere", Some("/a")),
        ("bound", "here", Some("/b")),
        ("bound", "elsewhere", None),
        ("unknown", "here", None),
    ] {
        assert_eq!(find(name, at).as_deref(), found, "{name} at {at}");
    }
}

/// Opens the store as after a boot of the machine.
fn reboot(fixture: Fixture) -> Fixture {
    std::fs::write(fixture.layers().join("boot"), "another boot").unwrap();
    fixture.reopen()
}

#[test]
fn what_was_not_flushed_is_dropped_in_another_boot_and_no_sooner() {
    let fixture = Fixture::new();
    let make = |name: &str| {
        fixture
            .layer(&LayerStack::empty(), |root| write(root, name, "x"))
            .id()
    };
    let early = make("early");
    let slow = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let flushed = make("flushed");
    assert_eq!(fixture.store.unflushed(), 2);
    fixture.store.flush().unwrap();
    assert_eq!(fixture.store.unflushed(), 0);
    let slow = commit(slow).id();
    let late = make("late");
    assert_eq!(fixture.store.unflushed(), 2);
    let ids = |fixture: &Fixture| -> Vec<LayerId> {
        let layers = fixture.store.all_layers();
        layers.iter().map(|layer| layer.id()).collect()
    };
    let fixture = fixture.reopen();
    assert_eq!(ids(&fixture), [early, slow, flushed, late], "same boot");
    assert_eq!(fixture.store.unflushed(), 2, "still to be flushed");
    let fixture = reboot(fixture);
    assert_eq!(ids(&fixture), [early, flushed]);
    let new = fixture.layer(&LayerStack::empty(), |_| Ok(())).id();
    assert!(new > late, "ids of what was dropped do not come back");
    fixture.store.flush().unwrap();
    let fixture = reboot(fixture);
    assert_eq!(ids(&fixture), [early, flushed, new]);
}

#[test]
fn what_cannot_be_dropped_after_a_boot_is_dropped_later() {
    let fixture = Fixture::new();
    let lost = fixture.layer(&LayerStack::empty(), |_| Ok(())).id();
    // Taken is the name that it would get.
    let taken = fixture.layers().join(format!("dead-{lost}")).join("full");
    std::fs::create_dir_all(taken).unwrap();
    let fixture = reboot(fixture);
    fixture.store.finish_deleting();
    assert!(fixture.layers().join(lost.to_string()).exists());
    assert!(fixture.store.all_layers().is_empty());
    let fixture = fixture.reopen();
    assert!(fixture.store.all_layers().is_empty(), "still not trusted");
    fixture.store.finish_deleting();
    assert!(!fixture.layers().join(lost.to_string()).exists());
}

#[test]
fn a_store_of_before_flushes_were_noted_keeps_what_is_of_this_boot() {
    let fixture = Fixture::new();
    let id = fixture
        .layer(&LayerStack::empty(), |root| write(root, "f", "x"))
        .id();
    fixture.store.flush().unwrap();
    for file in ["flushed", "boot"] {
        std::fs::remove_file(fixture.layers().join(file)).unwrap();
    }
    let fixture = fixture.reopen();
    assert!(fixture.store.layer(id).is_some(), "made since the start");
    assert_eq!(fixture.store.unflushed(), 0, "flushed at once");
    let fixture = reboot(fixture);
    assert!(fixture.store.layer(id).is_some(), "for good");
}

#[test]
fn a_store_that_forgot_what_was_flushed_trusts_nothing_after_a_boot() {
    for content in [None, Some("{"), Some(r#"{"version":2,"below":99}"#)] {
        let fixture = Fixture::new();
        fixture.layer(&LayerStack::empty(), |_| Ok(()));
        fixture.store.flush().unwrap();
        let file = fixture.layers().join("flushed");
        match content {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let fixture = reboot(fixture);
        assert!(fixture.store.all_layers().is_empty(), "{content:?}");
    }
}
