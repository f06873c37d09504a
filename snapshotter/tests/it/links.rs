//! Copy by link: nobody may notice, and no sealed file may change.

use std::io::Read as _;

use lamina_snapshotter::Entry;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_types::CancelToken;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::conformance::place::in_own_namespace;
use crate::support::Fixture;
use crate::support::path;
use crate::support::picture;
use crate::support::skipped;
use crate::support::summary;
use crate::support::write;

fn entry(stack: &LayerStack, at: &str) -> Entry {
    stack.tree().lookup(&path(at), Follow::Parents).unwrap()
}

fn text(entry: &Entry) -> String {
    let mut text = String::new();
    entry.open().unwrap().read_to_string(&mut text).unwrap();
    text
}

fn source(fixture: &Fixture) -> LayerStack {
    fixture.stack(&LayerStack::empty(), |root| {
        write(root, "f", "text")?;
        write(root, "g", &"large ".repeat(10_000))
    })
}

#[test]
fn a_link_uses_no_space_and_is_noted() {
    let fixture = Fixture::new();
    let from = source(&fixture);
    let to = fixture.stack(&LayerStack::empty(), |root| {
        root.link_from(b"copy", &entry(&from, "/g"))
    });
    let (origin, copy) = (entry(&from, "/g").origin(), entry(&to, "/copy").origin());
    assert_eq!((origin.device, origin.inode), (copy.device, copy.inode));
    let empty = fixture.layer(&LayerStack::empty(), |_| Ok(()));
    assert_eq!(to.layers()[0].usage_bytes(), empty.usage_bytes());
    assert!(from.layers()[0].usage_bytes() >= 60_000);
}

#[test]
fn a_link_that_would_give_an_inode_two_names_in_a_view_is_refused() {
    let fixture = Fixture::new();
    let from = source(&fixture);
    let linked = fixture.stack(&LayerStack::empty(), |root| {
        root.link_from(b"copy", &entry(&from, "/f"))
    });
    let origin = entry(&from, "/f").origin();
    for (what, lower) in [("its own layer", &from), ("a layer that links", &linked)] {
        let active = fixture.store.prepare(lower).unwrap();
        assert!(!active.may_link_from(&origin), "{what}");
        let root = active.writer().root().unwrap();
        let error = root.link_from(b"new", &entry(&from, "/f")).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::XDEV.raw_os_error()), "{what}");
        assert!(root.lookup(b"new").unwrap().is_none(), "{what}");
    }
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    assert!(active.may_link_from(&origin));
    root.link_from(b"one", &entry(&from, "/f")).unwrap();
    assert!(!active.may_link_from(&origin));
    let again = root.link_from(b"two", &entry(&from, "/f")).unwrap_err();
    assert_eq!(again.errno(), Some(Errno::XDEV.raw_os_error()));
    let relative = root
        .link_from(b"two", &entry(&linked, "/copy"))
        .unwrap_err();
    assert_eq!(relative.errno(), Some(Errno::XDEV.raw_os_error()));
}

#[test]
fn only_files_with_one_name_in_their_layer_are_linked_unseen() {
    let fixture = Fixture::new();
    let single = fixture.stack(&LayerStack::empty(), |root| {
        write(root, "f", "text")?;
        drop(root.make_dir(b"d", 0o755)?);
        root.symlink(b"l", b"f")
    });
    let shared = fixture.stack(&LayerStack::empty(), |root| {
        root.link_from(b"f", &entry(&single, "/f"))
    });
    let own = fixture.stack(&LayerStack::empty(), |root| {
        write(root, "f", "text")?;
        root.link_from(b"g", &root.lookup(b"f")?.unwrap())
    });
    let shared_twice = fixture.stack(&LayerStack::empty(), |root| {
        root.link_from(b"f", &entry(&single, "/f"))?;
        root.link_from(b"g", &root.lookup(b"f")?.unwrap())
    });
    for (what, stack, linked) in [
        ("a file", &single, true),
        ("a file that two layers share", &shared, true),
        ("one that has two names", &own, false),
        (
            "one that has two names and that two layers share",
            &shared_twice,
            false,
        ),
    ] {
        let to = fixture.stack(&LayerStack::empty(), |root| {
            let linker = root.linker(&stack.tree().root()?)?;
            assert_eq!(linker.link(b"f")?, linked, "{what}");
            for name in [&b"d"[..], b"l", b"none"] {
                assert!(!linker.link(name)?, "{what}: {name:?}");
            }
            Ok(())
        });
        let names = to.tree().root().unwrap().read_dir().unwrap();
        assert_eq!(names.is_empty(), !linked, "{what}");
        if linked {
            let (from, to) = (entry(stack, "/f").origin(), entry(&to, "/f").origin());
            assert_eq!(from.inode, to.inode, "{what}");
        }
    }
    // Where the layer, or one that shares with it, shows, each file has to be looked at.
    drop(fixture.stack(&single, |root| {
        let dir = root.make_dir(b"new", 0o755)?;
        assert!(!dir.linker(&shared.tree().root()?)?.link(b"f")?);
        Ok(())
    }));
}

