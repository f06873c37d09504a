//! mkfile, mkdir, rm and symlink beyond what the golden data shows.

use lamina_fileops::Action;
use lamina_fileops::FileOpError;
use lamina_fileops::MkDirAction;
use lamina_fileops::MkFileAction;
use lamina_fileops::Owner;
use lamina_fileops::RmAction;
use lamina_fileops::SymlinkAction;
use lamina_fileops::UserRef;
use lamina_fileops::apply;
use lamina_snapshotter::ActiveLayer;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::RootedPath;
use lamina_types::Stat;

use crate::machine::Machine;

fn run(layer: &ActiveLayer, action: Action) -> Result<(), FileOpError> {
    apply(&action, layer, None, &CancelToken::new())
}

fn mkfile(path: &str, data: &str) -> Action {
    Action::MkFile(MkFileAction {
        path: path.into(),
        mode: 0o644,
        data: data.into(),
        ..MkFileAction::default()
    })
}

fn mkdir(path: &str) -> Action {
    Action::MkDir(MkDirAction {
        path: path.into(),
        mode: 0o755,
        make_parents: true,
        ..MkDirAction::default()
    })
}

fn rm(path: &str, allow_wildcard: bool) -> Action {
    Action::Rm(RmAction {
        path: path.into(),
        allow_not_found: false,
        allow_wildcard,
    })
}

fn symlink(path: &str, target: &str) -> Action {
    Action::Symlink(SymlinkAction {
        target: target.into(),
        path: path.into(),
        ..SymlinkAction::default()
    })
}

fn stat(layer: &ActiveLayer, path: &str) -> Option<Stat> {
    let found = layer.tree().lookup(&RootedPath::new(path), Follow::Parents);
    found.ok().map(|entry| entry.stat().clone())
}

fn read(layer: &ActiveLayer, path: &str) -> String {
    let entry = layer
        .tree()
        .lookup(&RootedPath::new(path), Follow::Last)
        .expect(path);
    std::io::read_to_string(entry.open().expect(path)).expect(path)
}

#[test]
fn mkfile_never_writes_into_a_sealed_layer() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    run(&layer, mkfile("/f", "old")).expect("mkfile");
    let below = machine.seal(layer);
    let layer = machine.on(&below);
    run(&layer, mkfile("/f", "new")).expect("mkfile");
    assert_eq!(read(&layer, "/f"), "new");
    let sealed = below
        .tree()
        .lookup(&RootedPath::new("/f"), Follow::Last)
        .expect("/f");
    let data = std::io::read_to_string(sealed.open().expect("/f")).expect("/f");
    assert_eq!(data, "old");
}

#[test]
fn mkfile_keeps_mode_and_attributes_of_what_it_replaces() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    run(&layer, mkfile("/f", "old")).expect("mkfile");
    let kept = (b"user.kept".to_vec(), b"1".to_vec());
    let change = MetadataChange {
        owner: Some((7, 8)),
        mode: Some(0o640),
        xattrs: Some([kept.clone()].into()),
        ..MetadataChange::default()
    };
    let root = layer.writer().root().expect("root");
    root.set_metadata(b"f", &change).expect("metadata");
    run(&layer, mkfile("/f", "new")).expect("mkfile");
    let found = stat(&layer, "/f").expect("/f");
    assert_eq!((found.uid, found.gid, found.mode), (7, 8, 0o640));
    assert_eq!(found.xattrs, [kept].into());
}

#[test]
fn mkfile_refuses_what_would_block() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    run(&layer, mkfile("/f", "")).expect("mkfile");
    let fifo = Stat {
        kind: FileKind::Fifo,
        ..stat(&layer, "/f").expect("/f")
    };
    let root = layer.writer().root().expect("root");
    root.make_node(b"fifo", &fifo).expect("fifo");
    let error = run(&layer, mkfile("/fifo", "x")).expect_err("a fifo");
    assert_eq!(error.to_string(), "open /fifo: not a regular file");
}

/// A row is `name: action => the error's text`, on a layer with `/f`, `/d` and a looping `/loop`.
macro_rules! refused {
    ($($name:ident: $action:expr => $wanted:expr;)*) => {
        $(#[test]
        fn $name() {
            let Some(machine) = Machine::new() else { return };
            let layer = machine.on(&LayerStack::empty());
            run(&layer, mkfile("/f", "")).expect("mkfile");
            run(&layer, mkdir("/d")).expect("mkdir");
            run(&layer, symlink("/loop", "loop")).expect("symlink");
            let error = run(&layer, $action).expect_err("refused");
            assert_eq!(error.to_string(), $wanted);
        })*
    };
}

