//! Archives of strangers: nothing leaves the root, nothing panics, everything has a bound.

use lamina_content::ArchiveLimits;
use lamina_content::ArchiveOptions;
use lamina_content::ContentError;
use lamina_snapshotter::LayerStack;

use crate::archives::add;
use crate::archives::add_with;
use crate::support::Fixture;
use crate::support::paths;
use crate::support::shortened;
use crate::support::tar_of;

fn unpacked(entries: &[&str]) -> Result<Vec<String>, ContentError> {
    let fixture = Fixture::new();
    let (layer, _) = fixture.unpack(&LayerStack::empty(), &tar_of(entries))?;
    Ok(paths(&LayerStack::new([layer])))
}

/// Whoever unpacks (CVE-2020-10696, CVE-2026-28406, GHSA-6rxq-q92g-4rmf, CVE-2026-42574).
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
fn archives_that_lead_out_are_refused_by_name() {
    for (entries, wanted) in [
        (
            &["f:/a=1"][..],
            "archive entry \"/a\": the name is absolute",
        ),
        (&["d:/=1"], "archive entry \"/\": the name is absolute"),
        (
            &["f:../a=1"],
            "archive entry \"../a\": the name leads out of the archive",
        ),
        (
            &["d:d/", "f:d/../../a=1"],
            "archive entry \"d/../../a\": the name leads out of the archive",
        ),
        (
            &["h:b=/etc/passwd"],
            "archive entry \"b\": the target of the hard link is absolute",
        ),
        (
            &["d:d/", "h:d/b=../../a"],
            "archive entry \"d/b\": the target of the hard link leads out of the archive",
        ),
        (
            &["l:l=..", "f:l/a=1"],
            "archive entry \"l/a\": a symlink on the way leads out of the archive",
        ),
        (
            &["d:d/", "l:d/l=../../x", "f:d/l/a=1"],
            "archive entry \"d/l/a\": a symlink on the way leads out of the archive",
        ),
        (
            &["l:l=../..", "h:b=l/etc/passwd"],
            "archive entry \"b\": hard link to \"l/etc/passwd\": a symlink on the way leads out of the \
             archive",
        ),
    ] {
        let error = add(&tar_of(entries), None).map(|_| ()).expect_err(wanted);
        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn archives_that_stay_inside_are_unpacked() {
    for (entries, wanted) in [
        (&["d:./", "f:./a=1"][..], &["/o", "/o/a 1"][..]),
        (&["d:d/", "f:d/../a=1"], &["/o", "/o/a 1", "/o/d"]),
        // A link is content, wherever it leads, as long as nothing goes through it.
        (&["l:l=../../x"], &["/o", "/o/l -> ../../x"]),
        (
            &["d:usr/", "l:lib=/usr", "f:lib/a=1"],
            &["/o", "/o/lib -> /usr", "/o/usr", "/o/usr/a 1"],
        ),
        (
            &["d:a/", "d:b/", "l:a/l=../b", "f:a/l/f=1"],
            &["/o", "/o/a", "/o/a/l -> ../b", "/o/b", "/o/b/f 1"],
        ),
    ] {
        let lines = add(&tar_of(entries), None)
            .expect("unpacks")
            .expect("is an archive");
        assert_eq!(shortened(lines), wanted, "{entries:?}");
    }
}

#[test]
fn bombs_are_refused_by_the_entry_that_is_too_much() {
    let limits = ArchiveLimits {
        free_bytes: 1 << 20,
        ratio: 100,
        free_entries: 10,
        bytes_per_entry: 64,
    };
    let options = ArchiveOptions {
        owner: None,
        limits,
    };
    let zeros = "0".repeat(600 << 10);
    let large = tar_of(&[&format!("f:a={zeros}"), &format!("f:b={zeros}"), "f:c=1"]);
    let many: Vec<String> = (0..11).map(|number| format!("f:{number}=")).collect();
    let many = tar_of(&many.iter().map(String::as_str).collect::<Vec<_>>());
    for (tar, wanted) in [
        (
            large.clone(),
            "archive entry \"b\": the archive unpacks to more than 1048576 bytes, too much for its length",
        ),
        (
            many,
            "archive entry \"10\": the archive unpacks to more than 10 entries, too much for its length",
        ),
    ] {
        let bomb = zstd::bulk::compress(&tar, 3).expect("compresses");
        let error = add_with(&bomb, &options).map(|_| ()).expect_err(wanted);
        assert_eq!(error.to_string(), wanted);
    }
    // The same bytes are no bomb if they are there.
    assert!(add_with(&large, &options).expect("unpacks").is_some());
}

#[test]
fn headers_without_entries_have_a_bound_too() {
    let mut header = tar::Header::new_ustar();
    header.set_size(1 << 20);
    header.as_old_mut().linkflag = [b'g'];
    header.set_cksum();
    let extension = [&header.as_bytes()[..], &vec![0; 1 << 20]].concat();
    let bomb = [tar_of(&["f:a=1"])[..1024].to_vec(), extension.repeat(8)].concat();
    let bomb = zstd::bulk::compress(&bomb, 3).expect("compresses");
    let limits = ArchiveLimits {
        free_bytes: 1 << 20,
        ..ArchiveLimits::default()
    };
    let error = add_with(
        &bomb,
        &ArchiveOptions {
            owner: None,
            limits,
        },
    )
    .map(|_| ());
    let text = format!("{:?}", error.expect_err("is too much"));
    assert!(text.contains("too much for the length"), "{text}");
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
