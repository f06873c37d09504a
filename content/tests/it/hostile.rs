//! Archives of strangers: nothing leaves the root, nothing panics, everything has a bound.

use lamina_content::ContentError;
use lamina_snapshotter::LayerStack;

use crate::archives::add;
use crate::support::Fixture;
use crate::support::paths;
use crate::support::tar_of;

fn unpacked(entries: &[&str]) -> Result<Vec<String>, ContentError> {
    let fixture = Fixture::new();
    let (layer, _) = fixture.unpack(&LayerStack::empty(), &tar_of(entries))?;
    Ok(paths(&LayerStack::new([layer])))
}

#[test]
fn names_stay_inside() {
    for (entries, wanted) in [
        (&["f:../../a=1"][..], &["/a 1"][..]),
        (&["f:/a=1"], &["/a 1"]),
        (&["d:d/", "f:d/../../a=1"], &["/a 1", "/d"]),
        (&["l:l=/", "f:l/a=1"], &["/a 1", "/l -> /"]),
        (
            &["l:l=../../../..", "f:l/a=1"],
            &["/a 1", "/l -> ../../../.."],
        ),
        (
            &["l:l=/tmp", "f:l/escaped=1"],
            &["/l -> /tmp", "/tmp", "/tmp/escaped 1"],
        ),
        (&["f:a=1", "h:b=../../../a"], &["/a 1", "/b 1"]),
        (&["f:a=1", "l:a=/etc/passwd"], &["/a -> /etc/passwd"]),
        (&["l:a=/etc/passwd", "f:a=1"], &["/a 1"]),
        (&["f:../.wh.a="], &[]),
    ] {
        assert_eq!(unpacked(entries).expect("unpacks"), wanted, "{entries:?}");
    }
}

#[test]
fn what_cannot_be_made_is_refused_by_name() {
    for (entries, reason) in [
        (
            &["h:b=missing"][..],
            "archive entry \"b\": hard link to \"missing\"",
        ),
        (&["h:b=/etc/hostname"], "archive entry \"b\""),
        (
            &["d:d/", "h:b=d"],
            "archive entry \"b\": hard links to directories",
        ),
        (
            &["f:a=1", "f:a/b=2"],
            "archive entry \"a/b\": /a: not a directory",
        ),
        (&["l:a=b", "l:b=a", "f:a/x=1"], "archive entry \"a/x\": /"),
        (
            &["f:.wh.="],
            "archive entry \".wh.\": invalid whiteout name",
        ),
        (
            &["f:.wh...="],
            "archive entry \".wh...\": invalid whiteout name",
        ),
    ] {
        let error = unpacked(entries).expect_err(reason).to_string();
        assert!(error.starts_with(reason), "{error}");
    }
}

#[test]
fn a_link_to_nothing_gets_no_directories_in_archives() {
    let error = add(&tar_of(&["l:l=/esc", "f:l/f=x"]), None).map(|_| ());
    assert!(
        error
            .expect_err("fails")
            .to_string()
            .contains("no such file")
    );
}

#[test]
fn extensions_have_a_bound() {
    for kind in [b'x', b'g', b'L', b'K'] {
        let mut header = tar::Header::new_ustar();
        header.set_size(8 << 30);
        header.as_old_mut().linkflag = [kind];
        header.set_cksum();
        let fixture = Fixture::new();
        let error = fixture.unpack(&LayerStack::empty(), header.as_bytes());
        let error = error.map(|_| ()).expect_err("is too large").to_string();
        assert!(error.contains("extension of 8589934592 bytes"), "{error}");
    }
}

#[test]
fn a_damaged_layer_leaves_nothing() {
    let tar = tar_of(&["d:d/", "f:d/a=some data that is long enough", "f:b=x"]);
    let gzip = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(&tar).expect("compresses");
        encoder.finish().expect("compresses")
    };
    let zstd = zstd::bulk::compress(&tar, 3).expect("compresses");
    let fixture = Fixture::new();
    for (name, data) in [
        ("cut in a header", tar[..700].to_vec()),
        ("cut in data", tar[..1026].to_vec()),
        ("gzip cut", gzip[..gzip.len() - 4].to_vec()),
        ("zstd cut", zstd[..zstd.len() - 2].to_vec()),
        ("checksum", [&[b'x'][..], &tar[1..]].concat()),
        ("no tar at all", vec![7; 2048]),
    ] {
        assert!(
            fixture.unpack(&LayerStack::empty(), &data).is_err(),
            "{name}"
        );
    }
    assert_eq!(fixture.layers.all_layers().len(), 0);
    let left = std::fs::read_dir(fixture.dir.path().join("layers")).expect("is readable");
    let active = left
        .filter_map(Result::ok)
        .filter(|item| item.file_name().to_string_lossy().starts_with("tmp-"))
        .count();
    assert_eq!(active, 0);
}
