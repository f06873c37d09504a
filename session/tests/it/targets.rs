//! Places for results (rows SVC-08, SVC-09).

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use lamina_session::DirectoryTarget;
use lamina_session::FileTarget;
use lamina_session::LocalSession;
use lamina_session::Session;
use lamina_session::SessionError;

use crate::wait;

fn open(session: &LocalSession, exporter: usize) -> Result<Box<dyn FileTarget>, SessionError> {
    wait(session.file_target(exporter, &BTreeMap::new()))
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name().display().to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_shows_only_when_finished() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("out.tar");
    fs::write(&path, "old").expect("written");
    let session = LocalSession::builder().file_target(0, &path).build();

    let mut target = open(&session, 0).expect("opens");
    target.write_all(b"new").expect("written");
    assert_eq!(fs::read(&path).expect("readable"), b"old");
    target.finish().expect("finishes");
    assert_eq!(fs::read(&path).expect("readable"), b"new");
    assert_eq!(names(dir.path()), ["out.tar"]);
}

#[test]
fn a_dropped_file_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let session = LocalSession::builder()
        .file_target(3, dir.path().join("out.tar"))
        .build();
    let mut target = open(&session, 3).expect("opens");
    target.write_all(b"half").expect("written");
    drop(target);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_symlink_is_written_through() {
    let dir = tempfile::tempdir().expect("a folder");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("real", &link).expect("linked");
    let session = LocalSession::builder().file_target(0, &link).build();
    let mut target = open(&session, 0).expect("opens");
    target.write_all(b"data").expect("written");
    target.finish().expect("finishes");
    assert!(link.is_symlink());
    assert_eq!(
        fs::read(dir.path().join("real")).expect("readable"),
        b"data"
    );
}

#[test]
fn devices_are_written_in_place() {
    let session = LocalSession::builder().file_target(0, "/dev/null").build();
    let mut target = open(&session, 0).expect("opens");
    target.write_all(b"data").expect("written");
    target.finish().expect("finishes");
    assert!(!Path::new("/dev/null").is_file());
}

#[test]
fn directories_are_made_with_their_parents() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("a/b");
    let session = LocalSession::builder().directory_target(0, &path).build();
    match wait(session.directory_target(0, false)).expect("made") {
        DirectoryTarget::Host(made) => assert_eq!(made, path),
        DirectoryTarget::Remote(_) => panic!("not on this host"),
    }
    assert!(path.is_dir());
}

#[test]
fn unusable_targets_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let session = LocalSession::builder()
        .file_target(0, dir.path())
        .file_target(1, dir.path().join("no/parent"))
        .directory_target(2, dir.path())
        .standard_output_target(3)
        .build();
    for (exporter, wanted) in [
        (0, "is a directory"),
        (1, "no such file or directory"),
        (2, "the output of exporter 2 is a directory, not a file"),
        (4, "no output was given for exporter 4"),
    ] {
        let error = open(&session, exporter).err().expect("refused");
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let error = wait(session.directory_target(3, false)).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the output of exporter 3 is standard output, not a directory"
    );
}
