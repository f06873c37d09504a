//! Archives that ADD unpacks (row FIL-12).

use std::fs::File;
use std::io::Seek;
use std::io::Write;

use lamina_content::ArchiveLimits;
use lamina_content::ArchiveOptions;
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
    let limits = ArchiveLimits::default();
    add_with(data, &ArchiveOptions { owner, limits })
}

/// As [`add`], with other limits.
pub(crate) fn add_with(
    data: &[u8],
    options: &ArchiveOptions,
) -> Result<Option<Vec<String>>, ContentError> {
    let fixture = Fixture::new();
    let active = fixture.layers.prepare(&LayerStack::empty())?;
    let cancel = CancelToken::new();
    let root = active.writer().root()?;
    let dest = root.make_dir(b"o", 0o755)?;
    let unpacked = unpack_archive(&mut file_with(data), &dest, options, &cancel)?;
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

/// Changes the header at `at` of a tar and mends its checksum.
fn change_header(tar: &mut [u8], at: usize, change: impl FnOnce(&mut [u8])) {
    let header = &mut tar[at..at + 512];
    change(header);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// As Go's reader has it.
#[test]
fn the_first_header_tells_an_archive() {
    let mut labelled = tar_of(&["f:a=1"]);
    change_header(&mut labelled, 0, |header| header[156] = b'V');
    let error = add(&labelled, None).expect_err("no file of that kind");
    let words = "archive entry \"a\": unhandled tar header type 86";
    assert_eq!(error.to_string(), words);
    let mut global = tar_of(&["f:pax_global_header=10 a=words\n"]);
    change_header(&mut global, 0, |header| header[156] = b'g');
    let lines = add(&global, None).expect("no error").expect("an archive");
    assert_eq!(shortened(lines), ["/o"]);
}

#[test]
fn a_lone_block_of_zeros_is_no_end() {
    let (first, second) = (tar_of(&["f:a=1"]), tar_of(&["f:b=2"]));
    let one_zero = [&first[..1024 + 512], &second].concat();
    let error = add(&one_zero, None).expect_err("damaged");
    assert_eq!(
        error.to_string(),
        "invalid tar header: a lone block of zeros"
    );
    let lines = add(&first[..1024 + 512], None).expect("no error");
    assert_eq!(shortened(lines.expect("an archive")), ["/o", "/o/a 1"]);
}

/// Some writers put ustar's prefix behind GNU's magic words.
#[test]
fn a_prefix_in_the_place_of_times_counts() {
    for (field, path) in [
        (&b"dir"[..], "/o/dir/a 1"),
        (b"0777", "/o/a 1"),
        (b"", "/o/a 1"),
    ] {
        let mut tar = tar_of(&["f:a=1"]);
        change_header(&mut tar, 0, |header| {
            header[257..265].copy_from_slice(b"ustar  \0");
            header[345..345 + field.len()].copy_from_slice(field);
        });
        let lines = add(&tar, None).expect("no error").expect("an archive");
        assert_eq!(shortened(lines).last().map(String::as_str), Some(path));
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

#[test]
fn many_files_are_written_at_once_as_if_one_by_one() {
    let contents: Vec<String> = (0..1_000)
        .map(|number| format!("f:d/{number}=data {number}"))
        .collect();
    let mut entries: Vec<&str> = vec!["d:d/"];
    entries.extend(contents.iter().map(String::as_str));
    // Later entries meet earlier ones whose data may not be written yet.
    entries.extend([
        "f:d/7=again",
        "h:d/link=d/8",
        "d:d/9",
        "f:d/9/inside=x",
        "l:d/10=11",
    ]);
    let lines = add(&tar_of(&entries), None)
        .expect("unpacks")
        .expect("is an archive");
    let lines = shortened(lines);
    assert_eq!(lines.len(), 1_004);
    for wanted in [
        "/o/d/7 again",
        "/o/d/8 data 8",
        "/o/d/link data 8",
        "/o/d/9",
        "/o/d/9/inside x",
        "/o/d/10 -> 11",
        "/o/d/999 data 999",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted}");
    }
}

#[test]
fn damage_behind_files_that_wait_is_found() {
    let tar = tar_of(&["f:a=1", "f:b=2", "f:c=3"]);
    let error = add(&tar[..tar.len() - 1024 - 512 - 400], None).map(|_| ());
    let text = error.expect_err("is cut").to_string();
    assert!(text.starts_with("cannot read tar stream"), "{text}");
}
