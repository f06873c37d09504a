//! Files in which the names of owners are looked up, also those of images that mean no good (row FIL-05;
//! CVE-2024-9676).

use std::io::Write;

use lamina_fileops::Action;
use lamina_fileops::MkDirAction;
use lamina_fileops::Owner;
use lamina_fileops::UserRef;
use lamina_fileops::apply;
use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::Tree;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::FileKind;
use lamina_types::RootedPath;
use lamina_types::Stat;

use crate::machine::Machine;

/// The most that is read of a file.
const LIMIT: u64 = 10 << 20;

const PASSWD: &[u8] = b"app:x:12:34::/:\n";

/// Makes a directory of the user `app` as `users` knows it; returns its owner.
fn owner(machine: &Machine, users: Tree) -> Result<(u32, u32), String> {
    let layer = machine.on(&LayerStack::empty());
    let user = UserRef::Name {
        name: "app".to_owned(),
        tree: users,
    };
    let action = Action::MkDir(MkDirAction {
        path: b"/d".to_vec(),
        mode: 0o755,
        owner: Some(Owner {
            user: Some(user),
            group: None,
        }),
        ..MkDirAction::default()
    });
    let done = apply(&action, &layer, None, &CancelToken::new());
    done.map_err(|error| error.to_string())?;
    let made = layer.tree().lookup(&RootedPath::new("/d"), Follow::Parents);
    let made = made.expect("made");
    Ok((made.stat().uid, made.stat().gid))
}

fn file(dir: &WriteDir, name: &[u8], size: u64) {
    let mut file = dir.create_file(name, 0o644).expect("a file");
    file.write_all(PASSWD).expect("data");
    file.set_len(size.max(PASSWD.len() as u64)).expect("grown");
}

/// What is made in `/etc`, and who `app` is then, or what the error speaks of.
type Row = (
    &'static str,
    fn(&WriteDir),
    Result<(u32, u32), &'static str>,
);

const ROWS: [Row; 9] = [
    ("nothing", |_| {}, Ok((0, 0))),
    ("a file", |etc| file(etc, b"passwd", 0), Ok((12, 34))),
    (
        "the largest file",
        |etc| file(etc, b"passwd", LIMIT),
        Ok((12, 34)),
    ),
    (
        "a larger file",
        |etc| file(etc, b"passwd", LIMIT + 1),
        Err("/etc/passwd"),
    ),
    (
        "a fifo",
        |etc| {
            let fifo = Stat::new(FileKind::Fifo, 0o644);
            etc.make_node(b"passwd", &fifo).expect("a fifo");
        },
        Err("/etc/passwd"),
    ),
    (
        "a directory",
        |etc| drop(etc.make_dir(b"passwd", 0o755).expect("a directory")),
        Err("/etc/passwd"),
    ),
    (
        "a link inside",
        |etc| {
            file(etc, b"real", 0);
            etc.symlink(b"passwd", b"/etc/real").expect("a link");
        },
        Ok((12, 34)),
    ),
    (
        "a link that climbs",
        |etc| {
            file(etc, b"hostname", 0);
            let target = b"../../../../../../etc/hostname";
            etc.symlink(b"passwd", target).expect("a link");
        },
        Ok((12, 34)),
    ),
    (
        "a loop",
        |etc| etc.symlink(b"passwd", b"passwd").expect("a link"),
        Err("/etc/passwd"),
    ),
];

#[test]
fn files_of_users_are_regular_small_and_inside() {
    let Some(machine) = Machine::new() else {
        return;
    };
    for (name, make, wanted) in ROWS {
        let layer = machine.on(&LayerStack::empty());
        let root = layer.writer().root().expect("root");
        make(&root.make_dir(b"etc", 0o755).expect("/etc"));
        drop(root);
        let found = owner(&machine, machine.seal(layer).tree());
        match (found, wanted) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{name}"),
            (Err(error), Err(wanted)) => assert!(error.contains(wanted), "{name}: {error}"),
            (found, _) => panic!("{name}: {found:?}"),
        }
    }
}
