//! Folders of blobs of a client in this process (row SVC-19).

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use lamina_session::BlobStore;
use lamina_session::LocalSession;
use lamina_session::Session;
use lamina_session::SessionError;
use lamina_session::StoreId;
use lamina_types::Digest;
use tokio::io::AsyncReadExt;

use crate::wait;

fn store(session: &LocalSession, id: &StoreId) -> Arc<dyn BlobStore> {
    wait(session.blobs(id)).expect("offered")
}

fn write(
    store: &dyn BlobStore,
    digest: &Digest,
    size: u64,
    data: &[u8],
) -> Result<(), SessionError> {
    wait(store.write(digest, size, Box::new(Cursor::new(data.to_vec()))))
}

fn read(store: &dyn BlobStore, digest: &Digest, offset: u64) -> Vec<u8> {
    wait(async {
        let mut data = Vec::new();
        let mut reader = store.read(digest, offset).await.expect("there");
        reader.read_to_end(&mut data).await.expect("readable");
        data
    })
}

fn names(dir: &Path) -> usize {
    fs::read_dir(dir).expect("readable").count()
}

#[test]
fn blobs_round_trip_through_a_cache_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = dir.path().join("new/cache");
    let session = LocalSession::builder().cache_dir("c", &place).build();
    let store = store(&session, &StoreId::Cache("c".to_owned()));
    for data in [Vec::new(), b"small".to_vec(), vec![7; 3 << 20]] {
        let digest = Digest::of(&data);
        let size = data.len() as u64;
        assert_eq!(wait(store.size(&digest)).expect("asked"), None);
        write(&*store, &digest, size, &data).expect("written");
        write(&*store, &digest, size, &data).expect("there already");
        assert_eq!(wait(store.size(&digest)).expect("asked"), Some(size));
        assert!(read(&*store, &digest, 0) == data);
        assert!(read(&*store, &digest, size / 2) == data[data.len() / 2..]);
    }
    assert_eq!(
        fs::read_to_string(place.join("oci-layout")).expect("made"),
        r#"{"imageLayoutVersion":"1.0.0"}"#
    );
    assert_eq!(names(&place.join("blobs/sha256")), 3);
}

#[test]
fn what_is_not_the_blob_never_shows() {
    let dir = tempfile::tempdir().expect("a folder");
    let session = LocalSession::builder().export_dir(dir.path()).build();
    let store = store(&session, &StoreId::Export);
    let digest = Digest::of(b"right");
    for (data, size, wanted) in [
        (&b"wrong"[..], 5, "the data has the digest sha256:"),
        (b"righ", 5, "4 bytes came instead of 5"),
        (b"right!", 5, "6 bytes came instead of 5"),
    ] {
        let error = write(&*store, &digest, size, data).expect_err("refused");
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(wait(store.size(&digest)).expect("asked"), None);
        assert!(wait(store.read(&digest, 0)).is_err());
    }
    assert_eq!(names(&dir.path().join("blobs/sha256")), 0);
}

#[test]
fn a_reader_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let session = LocalSession::builder().export_dir(dir.path()).build();
    let store = store(&session, &StoreId::Export);
    let broken = tokio_util::io::StreamReader::new(futures_util::stream::iter([
        Ok(bytes::Bytes::from("ri")),
        Err(std::io::Error::other("the wire broke")),
    ]));
    let digest = Digest::of(b"right");
    let error = wait(store.write(&digest, 5, Box::new(broken))).expect_err("broken");
    assert!(error.to_string().contains("the wire broke"), "{error}");
    assert_eq!(wait(store.size(&digest)).expect("asked"), None);
}

#[test]
fn layouts_of_the_user_are_not_written() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(dir.path().join("blobs/sha256")).expect("made");
    let digest = Digest::of(b"data");
    fs::write(dir.path().join("blobs/sha256").join(digest.hex()), "data").expect("written");
    let session = LocalSession::builder()
        .oci_layout("base", dir.path())
        .build();
    let store = store(&session, &StoreId::Layout("base".to_owned()));
    assert_eq!(read(&*store, &digest, 2), b"ta");
    let error = write(&*store, &Digest::of(b"x"), 1, b"x").expect_err("refused");
    assert!(error.to_string().contains("permission denied"), "{error}");
    assert!(!dir.path().join("oci-layout").exists());
}

#[test]
fn other_stores_are_refused() {
    let session = LocalSession::builder().build();
    for (store, wanted) in [
        (
            StoreId::Layout("x".to_owned()),
            "no access allowed to OCI layout \"x\"",
        ),
        (StoreId::Cache("x".to_owned()), "unknown store local:x"),
        (StoreId::Export, "unknown store export"),
    ] {
        let error = wait(session.blobs(&store)).err().expect("refused");
        assert_eq!(error.to_string(), wanted);
    }
}
