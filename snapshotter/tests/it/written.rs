//! Digests that are computed while files are written: no file is read for them (rows FIL-25, LLB-17).
//!
//! The proof is foul play: once a layer is sealed, other data of the same length is written into its
//! files. Whoever looked at them would see it.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use lamina_snapshotter::FileDigester;
use lamina_snapshotter::Follow;
use lamina_snapshotter::Layer;
use lamina_snapshotter::LayerStack;
use lamina_snapshotter::MetadataChange;
use lamina_snapshotter::Mounter as _;
use lamina_snapshotter::Selection;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::Digest;

use crate::support::Fixture;
use crate::support::commit;
use crate::support::host_path;
use crate::support::path;
use crate::support::write;

const MODE: u32 = 0o640;

/// Writes a file and hashes it on the way.
fn write_digested(dir: &WriteDir, name: &str, text: &str) -> Result<(), SnapshotError> {
    let change = MetadataChange {
        mtime_ns: Some(5),
        ..MetadataChange::default()
    };
    let mut digester = FileDigester::new(MODE, text.len() as u64, &change);
    let mut file = dir.create_file(name.as_bytes(), MODE)?;
    for piece in text.as_bytes().chunks(2) {
        file.write_all(piece).unwrap();
        digester.update(piece);
    }
    dir.finish_file(&file, &change, digester)
}

/// The same file, of which nobody knows the digest.
fn write_plain(dir: &WriteDir, name: &str, text: &str) -> Result<(), SnapshotError> {
    let mut file = dir.create_file(name.as_bytes(), MODE)?;
    file.write_all(text.as_bytes()).unwrap();
    Ok(())
}

fn digest_of(stack: &LayerStack, selection: &Selection) -> Digest {
    stack.digest(selection, &CancelToken::new()).unwrap()
}

fn whole(layer: &Layer) -> Digest {
    let stack = LayerStack::new([layer.clone()]);
    digest_of(&stack, &Selection::of_path("/"))
}

fn overwrite(file: &Path, data: &[u8]) {
    let file = std::fs::File::options().write(true).open(file);
    file.unwrap().write_all_at(data, 0).unwrap();
}

/// Overwrites all regular files below `folder` in place.
fn tamper(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            tamper(&entry.path());
        } else if entry.file_type().unwrap().is_file() {
            let length = entry.metadata().unwrap().len();
            let other = vec![b'#'; usize::try_from(length).unwrap()];
            overwrite(&entry.path(), &other);
        }
    }
}

fn tamper_with(fixture: &Fixture, layer: &Layer) {
    tamper(&fixture.layers().join(layer.id().to_string()).join("fs"));
}

fn none() -> LayerStack {
    LayerStack::empty()
}

#[test]
fn files_are_not_read_for_digests_that_were_computed_while_writing() {
    for fixture in [Fixture::new(), Fixture::stored()] {
        let reference = fixture.layer(&none(), |root| {
            write_plain(root, "empty", "")?;
            let dir = root.make_dir(b"d", 0o755)?;
            write_plain(&dir, "f", "abcde")?;
            write_plain(&dir, "again", "abcde")
        });
        let layer = fixture.layer(&none(), |root| {
            write_digested(root, "empty", "")?;
            let dir = root.make_dir(b"d", 0o755)?;
            write_digested(&dir, "f", "abcde")?;
            dir.link_from(b"again", &dir.lookup(b"f")?.unwrap())
        });
        let (expected, id) = (whole(&reference), layer.id());
        tamper_with(&fixture, &layer);
        drop((reference, layer));
        let fixture = fixture.reopen();
        let layer = fixture.store.layer(id).unwrap();
        assert_eq!(whole(&layer), expected);
        // Without what was kept the truth comes out.
        drop(layer);
        let kept = fixture.layers().join(id.to_string()).join("digests");
        std::fs::remove_file(kept).unwrap();
        let fixture = fixture.reopen();
        assert_ne!(whole(&fixture.store.layer(id).unwrap()), expected);
    }
}

