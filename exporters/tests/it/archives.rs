//! `oci` and `docker`, read by tools that are not ours (rows EOC-01 to EOC-07).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use lamina_content::ImageConfig;
use lamina_session::LocalSession;
use lamina_types::Digest;
use ocidir::OciArchive;
use ocidir::OciRead as _;
use ocidir::oci_spec::image::MediaType;

use crate::support::Fixture;
use crate::support::RESULT_FILES;
use crate::support::files_below;
use crate::support::has_program;
use crate::support::is_root;
use crate::support::report;
use crate::support::run;

#[tokio::test]
async fn an_independent_reader_takes_an_oci_archive() {
    let fixture = Fixture::new();
    let input = fixture.result();
    let attrs = "name=example.org/a:1,b;annotation.k=v;annotation-manifest-descriptor.d=w";
    let (path, response) = fixture.to_file("oci", attrs, "a.tar", &input).await;
    let archive = OciArchive::open(&path).expect("is an OCI archive");
    let index = archive.read_index().expect("has an index");
    assert_eq!(index.manifests().len(), 2, "one for each name");
    let annotations = index.manifests()[0]
        .annotations()
        .clone()
        .expect("has some");
    assert_eq!(annotations["io.containerd.image.name"], "example.org/a:1");
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "1");
    assert_eq!(annotations["d"], "w");
    assert!(annotations.contains_key("org.opencontainers.image.created"));
    let manifest = archive
        .find_manifest_with_tag("latest")
        .expect("is readable");
    let manifest = manifest.expect("is named latest");
    assert_eq!(manifest.annotations().as_ref().expect("has some")["k"], "v");
    assert_eq!(
        *manifest.layers()[0].media_type(),
        MediaType::ImageLayerGzip
    );
    assert_eq!(
        response["image.name"],
        "example.org/a:1,docker.io/library/b:latest"
    );
    let digest = index.manifests()[0].digest().to_string();
    assert_eq!(response["containerimage.digest"], digest);
    let config_digest = manifest.config().digest().to_string();
    assert_eq!(response["containerimage.config.digest"], config_digest);
    let config: ImageConfig = archive
        .read_json_blob(manifest.config())
        .expect("is a config");
    assert_eq!(config.rootfs.diff_ids.len(), 2);
    assert!(config.config.healthcheck.is_some());
    let comments: Vec<&str> = config.history.iter().map(|entry| &*entry.comment).collect();
    assert_eq!(comments, ["", "", "buildkit.exporter.image.v0"]);
    for layer in manifest.layers() {
        let mut data = Vec::new();
        let mut blob = archive.read_blob(layer).expect("is there");
        blob.read_to_end(&mut data).expect("is readable");
        assert_eq!(
            lamina_types::Digest::of(&data).to_string(),
            layer.digest().to_string()
        );
    }
}

#[tokio::test]
async fn the_same_result_is_the_same_image() {
    let mut digests = Vec::new();
    for _ in 0..2 {
        let fixture = Fixture::new();
        let input = fixture.result();
        let attrs = "source-date-epoch=1000000000";
        let (path, response) = fixture.to_file("oci", attrs, "a.tar", &input).await;
        let bytes = std::fs::read(path).expect("is readable");
        digests.push((response["containerimage.digest"].clone(), bytes));
    }
    assert!(digests[0] == digests[1]);
}

#[tokio::test]
async fn exports_of_one_build_share_blobs() {
    let fixture = Fixture::new();
    let input = fixture.result();
    let (_, first) = fixture.to_file("oci", "", "a.tar", &input).await;
    let (_, second) = fixture.to_file("docker", "name=x", "b.tar", &input).await;
    let key = "containerimage.digest";
    assert_eq!(first[key], second[key], "a cached layer keeps its time");
}

