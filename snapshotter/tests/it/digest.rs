//! Content digests: what changes them and what does not (rows FIL-25, LLB-17).

use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::Digest;

use crate::support::Fixture;
use crate::support::write;

fn digest(stack: &LayerStack, selection: &Selection) -> Digest {
    stack.digest(selection, &CancelToken::new()).unwrap()
}

fn whole(stack: &LayerStack) -> Digest {
    digest(stack, &Selection::of_path("/"))
}

fn wildcard(path: &str) -> Selection {
    Selection {
        path: path.into(),
        wildcard: true,
        follow_links: true,
        ..Selection::default()
    }
}

fn filtered(path: &str, include: &[&str], exclude: &[&str]) -> Selection {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    Selection {
        path: path.into(),
        include: owned(include),
        exclude: owned(exclude),
        ..Selection::default()
    }
}

fn base(root: &WriteDir) -> Result<(), SnapshotError> {
    let dir = root.make_dir(b"d", 0o755)?;
    write(&dir, "x.txt", "x")?;
    write(&dir, "y.txt", "y")?;
    write(&dir, "z.rs", "z")?;
    dir.symlink(b"link", b"x.txt")?;
    write(&dir.make_dir(b"sub", 0o755)?, "w.txt", "w")?;
    write(root, "top.txt", "t")
}

#[test]
fn how_a_tree_is_split_into_layers_does_not_matter() {
    let fixture = Fixture::new();
    let one = fixture.stack(&LayerStack::empty(), base);
    let two = fixture.stack(&LayerStack::empty(), |root| {
        let dir = root.make_dir(b"d", 0o755)?;
        write(&dir, "x.txt", "old")?;
        write(&dir, "y.txt", "y")?;
        write(&dir, "extra", "gone")?;
        write(&root.make_dir(b"gone", 0o755)?, "f", "x")
    });
    let two = fixture.stack(&two, |root| {
        root.remove(b"gone")?;
        let dir = root.open_dir(b"d")?;
        dir.remove(b"extra")?;
        dir.remove(b"x.txt")?;
        write(&dir, "x.txt", "x")?;
        write(&dir, "z.rs", "z")?;
        dir.symlink(b"link", b"x.txt")?;
        write(&dir.make_dir(b"sub", 0o755)?, "w.txt", "w")?;
        write(root, "top.txt", "t")
    });
    assert_eq!(whole(&one), whole(&two));
    for selection in [
        Selection::of_path("/d"),
        Selection::of_path("/d/x.txt"),
        wildcard("/d/*.txt"),
        wildcard("/*"),
        filtered("/", &["**/*.txt"], &["d/sub"]),
    ] {
        assert_eq!(
            digest(&one, &selection),
            digest(&two, &selection),
            "{selection:?}"
        );
    }
}

/// Says whether a change of the base tree changes the digest of a selection.
fn changes(selection: &Selection, change: impl Fn(&WriteDir) -> Result<(), SnapshotError>) -> bool {
    let fixture = Fixture::new();
    let before = fixture.stack(&LayerStack::empty(), base);
    let after = fixture.stack(&before, change);
    digest(&before, selection) != digest(&after, selection)
}

fn rewrite(path: &'static str) -> impl Fn(&WriteDir) -> Result<(), SnapshotError> {
    move |root| {
        let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut dir = root.clone();
        for part in dirs.split('/').filter(|part| !part.is_empty()) {
            dir = dir.open_dir(part.as_bytes())?;
        }
        if dir.lookup(name.as_bytes())?.is_some() {
            dir.remove(name.as_bytes())?;
        }
        write(&dir, name, "changed")
    }
}

#[test]
fn a_selection_changes_with_what_it_selects_only() {
    let include = filtered("/", &["**/*.txt"], &[]);
    let exclude = filtered("/d", &[], &["sub", "*.rs"]);
    let back = filtered("/d", &[], &["*", "!x.txt"]);
    for (what, selection, path, expected) in [
        ("whole, file", Selection::of_path("/"), "d/x.txt", true),
        (
            "path, file in it",
            Selection::of_path("/d"),
            "d/sub/w.txt",
            true,
        ),
        (
            "path, file beside it",
            Selection::of_path("/d"),
            "top.txt",
            false,
        ),
        ("wildcard, match", wildcard("/d/*.txt"), "d/x.txt", true),
        (
            "wildcard, new match",
            wildcard("/d/*.txt"),
            "d/new.txt",
            true,
        ),
        ("wildcard, other", wildcard("/d/*.txt"), "d/z.rs", false),
        (
            "wildcard, below",
            wildcard("/d/*.txt"),
            "d/sub/w.txt",
            false,
        ),
        ("wildcard, directory", wildcard("/d*"), "d/sub/w.txt", true),
        (
            "wildcard in the middle",
            wildcard("/*/x.txt"),
            "d/x.txt",
            true,
        ),
        (
            "wildcard in the middle, other",
            wildcard("/*/x.txt"),
            "d/y.txt",
            false,
        ),
        ("include", include.clone(), "d/sub/w.txt", true),
        ("include, other", include, "d/z.rs", false),
        ("exclude, left", exclude.clone(), "d/x.txt", true),
        ("exclude, excluded", exclude.clone(), "d/z.rs", false),
        ("exclude, below excluded", exclude, "d/sub/w.txt", false),
        ("taken back", back.clone(), "d/x.txt", true),
        ("not taken back", back, "d/y.txt", false),
    ] {
        assert_eq!(changes(&selection, rewrite(path)), expected, "{what}");
    }
}

