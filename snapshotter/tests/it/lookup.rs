//! Paths that try to get out, go round in circles or lead nowhere.

use std::io::Write as _;

use lamina_snapshotter::Follow;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::users;
use lamina_snapshotter::users::Numbers;
use lamina_types::FileKind;
use lamina_types::Stat;
use rustix::io::Errno;

use crate::support::Fixture;
use crate::support::path;
use crate::support::write;

fn stack(fixture: &Fixture) -> LayerStack {
    let lower = fixture.stack(&LayerStack::empty(), |root| {
        let etc = root.make_dir(b"etc", 0o755)?;
        write(
            &etc,
            "passwd",
            "root:x:0:0::/root:\njoe:x:7:8::/home/joe:\n",
        )?;
        write(&etc, "group", "wheel:x:10:joe\n")?;
        let dir = root.make_dir(b"dir", 0o755)?;
        write(&dir, "file", "x")?;
        dir.make_dir(b"sub", 0o755)?;
        for (name, target) in [
            ("absolute", "/dir/file"),
            ("relative", "../etc/passwd"),
            ("up", "../../../../etc/passwd"),
            ("host", "/../../../proc/self/environ"),
            ("loop", "loop"),
            ("ping", "pong"),
            ("pong", "ping"),
            ("dangling", "/nowhere/else"),
            ("slash", "sub/"),
            ("dots", "./sub/.././file"),
            ("self", "."),
            ("through", "file/.."),
        ] {
            dir.symlink(name.as_bytes(), target.as_bytes())?;
        }
        let mut target = "/dir/file".to_owned();
        for index in 0..300 {
            let name = format!("chain{index}");
            dir.symlink(name.as_bytes(), target.as_bytes())?;
            target = format!("/dir/{name}");
        }
        Ok(())
    });
    fixture.stack(&lower, |root| {
        root.remove(b"dir").and_then(|()| {
            let dir = root.make_dir(b"dir", 0o755)?;
            for name in lower
                .tree()
                .lookup(&path("/dir"), Follow::Last)?
                .read_dir()?
            {
                let old = lower
                    .tree()
                    .lookup(&path("/dir").join(&name), Follow::Parents)?;
                match old.stat().kind {
                    lamina_types::FileKind::Symlink => {
                        dir.symlink(&name, &old.stat().link_target)?;
                    }
                    lamina_types::FileKind::Directory => drop(dir.make_dir(&name, 0o755)?),
                    _ => write(&dir, std::str::from_utf8(&name).unwrap(), "y")?,
                }
            }
            Ok(())
        })
    })
}

#[test]
fn links_are_followed_inside_the_tree() {
    let fixture = Fixture::new();
    let tree = stack(&fixture).tree();
    for (asked, follow, found) in [
        ("/dir/absolute", Follow::Last, "/dir/file"),
        ("/dir/absolute", Follow::Parents, "/dir/absolute"),
        ("/dir/relative", Follow::Last, "/etc/passwd"),
        ("/dir/up", Follow::Last, "/etc/passwd"),
        ("/dir/slash", Follow::Last, "/dir/sub"),
        ("/dir/dots", Follow::Last, "/dir/file"),
        ("/dir/self/self/self/file", Follow::Parents, "/dir/file"),
        ("/dir/chain254", Follow::Last, "/dir/file"),
        ("/../../dir", Follow::Last, "/dir"),
        ("/", Follow::Last, "/"),
    ] {
        let entry = tree.lookup(&path(asked), follow).unwrap();
        assert_eq!(entry.path(), &path(found), "{asked}");
        assert_eq!(
            tree.resolve(&path(asked), follow).unwrap(),
            path(found),
            "{asked}"
        );
    }
}

#[test]
fn what_leads_nowhere_fails_as_in_the_kernel() {
    let fixture = Fixture::new();
    let tree = stack(&fixture).tree();
    for (asked, error, message) in [
        ("/none", Errno::NOENT, "/none: no such file or directory"),
        (
            "/dir/host",
            Errno::NOENT,
            "/dir/host: no such file or directory",
        ),
        (
            "/dir/dangling",
            Errno::NOENT,
            "/dir/dangling: no such file or directory",
        ),
        ("/dir/file/x", Errno::NOTDIR, "/dir/file/x: not a directory"),
        (
            "/dir/through",
            Errno::NOTDIR,
            "/dir/through: not a directory",
        ),
    ] {
        let failed = tree.lookup(&path(asked), Follow::Last).err().unwrap();
        assert_eq!(failed.errno(), Some(error.raw_os_error()), "{asked}");
        assert_eq!(failed.to_string(), message);
    }
    for asked in ["/dir/loop", "/dir/ping", "/dir/chain255", "/dir/loop/x"] {
        let failed = tree.lookup(&path(asked), Follow::Last).err().unwrap();
        assert!(
            matches!(failed, SnapshotError::TooManyLinks { .. }),
            "{asked}"
        );
        let text = format!("{asked}: more than 255 symbolic links");
        assert_eq!(failed.to_string(), text);
    }
}

