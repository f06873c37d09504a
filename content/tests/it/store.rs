//! The blob store.

use std::io::Write;
use std::os::unix::fs::MetadataExt;

use lamina_content::ContentError;
use lamina_content::ContentStore;
use lamina_content::Descriptor;
use lamina_content::media_type;
use lamina_types::Digest;

use crate::support::Fixture;

#[test]
fn blobs_appear_whole_or_not_at_all() {
    let fixture = Fixture::new();
    let store = &fixture.content;
    let digest = store.put(b"data").expect("stores");
    assert_eq!(store.read(&digest, 4).expect("is there"), b"data");
    let error = store.read(&digest, 3).expect_err("is larger");
    assert!(matches!(
        error,
        ContentError::TooLarge {
            size: 4,
            limit: 3,
            ..
        }
    ));
    let mut ingest = store.ingest().expect("starts");
    ingest.write_all(b"other").expect("writes");
    let error = ingest
        .commit(Some(&digest))
        .expect_err("has another digest");
    assert!(matches!(error, ContentError::WrongDigest { .. }));
    drop(store.ingest().expect("starts"));
    let left = std::fs::read_dir(fixture.dir.path().join("content/ingest"));
    assert_eq!(left.expect("is readable").count(), 0);
    let missing = Digest::of(b"other");
    assert!(!store.contains(&missing));
    let error = store.open_blob(&missing).expect_err("is missing");
    assert_eq!(error.to_string(), format!("{missing}: blob not found"));
}

#[test]
fn damage_on_disk_is_found() {
    let fixture = Fixture::new();
    let digest = fixture.content.put(b"data").expect("stores");
    let path = fixture
        .dir
        .path()
        .join("content/blobs/sha256")
        .join(digest.hex());
    std::fs::write(path, b"dada").expect("damages");
    let error = fixture.content.read(&digest, 10).expect_err("is damaged");
    assert!(matches!(error, ContentError::WrongDigest { .. }));
}

#[test]
fn names_survive_a_restart_and_unfinished_blobs_do_not() {
    let fixture = Fixture::new();
    let dir = fixture.dir.path().join("content");
    let image = Descriptor::of(media_type::OCI_MANIFEST, b"x");
    fixture
        .content
        .tag("docker.io/library/a:latest", image.clone())
        .expect("names");
    std::fs::write(dir.join("ingest/7"), b"half").expect("writes");
    let again = ContentStore::open(&dir).expect("opens");
    assert_eq!(again.image("docker.io/library/a:latest"), Some(image));
    assert!(!dir.join("ingest/7").exists());
    let mode = std::fs::metadata(&dir).expect("is there").mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn sweeping_keeps_what_is_wanted() {
    let fixture = Fixture::new();
    let keep = fixture.content.put(b"keep").expect("stores");
    let lose = fixture.content.put(b"lose it").expect("stores");
    let freed = fixture
        .content
        .sweep(&|digest| *digest == keep)
        .expect("sweeps");
    assert_eq!(freed, 7);
    assert!(fixture.content.contains(&keep) && !fixture.content.contains(&lose));
}
