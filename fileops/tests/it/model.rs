//! Random copies against a slow and simple model in memory: one thread, whole paths, no layers.

use std::collections::BTreeMap;

use lamina_fileops::Action;
use lamina_fileops::CopyAction;
use lamina_fileops::apply;
use lamina_patterns::PatternList;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Entry;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Tree;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::RootedPath;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::machine::Machine;

/// What a path holds; a path that is missing holds nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(String),
    Link(String),
}

/// Paths without a leading `/`; every parent is there and is a directory.
type Files = BTreeMap<String, Node>;

const NAMES: &[&str] = &["a", "b", "c.o"];
const RULES: &[&str] = &[
    "a", "b", "*.o", "**/*.o", "a/b", "*/a", "a/**", "**/b", "[ab]", "a/b/*",
];

/// Destinations have no symlinks: where those lead is for the golden data to say.
fn trees(tag: &'static str, links: bool) -> impl Strategy<Value = Files> {
    let path = prop::collection::vec(prop::sample::select(NAMES), 1..4);
    prop::collection::vec((path, 0..5), 0..8).prop_map(move |made| {
        let mut files = Files::new();
        for (path, kind) in made {
            let path = path.join("/");
            if make_parents(&mut files, &path).is_err() || files.contains_key(&path) {
                continue;
            }
            let node = match kind {
                0 => Node::Dir,
                1 if links => Node::Link(format!("{tag}-link")),
                _ => Node::File(format!("{tag} {path}")),
            };
            files.insert(path, node);
        }
        files
    })
}

fn actions() -> impl Strategy<Value = CopyAction> {
    let path = || {
        let names = prop::collection::vec(prop::sample::select(NAMES), 0..3);
        (names, any::<bool>()).prop_map(|(names, slash)| {
            format!("/{}{}", names.join("/"), if slash { "/" } else { "" })
        })
    };
    let rules = || prop::collection::vec(prop::sample::select(RULES).prop_map(str::to_owned), 0..3);
    (path(), path(), any::<[bool; 3]>(), rules(), rules()).prop_map(
        |(source, destination, [contents, replace, parents], include, exclude)| CopyAction {
            source: source.into(),
            destination: destination.into(),
            directory_contents: contents,
            replace_existing: replace,
            create_parents: parents,
            include,
            exclude,
            ..CopyAction::default()
        },
    )
}

/// Makes missing directories above `path`.
fn make_parents(files: &mut Files, path: &str) -> Result<(), ()> {
    for (at, _) in path.match_indices('/') {
        make_dir(files, &path[..at])?;
    }
    Ok(())
}

fn make_dir(files: &mut Files, path: &str) -> Result<(), ()> {
    match path.is_empty() || *files.entry(path.to_owned()).or_insert(Node::Dir) == Node::Dir {
        true => Ok(()),
        false => Err(()),
    }
}

fn is_dir(files: &Files, path: &str) -> bool {
    path.is_empty() || files.get(path) == Some(&Node::Dir)
}

fn exists(files: &Files, path: &str) -> bool {
    path.is_empty() || files.contains_key(path)
}

fn remove(files: &mut Files, path: &str) {
    let below = format!("{path}/");
    files.retain(|known, _| known != path && !known.starts_with(&below));
}

fn join(dir: &str, name: &str) -> String {
    match (dir.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => dir.to_owned(),
        _ => format!("{dir}/{name}"),
    }
}

fn clean(text: &[u8]) -> String {
    RootedPath::new(text).to_string()[1..].to_owned()
}