#[test]
fn metadata_counts_but_times_do_not() {
    let fixture = Fixture::new();
    let before = fixture.stack(&LayerStack::empty(), base);
    let with = |change: MetadataChange| {
        let after = fixture.stack(&before, |root| {
            root.open_dir(b"d")?.set_metadata(b"x.txt", &change)
        });
        whole(&after) != whole(&before)
    };
    let none = MetadataChange::default;
    assert!(!with(MetadataChange {
        mtime_ns: Some(1),
        ..none()
    }));
    assert!(with(MetadataChange {
        mode: Some(0o600),
        ..none()
    }));
    let xattrs = Some([(b"user.a".to_vec(), b"1".to_vec())].into());
    assert!(with(MetadataChange { xattrs, ..none() }));
}

#[test]
fn a_single_match_of_the_same_name_is_its_own_digest() {
    let fixture = Fixture::new();
    let stack = fixture.stack(&LayerStack::empty(), base);
    let plain = digest(&stack, &Selection::of_path("/d/x.txt"));
    assert_eq!(digest(&stack, &wildcard("/*/x.txt")), plain);
    assert_ne!(digest(&stack, &wildcard("/d/x*")), plain);
    assert_eq!(digest(&stack, &wildcard("/none*")), Digest::of(b""));
    assert_eq!(digest(&stack, &wildcard("/none/*")), Digest::of(b""));
    let missing = stack.digest(&Selection::of_path("/none"), &CancelToken::new());
    assert!(missing.unwrap_err().is_not_found());
}

#[test]
fn a_link_counts_as_its_text_unless_it_is_followed() {
    let link = |follow_links| Selection {
        follow_links,
        ..Selection::of_path("/d/link")
    };
    assert!(!changes(&link(false), rewrite("d/x.txt")));
    assert!(changes(&link(true), rewrite("d/x.txt")));
    let inside = Selection {
        follow_links: true,
        ..Selection::of_path("/d/sub")
    };
    assert!(!changes(&inside, rewrite("d/x.txt")));
    assert!(changes(&wildcard("/d/li*"), rewrite("d/x.txt")));
}

/// A copy that does not follow links finds nothing behind one, so it must not be taken for a copy that
/// does.
#[test]
fn a_pattern_behind_a_link_is_not_the_same_pattern_in_a_directory() {
    let fixture = Fixture::new();
    let stack = fixture.stack(&LayerStack::empty(), |root| {
        base(root)?;
        root.symlink(b"l", b"d")
    });
    let of = |path: &str, follow_links| {
        let selection = wildcard(path);
        digest(
            &stack,
            &Selection {
                follow_links,
                ..selection
            },
        )
    };
    assert_eq!(of("/l/*", true), of("/d/*", true));
    assert_ne!(of("/l/*", false), of("/d/*", false));
    assert_ne!(of("/l/x*", false), of("/d/x*", false));
    assert_ne!(of("/l/x*", false), of("/l/*", false));
    assert_eq!(of("/l/n*", false), of("/d/n*", false), "nothing");
    assert_eq!(of("/l/sub/*", false), of("/d/sub/*", false));
}

#[test]
fn a_slash_at_the_end_leaves_the_directory_itself_out() {
    let chmod = |root: &WriteDir| {
        let change = MetadataChange {
            mode: Some(0o700),
            ..MetadataChange::default()
        };
        root.set_metadata(b"d", &change)
    };
    assert!(
        changes(&filtered("/d", &["**"], &[]), chmod)
            || changes(&filtered("/d", &[], &["no"]), chmod)
    );
    assert!(!changes(&filtered("/d/", &[], &["no"]), chmod));
}

#[test]
fn a_cancelled_digest_stops() {
    let fixture = Fixture::new();
    let stack = fixture.stack(&LayerStack::empty(), base);
    let cancel = CancelToken::new();
    cancel.cancel();
    let result = stack.digest(&Selection::of_path("/"), &cancel);
    assert!(matches!(result, Err(SnapshotError::Cancelled(_))));
}
