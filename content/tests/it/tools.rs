//! The system's `tar` as an independent writer and reader.

use std::path::Path;
use std::process::Command;

use lamina_content::write_tree_tar;
use lamina_snapshotter::LayerStack;
use lamina_types::CancelToken;

use crate::support::Fixture;
use crate::support::listing;
use crate::support::paths;
use crate::support::report;
use crate::support::tar_of;

fn gnu_tar(test: &str) -> bool {
    let version = Command::new("tar").arg("--version").output();
    let found = version.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("GNU tar"));
    if !found {
        report(&format!("{test} skipped: GNU tar is not installed"));
    }
    found
}

fn sparse_tree(dir: &Path) {
    use std::os::unix::fs::FileExt as _;
    let long = dir.join("d".repeat(120)).join("f".repeat(120));
    std::fs::create_dir_all(&long).expect("makes");
    std::fs::write(long.join("x"), b"deep").expect("writes");
    std::fs::hard_link(long.join("x"), dir.join("again")).expect("links");
    std::os::unix::fs::symlink("s".repeat(130), dir.join("link")).expect("links");
    let file = std::fs::File::create(dir.join("sparse")).expect("makes");
    for offset in [0, 100_000, 300_000] {
        file.write_all_at(b"data", offset).expect("writes");
    }
    file.set_len(400_000).expect("extends");
}

#[test]
fn every_format_of_gnu_tar_is_read() {
    if !gnu_tar("every_format_of_gnu_tar_is_read") {
        return;
    }
    let fixture = Fixture::new();
    let source = fixture.dir.path().join("source");
    std::fs::create_dir(&source).expect("makes");
    sparse_tree(&source);
    let mut seen: Option<Vec<String>> = None;
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "-S"],
        &["--format=pax"],
        &["--format=pax", "-S", "--sparse-version=0.0"],
        &["--format=pax", "-S", "--sparse-version=0.1"],
        &["--format=pax", "-S", "--sparse-version=1.0"],
        &["--format=gnu", "-z"],
    ] {
        let out = Command::new("tar")
            .args(options)
            .args(["--sort=name", "--mtime=@1000000000", "-C"])
            .arg(&source)
            .args(["-cf", "-", "."])
            .output()
            .expect("runs");
        assert!(out.status.success(), "{options:?}");
        let shown = paths(&fixture.stack(&[out.stdout]));
        assert_eq!(shown.len(), 6, "{options:?}");
        let wanted = seen.get_or_insert_with(|| shown.clone());
        assert!(*wanted == shown, "{options:?}");
    }
}

#[test]
fn gnu_tar_reads_what_is_written() {
    if !gnu_tar("gnu_tar_reads_what_is_written") {
        return;
    }
    let fixture = Fixture::new();
    let long = "n".repeat(99);
    let tar = tar_of(&[
        "d:d/",
        "f:d/a=1",
        "h:b=d/a",
        "l:s=d/a",
        &format!("f:{long}=2"),
        "p:p",
    ]);
    let stack = fixture.stack(&[tar]);
    let mut written = Vec::new();
    write_tree_tar(&stack.tree(), &mut written, &CancelToken::new()).expect("writes");
    let target = fixture.dir.path().join("target");
    std::fs::create_dir(&target).expect("makes");
    let file = fixture.dir.path().join("t.tar");
    std::fs::write(&file, &written).expect("writes");
    let run = |args: &[&str]| {
        let out = Command::new("tar").args(args).output().expect("runs");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        out.stdout
    };
    let (file, target) = (file.display().to_string(), target.display().to_string());
    run(&["-xpf", &file, "-C", &target]);
    let repacked = run(&["--format=pax", "-C", &target, "-cf", "-", "."]);
    let (layer, _) = fixture
        .unpack(&LayerStack::empty(), &repacked)
        .expect("unpacks");
    assert_eq!(listing(&LayerStack::new([layer])), listing(&stack));
}