/// The model: what the copy makes of `files`.
fn model(action: &CopyAction, source: &Files, files: &mut Files) -> Result<(), ()> {
    let (from, mut to) = (clean(&action.source), clean(&action.destination));
    let parent = |path: &str| path.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned();
    if !exists(source, &from) || !action.create_parents && !exists(files, &parent(&to)) {
        return Err(());
    }
    let needed = match action.destination.ends_with(b"/") {
        true => to.clone(),
        false => parent(&to),
    };
    make_parents(files, &needed)?;
    make_dir(files, &needed)?;
    let into = match is_dir(source, &from) {
        true => !action.directory_contents && exists(files, &to),
        false => is_dir(files, &to),
    };
    if into {
        to = join(&to, from.rsplit('/').next().unwrap_or_default());
    }
    make_parents(files, &to)?;
    let include = PatternList::new(&action.include).expect("well formed");
    let exclude = PatternList::new(&action.exclude).expect("well formed");
    let below = |path: &str| from.is_empty() || path.starts_with(&format!("{from}/"));
    let mut places: Vec<(String, Node)> = vec![(String::new(), node(source, &from))];
    for (path, node) in source.iter().filter(|(path, _)| below(path)) {
        let relative = path[from.len()..].trim_start_matches('/');
        let included = include.is_empty() || include.matches_path(relative.as_bytes());
        if included && !exclude.matches_path(relative.as_bytes()) {
            places.push((relative.to_owned(), node.clone()));
        }
    }
    for (relative, node) in places {
        let place = join(&to, &relative);
        make_parents(files, &place)?;
        put(files, &place, node, action.replace_existing)?;
    }
    Ok(())
}

fn node(files: &Files, path: &str) -> Node {
    files.get(path).cloned().unwrap_or(Node::Dir)
}

fn put(files: &mut Files, place: &str, node: Node, replace: bool) -> Result<(), ()> {
    let there_dir = is_dir(files, place);
    match (exists(files, place), node == Node::Dir, there_dir) {
        (true, true, true) => return Ok(()),
        (true, true, false) | (true, false, true) if !replace || place.is_empty() => return Err(()),
        _ => remove(files, place),
    }
    files.insert(place.to_owned(), node);
    Ok(())
}

/// Writes `files` to a layer.
fn write(files: &Files, layer: &ActiveLayer) {
    use std::io::Write;
    let upper = layer.writer();
    for (path, node) in files {
        let path = RootedPath::new(path);
        let dir = upper
            .dir(&path.parent().expect("a parent"))
            .expect("parent");
        let name = path.file_name().expect("a name");
        match node {
            Node::Dir => drop(dir.make_dir(name, 0o755).expect("directory")),
            Node::Link(target) => dir.symlink(name, target.as_bytes()).expect("link"),
            Node::File(data) => {
                let mut file = dir.create_file(name, 0o644).expect("file");
                file.write_all(data.as_bytes()).expect("data");
            }
        }
    }
}

/// Reads a tree back.
fn read(tree: &Tree) -> Files {
    let mut files = Files::new();
    collect(&tree.root().expect("root"), &mut files);
    files
}

fn collect(dir: &Entry, files: &mut Files) {
    for name in dir.read_dir().expect("directory") {
        let entry = dir.child(&name).expect("child");
        let path = entry.path().to_string()[1..].to_owned();
        let node = match entry.stat().kind {
            FileKind::Directory => Node::Dir,
            FileKind::Symlink => {
                Node::Link(String::from_utf8_lossy(&entry.stat().link_target).into_owned())
            }
            _ => Node::File(std::io::read_to_string(entry.open().expect("data")).expect("data")),
        };
        files.insert(path, node);
        if entry.stat().is_dir() {
            collect(&entry, files);
        }
    }
}

#[test]
fn random_copies_equal_the_model() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let config = ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let strategy = (trees("new", true), trees("old", false), actions());
    let run = |(source, below, action): (Files, Files, CopyAction)| {
        let layer = machine.on(&LayerStack::empty());
        write(&source, &layer);
        let tree = machine.seal(layer).tree();
        let layer = machine.on(&LayerStack::empty());
        write(&below, &layer);
        let layer = machine.on(&machine.seal(layer));
        let copy = Action::Copy(action.clone());
        let done = apply(&copy, &layer, Some(&tree), &CancelToken::new());
        let mut wanted = below.clone();
        let modelled = model(&action, &source, &mut wanted);
        prop_assert_eq!(done.is_ok(), modelled.is_ok(), "{:?}", done);
        if done.is_ok() {
            prop_assert_eq!(read(&layer.tree()), wanted.clone());
            let sealed = machine.seal(layer);
            prop_assert_eq!(read(&sealed.tree()), wanted);
        }
        Ok(())
    };
    TestRunner::new(config)
        .run(&strategy, run)
        .expect("copies equal the model");
}
