//! Archives that ADD unpacks (row FIL-12).

use std::fs::File;
use std::io::Seek;
use std::io::Write;

use lamina_content::ContentError;
use lamina_content::unpack_archive;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;

use crate::support::Fixture;
use crate::support::is_root;
use crate::support::listing;
use crate::support::shortened;
use crate::support::tar_of;

fn file_with(data: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(data).expect("writes");
    file.rewind().expect("rewinds");
    file
}

/// Unpacks into `/o` of an empty root and lists the result; `None` if it is not an archive.
pub(crate) fn add(
    data: &[u8],
    owner: Option<(u32, u32)>,
) -> Result<Option<Vec<String>>, ContentError> {
    let fixture = Fixture::new();
    let active = fixture.layers.prepare(&LayerStack::empty())?;
    let cancel = CancelToken::new();
    let root = active.writer().root()?;
    let dest = root.make_dir(b"o", 0o755)?;
    let unpacked = unpack_archive(&mut file_with(data), &dest, owner, &cancel)?;
    drop((root, dest));
    let layer = active.commit(&cancel)?;
    let shown = LayerStack::new([layer]);
    Ok(unpacked.then(|| listing(&shown)))
}

#[test]
fn every_compression_is_known() {
    let tar = tar_of(&["d:d/", "f:d/a=1"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    gzip.write_all(&tar).expect("compresses");
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bzip2.write_all(&tar).expect("compresses");
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(&tar).expect("compresses");
    for (name, data) in [
        ("plain", tar.clone()),
        ("gzip", gzip.finish().expect("compresses")),
        ("bzip2", bzip2.finish().expect("compresses")),
        ("xz", xz.finish().expect("compresses")),
        ("zstd", zstd::bulk::compress(&tar, 3).expect("compresses")),
    ] {
        let lines = add(&data, None).expect(name).expect(name);
        assert_eq!(shortened(lines), ["/o", "/o/d", "/o/d/a 1"], "{name}");
    }
}

#[test]
fn other_files_are_left_alone() {
    let compressed_text = zstd::bulk::compress(b"hello", 3).expect("compresses");
    for data in [
        &b""[..],
        b"text",
        &[0; 4096],
        &[0xff; 4096],
        &compressed_text,
    ] {
        assert!(add(data, None).expect("is no error").is_none());
    }
}

#[test]
fn owners_are_overridden_except_for_missing_parents() {
    if !is_root("owners_are_overridden_except_for_missing_parents") {
        return;
    }
    let lines = add(&tar_of(&["f:d/a=1"]), Some((5, 6))).expect("unpacks");
    let lines = lines.expect("is an archive");
    assert!(lines[1].starts_with("/o/d Directory 755 0:0 "), "{lines:?}");
    assert!(lines[2].starts_with("/o/d/a File 644 5:6 "), "{lines:?}");
}

#[test]
fn whiteouts_are_ordinary_files() {
    let lines = add(&tar_of(&["f:a=1", "f:.wh.a="]), None).expect("unpacks");
    assert_eq!(
        shortened(lines.expect("is an archive")),
        ["/o", "/o/.wh.a", "/o/a 1"]
    );
}