refused! {
    file_over_directory: mkfile("/d", "") => "open /d: is a directory";
    file_over_root: mkfile("/", "") => "open /: is a directory";
    file_without_parent: mkfile("/no/x", "") => "open /no/x: no such file or directory";
    file_below_file: mkfile("/f/x", "") => "open /f/x: not a directory";
    file_below_loop: mkfile("/loop/x", "") => "/loop/x: more than 255 symbolic links";
    directory_over_file: mkdir("/f") => "mkdir /f: not a directory";
    directory_below_file: mkdir("/f/x") => "lstat /f/x: not a directory";
    link_over_file: symlink("/f", "x") => "symlink /f: file exists";
    link_over_root: symlink("/", "x") => "symlink /: file exists";
    removes_nothing: rm("/x", false) => "stat /x: no such file or directory";
    removes_below_file: rm("/f/x", false) => "unlinkat /f/x: not a directory";
    removes_root: rm("/", false) => "rm /: the root directory cannot be removed";
    removes_root_by_dots: rm("/d/..", false) => "rm /: the root directory cannot be removed";
}

#[test]
fn rm_leaves_what_a_link_leads_to() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    run(&layer, mkdir("/d")).expect("mkdir");
    run(&layer, mkfile("/d/f", "")).expect("mkfile");
    run(&layer, symlink("/l", "d")).expect("symlink");
    run(&layer, rm("/l", false)).expect("rm");
    assert!(stat(&layer, "/l").is_none());
    assert!(stat(&layer, "/d/f").is_some());
    // Symlinks before the last component are followed.
    run(&layer, symlink("/l", "/../d")).expect("symlink");
    run(&layer, rm("/l/f", false)).expect("rm");
    assert!(stat(&layer, "/d/f").is_none());
}

#[test]
fn rm_with_patterns_takes_all_that_match() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    run(&layer, mkdir("/d/e")).expect("mkdir");
    for path in ["/a1", "/a2", "/b1", "/d/a3", "/d/e/a4"] {
        run(&layer, mkfile(path, "")).expect(path);
    }
    run(&layer, rm("/a*", true)).expect("rm");
    run(&layer, rm("/*/e/a?", true)).expect("rm");
    run(&layer, rm("/nothing*", true)).expect("nothing matches");
    run(&layer, rm("/[", true)).expect("a malformed pattern matches nothing");
    let left = ["/a1", "/a2", "/b1", "/d/a3", "/d/e/a4"].map(|path| stat(&layer, path).is_some());
    assert_eq!(left, [false, false, true, true, false]);
}

#[test]
fn owners_by_name_come_from_the_given_tree() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    run(&layer, mkdir("/etc")).expect("mkdir");
    run(&layer, mkfile("/etc/passwd", "app:x:12:34::/:\n")).expect("mkfile");
    run(&layer, mkfile("/etc/group", "staff:x:50:\n")).expect("mkfile");
    let tree = machine.seal(layer).tree();
    let name = |name: &str| {
        Some(UserRef::Name {
            name: name.to_owned(),
            tree: tree.clone(),
        })
    };
    let layer = machine.on(&LayerStack::empty());
    for (label, user, group, wanted) in [
        ("user gives group", name("app"), None, (12, 34)),
        ("group overrides", name("app"), name("staff"), (12, 50)),
        ("number gives group", Some(UserRef::Id(9)), None, (9, 9)),
        ("group alone", None, name("staff"), (0, 50)),
        ("unknown user", name("nobody"), None, (0, 0)),
        (
            "unknown group keeps the primary",
            name("app"),
            name("none"),
            (12, 34),
        ),
    ] {
        let path = format!("/{}", label.replace(' ', "-"));
        let action = Action::MkDir(MkDirAction {
            path: path.clone().into(),
            mode: 0o755,
            owner: Some(Owner { user, group }),
            ..MkDirAction::default()
        });
        run(&layer, action).expect(label);
        let found = stat(&layer, &path).expect(label);
        assert_eq!((found.uid, found.gid), wanted, "{label}");
    }
}

#[test]
fn cancelled_before_anything() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let layer = machine.on(&LayerStack::empty());
    let cancel = CancelToken::new();
    cancel.cancel();
    let done = apply(&mkdir("/d"), &layer, None, &cancel);
    assert!(matches!(done, Err(FileOpError::Cancelled(_))));
    assert!(stat(&layer, "/d").is_none());
}