#[test]
fn resolving_keeps_what_does_not_exist() {
    let fixture = Fixture::new();
    let tree = stack(&fixture).tree();
    for (asked, resolved) in [
        ("/none/a/b", "/none/a/b"),
        ("/dir/self/none/x", "/dir/none/x"),
        ("/dir/dangling", "/nowhere/else"),
        ("/dir/dangling/more", "/nowhere/else/more"),
        ("/dir/absolute/x", "/dir/file/x"),
    ] {
        assert_eq!(
            tree.resolve(&path(asked), Follow::Last).unwrap(),
            path(resolved),
            "{asked}"
        );
    }
}

#[test]
fn only_regular_files_are_opened() {
    let fixture = Fixture::new();
    let fifo = lamina_types::Stat {
        kind: lamina_types::FileKind::Fifo,
        ..LayerStack::empty().tree().root().unwrap().stat().clone()
    };
    let stack = fixture.stack(&LayerStack::empty(), |root| {
        root.make_node(b"fifo", &fifo)?;
        root.symlink(b"link", b"fifo")
    });
    for name in ["/fifo", "/link", "/"] {
        let entry = stack.tree().lookup(&path(name), Follow::Parents).unwrap();
        let failed = entry.open().unwrap_err();
        assert!(matches!(failed, SnapshotError::NotRegular { .. }), "{name}");
    }
}

/// Whatever else is in their place (CVE-2024-9676).
#[test]
fn users_are_read_from_the_tree_only() {
    let fixture = Fixture::new();
    let tree = stack(&fixture).tree();
    let names: Vec<_> = users::passwd(&tree, Numbers::Strict)
        .unwrap()
        .map(|user| user.unwrap().name)
        .collect();
    assert_eq!(names, ["root", "joe"]);
    let first = users::groups(&tree, Numbers::Strict).unwrap().next();
    assert_eq!(first.unwrap().unwrap().members, ["joe"]);
    let nothing = LayerStack::empty().tree();
    assert!(
        users::passwd(&nothing, Numbers::Strict)
            .unwrap()
            .next()
            .is_none()
    );
    let hostile = fixture.stack(&LayerStack::empty(), |root| {
        let etc = root.make_dir(b"etc", 0o755)?;
        etc.symlink(b"passwd", b"../../../../etc/hostname")?;
        let huge = etc.create_file(b"group", 0o644)?;
        huge.set_len(11 << 20).unwrap();
        Ok(())
    });
    assert!(
        users::passwd(&hostile.tree(), Numbers::Strict)
            .unwrap()
            .next()
            .is_none()
    );
    let failed = users::groups(&hostile.tree(), Numbers::Strict).unwrap_err();
    assert_eq!(failed.to_string(), "/etc/group: larger than 10485760 bytes");
    let endless = fixture.stack(&LayerStack::empty(), |root| {
        let etc = root.make_dir(b"etc", 0o755)?;
        etc.make_node(b"passwd", &Stat::new(FileKind::Fifo, 0o644))
    });
    let failed = users::passwd(&endless.tree(), Numbers::Strict).unwrap_err();
    assert!(
        matches!(failed, SnapshotError::NotRegular { .. }),
        "{failed}"
    );
}

#[test]
fn users_are_read_line_by_line() {
    let fixture = Fixture::new();
    let lines = fixture.stack(&LayerStack::empty(), |root| {
        let etc = root.make_dir(b"etc", 0o755)?;
        let mut passwd = etc.create_file(b"passwd", 0o644)?;
        // The last one has no end.
        let text = b"first:x:1:1\n\n#no\n\xff:x:2:2\r\nlast:x:3:3::/h";
        passwd.write_all(text).unwrap();
        // One line that is read whole, one that is too long, and one that is never seen.
        let mut group = etc.create_file(b"group", 0o644)?;
        let members = "member,".repeat(100_000);
        let text = format!("many:x:1:{members}\nmore:x:2:{members}{members}\nlast:x:3:\n");
        group.write_all(text.as_bytes()).unwrap();
        Ok(())
    });
    let names: Vec<_> = users::passwd(&lines.tree(), Numbers::Strict)
        .unwrap()
        .map(|user| user.unwrap().name)
        .collect();
    assert_eq!(names, ["first", "\u{fffd}", "last"]);
    let mut groups = users::groups(&lines.tree(), Numbers::Strict).unwrap();
    assert_eq!(groups.next().unwrap().unwrap().members.len(), 100_000);
    let failed = groups.next().unwrap().unwrap_err();
    assert_eq!(
        failed.to_string(),
        "/etc/group: a line is longer than 1048576 bytes"
    );
    assert!(groups.next().is_none());
}

#[test]
fn a_view_of_nothing_is_an_empty_directory() {
    let tree = LayerStack::empty().tree();
    let root = tree.root().unwrap();
    assert!(root.stat().is_dir());
    assert!(root.read_dir().unwrap().is_empty());
    assert!(
        tree.lookup(&path("/a"), Follow::Last)
            .err()
            .unwrap()
            .is_not_found()
    );
}