#[test]
fn what_changes_afterwards_loses_its_digest() {
    type Change = fn(&WriteDir) -> Result<(), SnapshotError>;
    let changes: [(&str, Change); 4] = [
        ("mode", |root| {
            let mode = Some(0o600);
            let change = MetadataChange {
                mode,
                ..MetadataChange::default()
            };
            root.set_metadata(b"f", &change)
        }),
        ("replaced", |root| {
            root.remove(b"f")?;
            write_plain(root, "f", "other")
        }),
        ("another in its place", |root| {
            root.remove(b"f")?;
            write_plain(root, "g", "other")
        }),
        ("directory removed", |root| {
            root.remove(b"d")?;
            write_plain(&root.make_dir(b"d", 0o755)?, "f", "other")
        }),
    ];
    for (what, change) in changes {
        let fixture = Fixture::new();
        let reference = fixture.layer(&none(), |root| {
            write_plain(root, "f", "abcde")?;
            write_plain(&root.make_dir(b"d", 0o755)?, "f", "abcde")?;
            change(root)
        });
        let layer = fixture.layer(&none(), |root| {
            write_digested(root, "f", "abcde")?;
            write_digested(&root.make_dir(b"d", 0o755)?, "f", "abcde")?;
            change(root)
        });
        assert_eq!(whole(&layer), whole(&reference), "{what}");
    }
}

#[test]
fn what_a_process_may_have_written_has_no_digest() {
    let fixture = Fixture::new();
    let Some(overlay) = fixture.overlay("what a process may have written") else {
        return;
    };
    let active = fixture.store.prepare(&none()).unwrap();
    write_digested(&active.writer().root().unwrap(), "f", "abcde").unwrap();
    let mount = overlay.mount_active(&active).unwrap();
    overwrite(&host_path(&mount.fd).join("f"), b"other");
    drop(mount);
    let reference = fixture.layer(&none(), |root| write_plain(root, "f", "other"));
    assert_eq!(whole(&commit(active)), whole(&reference));
}

#[test]
fn links_and_copies_take_over_what_is_known_of_their_source() {
    let fixture = Fixture::new();
    let source = fixture.layer(&none(), |root| {
        write_digested(root, "f", "abcde")?;
        write_digested(root, "g", "fghij")
    });
    let expected = whole(&source);
    let from = |name: &str| {
        let tree = LayerStack::new([source.clone()]).tree();
        tree.lookup(&path(name), Follow::Parents)
    };
    let linked = fixture.layer(&none(), |root| {
        root.link_from(b"f", &from("/f")?)?;
        root.link_from(b"g", &from("/g")?)
    });
    let copied = fixture.layer(&none(), |root| {
        for name in ["f", "g"] {
            let entry = from(name)?;
            let file = root.create_file(name.as_bytes(), 0o600)?;
            std::io::copy(&mut entry.open()?, &mut &file).unwrap();
            root.set_file_metadata(&file, &MetadataChange::all_of(entry.stat()))?;
            root.take_over_digest(&file, &entry)?;
        }
        Ok(())
    });
    let other = fixture.layer(&none(), |root| {
        let entry = from("f")?;
        let file = root.create_file(b"f", 0o600)?;
        std::io::copy(&mut entry.open()?, &mut &file).unwrap();
        root.take_over_digest(&file, &entry)
    });
    for layer in [&linked, &copied] {
        tamper_with(&fixture, layer);
        assert_eq!(whole(layer), expected);
    }
    let reference = fixture.layer(&none(), |root| {
        let mut file = root.create_file(b"f", 0o600)?;
        file.write_all(b"abcde").unwrap();
        Ok(())
    });
    assert_eq!(whole(&other), whole(&reference), "another mode");
}

#[test]
fn selections_are_put_together_without_reading_files() {
    let fixture = Fixture::new();
    let below = fixture.stack(&none(), |root| {
        let dir = root.make_dir(b"d", 0o755)?;
        write(&dir, "x.txt", "x")?;
        dir.symlink(b"link", b"x.txt")
    });
    let stack = fixture.stack(&below, |root| {
        write(&root.open_dir(b"d")?, "y.txt", "y")?;
        write(&root.make_dir(b"e", 0o755)?, "z.txt", "z")
    });
    let wildcard = Selection {
        wildcard: true,
        follow_links: true,
        ..Selection::of_path("/*/*")
    };
    let filtered = Selection {
        include: vec!["**/*.txt".to_owned()],
        ..Selection::of_path("/")
    };
    let selections = [Selection::of_path("/"), wildcard, filtered];
    let known: Vec<Digest> = selections.iter().map(|s| digest_of(&stack, s)).collect();
    for layer in stack.layers() {
        tamper_with(&fixture, layer);
    }
    let again: Vec<Digest> = selections.iter().map(|s| digest_of(&stack, s)).collect();
    assert_eq!(again, known);
}