#[tokio::test]
async fn skopeo_and_umoci_take_both_kinds() {
    let test = "skopeo_and_umoci_take_both_kinds";
    if !has_program(test, "skopeo") || !has_program(test, "umoci") {
        return;
    }
    if !is_root() {
        report(&format!("{test} skipped: needs root to unpack owners"));
        return;
    }
    let fixture = Fixture::new();
    let input = fixture.result();
    for (kind, transport, attrs) in [
        ("oci", "oci-archive", "name=test:1"),
        (
            "oci",
            "oci-archive",
            "name=test:1;compression=zstd;force-compression=true",
        ),
        ("oci", "oci-archive", "name=test:1;compression=uncompressed"),
        ("docker", "docker-archive", "name=test:1"),
        (
            "docker",
            "docker-archive",
            "name=test:1;oci-mediatypes=false",
        ),
    ] {
        let fixture_dir = tempfile::tempdir().expect("a folder");
        let (path, _) = fixture.to_file(kind, attrs, "image.tar", &input).await;
        let layout = fixture_dir.path().join("layout").display().to_string();
        let bundle = fixture_dir.path().join("bundle");
        let source = format!("{transport}:{}", path.display());
        run(
            "skopeo",
            &[
                "--insecure-policy",
                "copy",
                &source,
                &format!("oci:{layout}:1"),
            ],
        );
        if attrs.contains("zstd") {
            // This umoci has no zstd; that skopeo took it is what is tested.
            continue;
        }
        let bundle_text = bundle.display().to_string();
        run(
            "umoci",
            &["unpack", "--image", &format!("{layout}:1"), &bundle_text],
        );
        assert_eq!(
            files_below(&bundle.join("rootfs")),
            RESULT_FILES,
            "{kind} {attrs}"
        );
    }
}

#[tokio::test]
async fn a_docker_archive_lists_its_tags() {
    let fixture = Fixture::new();
    let (path, _) = fixture
        .to_file(
            "docker",
            "name=b,example.org/c:2",
            "a.tar",
            &fixture.result(),
        )
        .await;
    let file = std::fs::File::open(path).expect("is there");
    let mut archive = tar::Archive::new(file);
    let mut names = Vec::new();
    let mut manifest = String::new();
    for entry in archive.entries().expect("is a tar") {
        let mut entry = entry.expect("is well formed");
        let name = entry.path().expect("is a path").display().to_string();
        if name == "manifest.json" {
            entry.read_to_string(&mut manifest).expect("is text");
        }
        names.push(name);
    }
    assert!(
        manifest.contains(r#""RepoTags":["b:latest","example.org/c:2"]"#),
        "{manifest}"
    );
    assert_eq!(names[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(
        names[names.len() - 3..],
        ["index.json", "manifest.json", "oci-layout"]
    );
}

/// Row EOC-02: a client that offers a store gets the blobs, and writes its index itself.
#[tokio::test]
async fn without_tar_the_blobs_go_to_the_store_of_the_client() {
    let fixture = Fixture::new();
    let input = fixture.result();
    let layout = fixture.to_oci_layout("layout", &input).await;
    let store = fixture.path("store");
    let session = || LocalSession::builder().export_dir(&store);
    for round in ["empty", "has all blobs"] {
        let response = fixture.export("oci", "tar=false", session(), &input).await;
        let digest = response.expect("exports")["containerimage.digest"].clone();
        let blobs = |dir: &Path| {
            let blobs = std::fs::read_dir(dir.join("blobs/sha256")).expect("lists");
            let blob = |item: std::io::Result<std::fs::DirEntry>| {
                let path = item.expect("is readable").path();
                let data = std::fs::read(&path).expect("is readable");
                assert!(path.ends_with(Digest::of(&data).hex()), "{path:?}");
                (path.file_name().map(ToOwned::to_owned), data)
            };
            blobs.map(blob).collect::<BTreeMap<_, _>>()
        };
        let found = blobs(&store);
        assert_eq!(found, blobs(&layout), "{round}");
        let manifest = digest.trim_start_matches("sha256:");
        assert!(found.contains_key(&Some(manifest.into())), "{round}");
        assert!(!store.join("index.json").exists(), "{round}");
    }
}

#[tokio::test]
async fn without_tar_the_layout_is_a_directory() {
    let fixture = Fixture::new();
    let dir = fixture.path("layout");
    let session = LocalSession::builder().directory_target(0, &dir);
    let input = fixture.result();
    let response = fixture
        .export("oci", "tar=false;name=x:1", session, &input)
        .await;
    let digest = response.expect("exports")["containerimage.digest"].clone();
    let hex = digest.trim_start_matches("sha256:");
    assert!(dir.join("blobs/sha256").join(hex).is_file());
    assert!(dir.join("index.json").is_file() && dir.join("oci-layout").is_file());
}
