//! What goes wrong is said clearly, and leaves nothing behind.

use lamina_exporters::parse;
use lamina_session::LocalSession;

use crate::support::Fixture;
use crate::support::attrs_of;
use crate::support::is_root;
use crate::support::report;
use crate::support::run;

#[test]
fn attributes_are_checked_before_anything_is_built() {
    for (kind, attrs, message) in [
        ("moby", "", "exporter \"moby\" could not be found"),
        (
            "image",
            "push=maybe",
            "non-bool value specified for push: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            "oci",
            "tar=x",
            "non-bool value specified for tar: strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "image",
            "unpack=true",
            "exporter option \"unpack=true\" is not supported yet",
        ),
        ("local", "mode=x", "invalid local exporter mode \"x\""),
    ] {
        let error = parse(kind, &attrs_of(attrs), 0)
            .map(|_| ())
            .expect_err(attrs);
        assert_eq!(error.to_string(), message);
    }
    for kind in ["image", "oci", "docker", "local", "tar"] {
        assert!(
            parse(kind, &attrs_of("dest=x;whatever=1"), 0).is_ok(),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn results_are_checked_against_attributes() {
    let fixture = Fixture::new();
    let input = fixture.result();
    for (attrs, message) in [
        (
            "annotation-index.a=b",
            "index annotations not supported for single platform export",
        ),
        (
            "annotation-manifest-descriptor.a=b;oci-mediatypes=false",
            "cannot export annotations with \"oci-mediatypes=false\"",
        ),
        (
            "annotation[linux/s390x].a=b",
            "invalid annotation: no platform linux/s390x found in source",
        ),
    ] {
        let exported = fixture
            .export("image", attrs, LocalSession::builder(), &input)
            .await;
        assert_eq!(exported.expect_err(attrs).to_string(), message);
    }
    let exported = fixture
        .export("image", "name=A:B:C", LocalSession::builder(), &input)
        .await;
    let error = exported.expect_err("is no name").to_string();
    assert!(error.starts_with("failed to parse A:B:C: "), "{error}");
}

#[tokio::test]
async fn a_missing_target_is_said() {
    let fixture = Fixture::new();
    for kind in ["tar", "oci", "docker", "local"] {
        let input = fixture.result();
        let exported = fixture
            .export(kind, "", LocalSession::builder(), &input)
            .await;
        assert!(exported.is_err(), "{kind}");
    }
}

#[tokio::test]
async fn a_directory_that_is_missing_is_named() {
    let fixture = Fixture::new();
    let path = fixture.path("no/such/file.tar");
    let session = LocalSession::builder().file_target(0, &path);
    let error = fixture.export("tar", "", session, &fixture.result()).await;
    let error = error.expect_err("fails").to_string();
    assert!(
        error.contains("no/such/file.tar") && error.contains("no such file"),
        "{error}"
    );
}

#[tokio::test]
async fn damaged_blobs_do_not_leave_the_store() {
    let fixture = Fixture::new();
    let input = fixture.result();
    let (first, _) = fixture.to_file("oci", "", "first.tar", &input).await;
    std::fs::remove_file(first).expect("removes");
    let blobs = fixture.path("content/blobs/sha256");
    let largest = std::fs::read_dir(&blobs)
        .expect("is readable")
        .filter_map(Result::ok)
        .map(|item| item.path())
        .find(|path| {
            let data = std::fs::read(path).expect("is there");
            data.starts_with(&[0x1f, 0x8b])
        })
        .expect("has a layer");
    let mut data = std::fs::read(&largest).expect("is there");
    let last = data.len() - 1;
    data[last] ^= 1;
    std::fs::write(&largest, data).expect("damages");
    let path = fixture.path("second.tar");
    let session = LocalSession::builder().file_target(0, &path);
    let error = fixture
        .export("oci", "", session, &input)
        .await
        .expect_err("is damaged");
    assert!(error.to_string().contains("content has digest"), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_full_disk_leaves_no_partial_archive() {
    let test = "a_full_disk_leaves_no_partial_archive";
    let fixture = Fixture::new();
    let full = fixture.path("full");
    std::fs::create_dir(&full).expect("makes");
    let target = full.display().to_string();
    let mounted = is_root()
        && std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16k", "tmpfs", &target])
            .status()
            .is_ok_and(|status| status.success());
    if !mounted {
        report(&format!("{test} skipped: cannot mount a tmpfs"));
        return;
    }
    let stack = fixture.stack(&[&[&format!("big={}", "x".repeat(200_000))]]);
    let input = lamina_exporters::ExportInput::single(stack);
    for kind in ["tar", "oci"] {
        let session = LocalSession::builder().file_target(0, full.join("out.tar"));
        let attrs = "compression=uncompressed";
        let exported = fixture.export(kind, attrs, session, &input).await;
        let error = exported.expect_err("is full").to_string();
        assert!(error.contains("no space left on device"), "{error}");
        let left = std::fs::read_dir(&full).expect("is readable").count();
        assert_eq!(left, 0, "{kind}");
    }
    let exported = fixture.to_directory("", "full", &input).await;
    let error = exported.expect_err("is full").to_string();
    assert!(
        error.contains("full/big: no space left on device"),
        "{error}"
    );
    run("umount", &[&target]);
}
