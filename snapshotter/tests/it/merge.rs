//! Merge and Diff as operations on lists.

use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_types::CancelToken;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::path;
use crate::support::picture;
use crate::support::random::Random;
use crate::support::random::seeds;
use crate::support::script;
use crate::support::stacks::random_stack;
use crate::support::summary;
use crate::support::write;

fn mode(mode: u32) -> MetadataChange {
    MetadataChange {
        mode: Some(mode),
        ..MetadataChange::default()
    }
}

#[test]
fn merging_concatenates_and_keeps_the_topmost_of_repeats() {
    let fixture = Fixture::new();
    let layer = |name: &str| fixture.layer(&LayerStack::empty(), |root| write(root, name, name));
    let (a, b, c) = (layer("a"), layer("b"), layer("c"));
    let merged = fixture
        .store
        .merge(
            &[
                LayerStack::new([a.clone(), b.clone()]),
                LayerStack::empty(),
                LayerStack::new([a.clone(), c.clone()]),
            ],
            &CancelToken::new(),
        )
        .unwrap();
    assert_eq!(merged.ids(), [b.id(), a.id(), c.id()]);
    let none = fixture.store.merge(&[], &CancelToken::new()).unwrap();
    assert!(none.is_empty());
}

#[test]
fn implied_parents_do_not_override_what_others_say() {
    let fixture = Fixture::new();
    let base = fixture.stack(&LayerStack::empty(), |root| {
        let home = root.make_dir(b"home", 0o711)?;
        let joe = home.make_dir(b"joe", 0o700)?;
        joe.set_own_metadata(&mode(0o700))
    });
    let linked = fixture.stack(&LayerStack::empty(), |root| {
        let joe = root
            .make_implied_dir(b"home", 0o755)?
            .make_implied_dir(b"joe", 0o755)?;
        write(&joe, "file", "x")
    });
    let merged = fixture
        .store
        .merge(&[base.clone(), linked.clone()], &CancelToken::new())
        .unwrap();
    let tree = merged.tree();
    for (at, mode) in [
        ("/home", 0o711),
        ("/home/joe", 0o700),
        ("/home/joe/file", 0o644),
    ] {
        let entry = tree.lookup(&path(at), Follow::Last).unwrap();
        assert_eq!(entry.stat().mode, mode, "{at}");
    }
    assert_eq!(merged.layers().len(), 3, "one layer repairs both");
    let said = fixture.stack(&LayerStack::empty(), |root| {
        root.make_dir(b"home", 0o750).map(drop)
    });
    let merged = fixture
        .store
        .merge(&[base, said], &CancelToken::new())
        .unwrap();
    let home = merged.tree().lookup(&path("/home"), Follow::Last).unwrap();
    assert_eq!(
        home.stat().mode,
        0o750,
        "what a layer says on purpose counts"
    );
    assert_eq!(merged.layers().len(), 2);
}

#[test]
fn the_difference_to_an_ancestor_is_the_rest_of_the_list() {
    let fixture = Fixture::new();
    let cancel = CancelToken::new();
    let lower = random_stack(&fixture, &mut Random::new(1));
    let upper = fixture.stack(&lower, |root| write(root, "new", "x"));
    let diff = fixture.store.diff(&lower, &upper, &cancel).unwrap();
    assert_eq!(diff.ids(), upper.ids()[lower.ids().len()..]);
    assert!(
        fixture
            .store
            .diff(&upper, &upper, &cancel)
            .unwrap()
            .is_empty()
    );
    let all = fixture
        .store
        .diff(&LayerStack::empty(), &upper, &cancel)
        .unwrap();
    assert_eq!(all, upper);
}

#[test]
fn a_computed_difference_is_linked_and_minimal() {
    let fixture = Fixture::new();
    let build = |extra: &str, gone: bool| {
        fixture.stack(&LayerStack::empty(), |root| {
            let dir = root.make_dir(b"dir", 0o755)?;
            write(&dir, "same", "same")?;
            dir.set_metadata(
                b"same",
                &MetadataChange {
                    mtime_ns: Some(0),
                    ..MetadataChange::default()
                },
            )?;
            if !gone {
                write(&dir, "gone", "x")?;
                write(&root.make_dir(b"tree", 0o755)?, "f", "x")?;
            }
            let new = root.make_dir(extra.as_bytes(), 0o755)?;
            write(&new, "f", "text")
        })
    };
    let (lower, upper) = (build("old", false), build("new", true));
    let diff = fixture
        .store
        .diff(&lower, &upper, &CancelToken::new())
        .unwrap();
    let [layer] = diff.layers() else {
        panic!("one layer expected");
    };
    let expected = [
        "(/)",
        "(/dir)",
        "-/dir/gone",
        "/new",
        "/new/f",
        "-/old",
        "-/tree",
    ];
    assert_eq!(summary(layer), expected);
    let find = |stack: &LayerStack| {
        let file = stack.tree().lookup(&path("/new/f"), Follow::Last).unwrap();
        file.origin().inode
    };
    assert_eq!(find(&diff), find(&upper), "linked");
    let applied = fixture
        .store
        .merge(&[lower, diff], &CancelToken::new())
        .unwrap();
    assert_eq!(picture_of(&applied), picture_of(&upper));
}

/// Pictures without the times of directories, which a difference does not carry.
fn picture_of(stack: &LayerStack) -> picture::Picture {
    let mut shown = picture::of_tree(&stack.tree());
    for node in shown.values_mut() {
        if node.kind == lamina_types::FileKind::Directory {
            node.mtime_ns = 0;
        }
    }
    shown
}

#[test]
fn lower_and_difference_give_upper() {
    let fixture = Fixture::new();
    let cancel = CancelToken::new();
    for seed in seeds(3000, 200) {
        let mut random = Random::new(seed);
        let common = random_stack(&fixture, &mut random);
        let mut grow = |from: &LayerStack| {
            let active = fixture.store.prepare(from).unwrap();
            for step in script::script(&mut random, 12) {
                script::run_on_upper(&step, &active.writer());
            }
            from.push(commit(active))
        };
        let (lower, upper) = (grow(&common), grow(&common));
        let diff = fixture.store.diff(&lower, &upper, &cancel).unwrap();
        let applied = LayerStack::new(lower.layers().iter().chain(diff.layers()).cloned());
        assert_eq!(picture_of(&applied), picture_of(&upper), "seed {seed}");
        drop((common, lower, upper, diff, applied));
        fixture.store.sweep(&|_| false).unwrap();
    }
}
