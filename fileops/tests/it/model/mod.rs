//! Random copies against a slow and simple model in memory: one thread, whole paths, no layers.
//!
//! Every flag is tried, on trees with symlinks, with metadata compared. Hard links, devices and
//! attributes are for `table`.

mod copy;
mod tree;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::CopyMode;
use lamina_fileops::Owner;
use lamina_fileops::UserRef;
use lamina_fileops::apply;
use lamina_snapshotter::LayerStack;
use lamina_testkit::namespace;
use lamina_types::CancelToken;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use self::tree::Content;
use self::tree::Files;
use self::tree::Node;
use crate::machine::Machine;

/// How many cases are tried, if it is set; each run has other ones.
const CASES: &str = "PROPTEST_CASES";

const NAMES: &[&str] = &["a", "b", "c.o"];
const LINKS: &[&str] = &["a", "b", "../a", "/b", "/a/b", "..", "gone", "../../../c.o"];
const RULES: &[&str] = &[
    "a", "b", "*.o", "**/*.o", "a/b", "*/a", "a/**", "**/b", "[ab]", "a/b/*", "!a", "!**/b",
];
const WILDCARDS: &[&str] = &[
    "/*", "/a*", "/*/b", "/[ab]/*", "/*.o", "/a/?", "/b/../*", "/?/?/?", "/zz*",
];
const SYMBOLIC: &[&str] = &["go-w", "a+x", "u=rwX,go=rX"];

/// A tree whose files say that they are of `tag`; ids and times are from `base` on.
fn trees(tag: &'static str, base: u32) -> impl Strategy<Value = Files> {
    let path = prop::collection::vec(prop::sample::select(NAMES), 1..4);
    let made = (path, 0..6, prop::sample::select(LINKS), 0..4_u32);
    prop::collection::vec(made, 0..9).prop_map(move |made| {
        let mut files = Files::default();
        for (path, kind, link, number) in made {
            let path = path.join("/");
            if files.0.contains_key(&path) || !make_parents(&mut files, &path, base) {
                continue;
            }
            let content = match kind {
                0 => Content::Dir,
                1 | 2 => Content::Link(link.to_owned()),
                _ => Content::File(format!("{tag} {path}")),
            };
            files.0.insert(path, node(content, base, number));
        }
        files
    })
}

fn node(content: Content, base: u32, number: u32) -> Node {
    let mode = match content {
        Content::Dir => [0o755, 0o700, 0o1777, 0o2750][number as usize],
        Content::File(_) => [0o644, 0o600, 0o755, 0o4711][number as usize],
        Content::Link(_) => 0,
    };
    Node {
        content,
        mode,
        owner: (base + number, base + 10 + number),
        time: Some(i64::from(base) * 1_000_000 + i64::from(number)),
    }
}

/// Says whether every parent of `path` is a directory now.
fn make_parents(files: &mut Files, path: &str, base: u32) -> bool {
    path.match_indices('/').all(|(at, _)| {
        let made = || node(Content::Dir, base, 0);
        let dir = files.0.entry(path[..at].to_owned()).or_insert_with(made);
        dir.is_dir()
    })
}

fn actions() -> impl Strategy<Value = CopyAction> {
    let path = || {
        let names = prop::collection::vec(prop::sample::select(NAMES), 0..3);
        (names, any::<bool>()).prop_map(|(names, slash)| {
            format!("/{}{}", names.join("/"), if slash { "/" } else { "" })
        })
    };
    let wildcard = prop::sample::select(WILDCARDS).prop_map(str::to_owned);
    let source = prop_oneof![3 => path(), 1 => wildcard];
    let rules = || prop::collection::vec(prop::sample::select(RULES).prop_map(str::to_owned), 0..3);
    (
        source,
        path(),
        any::<[bool; 6]>(),
        rules(),
        rules(),
        changes(),
    )
        .prop_map(
            |(source, destination, flags, include, exclude, (mode, owner, timestamp))| CopyAction {
                source: source.into(),
                destination: destination.into(),
                directory_contents: flags[0],
                replace_existing: flags[1],
                create_parents: flags[2],
                follow_symlink: flags[3],
                allow_wildcard: flags[4],
                allow_empty_wildcard: flags[5],
                unpack_archives: false,
                include,
                exclude,
                mode,
                owner,
                timestamp,
            },
        )
}

/// Of mode, owner and time.
fn changes() -> impl Strategy<Value = (CopyMode, Option<Owner>, Option<i64>)> {
    let symbolic = prop::sample::select(SYMBOLIC).prop_map(|text| text.to_owned());
    let mode = prop_oneof![
        2 => Just(CopyMode::Keep),
        1 => prop::sample::select(&[0o600, 0o755, 0o6711][..]).prop_map(CopyMode::Bits),
        1 => symbolic.prop_map(CopyMode::Symbolic),
    ];
    let id = || prop::option::of((1..4_u32).prop_map(UserRef::Id));
    let owner = (id(), id()).prop_map(|(user, group)| Owner { user, group });
    let time = prop::sample::select(&[0, 7_000_000_000][..]);
    (mode, prop::option::of(owner), prop::option::of(time))
}

#[test]
fn random_copies_equal_the_model() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os(CASES).is_none() {
        let inside = namespace::inside().is_some();
        config.cases = if inside { 100 } else { 1000 };
    }
    let strategy = (trees("new", 100), trees("old", 200), actions());
    let run = |(source, below, action): (Files, Files, CopyAction)| {
        let layer = machine.on(&LayerStack::empty());
        source.write(&layer);
        let tree = machine.seal(layer).tree();
        let layer = machine.on(&LayerStack::empty());
        below.write(&layer);
        let layer = machine.on(&machine.seal(layer));
        let done = apply(
            &Action::Copy(action.clone()),
            &layer,
            Some(&tree),
            &CancelToken::new(),
        );
        let mut wanted = below.clone();
        let modelled = copy::run(&action, &source, &mut wanted);
        prop_assert_eq!(done.is_ok(), modelled.is_ok(), "{:?}", done);
        if done.is_ok() {
            prop_assert_eq!(wanted.difference(&Files::read(&layer.tree())), None);
            let sealed = machine.seal(layer);
            prop_assert_eq!(wanted.difference(&Files::read(&sealed.tree())), None);
        }
        prop_assert_eq!(source.difference(&Files::read(&tree)), None);
        Ok(())
    };
    TestRunner::new(config)
        .run(&strategy, run)
        .expect("copies equal the model");
}