#[test]
fn a_file_of_nobody_is_refused() {
    let fixture = Fixture::new();
    let file = tempfile::tempfile().unwrap();
    let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
    let root = active.writer().root().unwrap();
    let error = root.link(b"x", &file.into()).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::XDEV.raw_os_error()));
}

#[test]
fn a_change_of_a_link_never_reaches_the_sealed_file() {
    let fixture = Fixture::new();
    let from = source(&fixture);
    let before = picture::of_tree(&from.tree());
    let to = fixture.stack(&LayerStack::empty(), |root| {
        root.link_from(b"one", &entry(&from, "/f"))?;
        let one = root.lookup(b"one")?.unwrap();
        root.link_from(b"two", &one)?;
        let change = MetadataChange {
            mode: Some(0o600),
            mtime_ns: Some(7),
            ..MetadataChange::default()
        };
        root.set_metadata(b"one", &change)
    });
    assert_eq!(picture::of_tree(&from.tree()), before);
    let (one, two) = (entry(&to, "/one"), entry(&to, "/two"));
    assert_eq!((one.stat().mode, one.stat().mtime_ns), (0o600, 7));
    assert_eq!(one.origin(), two.origin(), "still hard links of each other");
    assert_eq!(text(&two), "text");
    assert_eq!(summary(&to.layers()[0]), ["(/)", "/one", "/two=/one"]);
    // Nothing is shared any more, so the source may be linked on top.
    let active = fixture.store.prepare(&to).unwrap();
    assert!(active.may_link_from(&entry(&from, "/f").origin()));
}

#[test]
fn exports_see_hard_links_within_the_layer_only() {
    let fixture = Fixture::new();
    let from = source(&fixture);
    let layer = fixture.layer(&LayerStack::empty(), |root| {
        root.link_from(b"a", &entry(&from, "/f"))?;
        write(root, "b", "own")?;
        let own = root.lookup(b"b")?.unwrap();
        root.link_from(b"c", &own)?;
        root.link(b"d", &own.path_fd()?)
    });
    assert_eq!(summary(&layer), ["(/)", "/a", "/b", "/c=/b", "/d=/b"]);
}

/// Links do not cross mounts, not even of one file system. `limits` has a file with too many names.
#[test]
fn files_of_a_layer_on_another_mount_are_copied() {
    if !rustix::process::geteuid().is_root() {
        return skipped("a layer on another mount", "not root");
    }
    in_own_namespace(|| {
        let fixture = Fixture::new();
        let other = fixture.stack(&LayerStack::empty(), |root| write(root, "other", "x"));
        let from = source(&fixture);
        let folder = fixture.layers().join(from.layers()[0].id().to_string());
        rustix::mount::mount_bind(&folder, &folder).unwrap();
        let active = fixture.store.prepare(&LayerStack::empty()).unwrap();
        assert!(active.may_link_from(&entry(&from, "/f").origin()));
        let root = active.writer().root().unwrap();
        let error = root.link_from(b"link", &entry(&from, "/f")).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::XDEV.raw_os_error()));
        let diff = fixture.store.diff(&other, &from, &CancelToken::new());
        let diff = diff.unwrap();
        for path in ["/f", "/g"] {
            let (copy, original) = (entry(&diff, path), entry(&from, path));
            assert_ne!(copy.origin().inode, original.origin().inode, "{path}");
            assert_eq!(text(&copy), text(&original), "{path}");
            assert_eq!(copy.stat().mtime_ns, original.stat().mtime_ns, "{path}");
        }
        rustix::mount::unmount(&folder, UnmountFlags::DETACH).unwrap();
    });
}
