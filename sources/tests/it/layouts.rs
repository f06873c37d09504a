//! Images from OCI layouts of the client (rows SRC-02, SRC-05, SRC-33).

use std::fs;
use std::path::Path;

use lamina_session::LocalSession;
use lamina_sources::PinnedKind;
use lamina_sources::SourceRequest;
use lamina_sources::find_in_layout;
use lamina_types::ChainId;
use lamina_types::DiffId;
use lamina_types::Digest;

use crate::image_kit::Image;
use crate::image_kit::image;
use crate::image_kit::image_claiming;
use crate::image_kit::index;
use crate::image_kit::layer;
use crate::support::Engine;
use crate::support::paths;

/// An engine whose session offers the image as the layout `base`.
fn engine_with(image: &Image) -> (Engine, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    image.write_layout(dir.path());
    let session = LocalSession::builder().oci_layout("base", dir.path());
    (Engine::new(session), dir)
}

fn request(image: &Image) -> SourceRequest {
    SourceRequest::new(image.identifier())
}

fn two_layers() -> Vec<Vec<u8>> {
    vec![
        layer(&[("a", "1"), ("b", "2")]),
        layer(&[(".wh.b", ""), ("c", "3")]),
    ]
}

#[test]
fn layers_are_unpacked_and_keep_their_blobs() {
    let layers = two_layers();
    let image = image(&layers);
    let (engine, dir) = engine_with(&image);
    let pinned = engine.resolve(&request(&image)).expect("resolved");
    let diff_ids: Vec<DiffId> = layers.iter().map(|l| DiffId(Digest::of(l))).collect();
    assert_eq!(Some(ChainId(pinned.cache_key)), ChainId::of(&diff_ids));
    assert!(pinned.key_is_content);
    assert_eq!(pinned.pin, Some(image.root.digest));
    let stack = engine.snapshot(&pinned).expect("unpacked");
    assert_eq!(paths(&stack), ["a", "c"]);
    for (unpacked, blob) in stack.layers().iter().zip(&layers) {
        assert_eq!(unpacked.blobs()[0].digest, Digest::of(blob));
        assert!(engine.config.content.contains(&Digest::of(blob)));
    }
    assert_eq!(engine.statuses.completed("extracting"), 2);
    // The second time nothing is read; the folder may be gone.
    engine.statuses.clear();
    drop(dir);
    assert_eq!(engine.snapshot(&pinned).expect("known"), stack);
    assert_eq!(engine.statuses.completed("extracting"), 0);
}

#[test]
fn two_builds_at_once_unpack_once() {
    let image = image(&two_layers());
    let (engine, _dir) = engine_with(&image);
    let pinned = engine.resolve(&request(&image)).expect("resolved");
    let (first, second) = engine.runtime.block_on(async {
        let (one, two) = (engine.context(), engine.context());
        tokio::join!(
            engine.sources.snapshot(&pinned, &one),
            engine.sources.snapshot(&pinned, &two)
        )
    });
    assert_eq!(first.expect("unpacked"), second.expect("unpacked"));
    assert_eq!(engine.statuses.completed("extracting"), 2);
}

#[test]
fn the_platform_chooses_in_an_index() {
    let amd64 = image(&[layer(&[("amd64", "")])]);
    let arm64 = image(&[layer(&[("arm64", "")])]);
    let index = index(vec![("linux/amd64", amd64), ("linux/arm64", arm64)]);
    let (engine, _dir) = engine_with(&index);
    for platform in ["linux/amd64", "linux/arm64"] {
        let mut request = request(&index);
        request.platform = Some(platform.parse().expect(platform));
        let stack = engine.get(&request).expect(platform);
        assert_eq!(paths(&stack), [&platform[6..]]);
    }
    let mut request = request(&index);
    request.platform = Some("linux/s390x".parse().expect("fits"));
    let error = engine.resolve(&request).expect_err("not there").to_string();
    assert!(
        error.ends_with(
            "no match for platform in manifest: linux/s390x (available: linux/amd64, linux/arm64)"
        ),
        "{error}"
    );
}

#[test]
fn frontends_get_the_config_as_it_is() {
    let image = image(&two_layers());
    let (engine, _dir) = engine_with(&image);
    let context = engine.context();
    let resolved = engine
        .runtime
        .block_on(engine.sources.resolve_config(&request(&image), &context))
        .expect("resolved");
    assert_eq!(resolved.digest, image.root.digest);
    assert_eq!(resolved.config, image.blobs[2].bytes);
    assert_eq!(engine.statuses.completed("extracting"), 0);
}

#[test]
fn an_image_without_layers_is_empty() {
    let image = image(&[]);
    let (engine, _dir) = engine_with(&image);
    assert!(engine.get(&request(&image)).expect("unpacked").is_empty());
}

#[test]
fn a_layer_limit_takes_the_lowest() {
    let image = image(&two_layers());
    let (engine, _dir) = engine_with(&image);
    let limited = |limit| engine.get(&request(&image).attr("oci.layerlimit", limit));
    assert_eq!(paths(&limited("1").expect("unpacked")), ["a", "b"]);
    for (limit, wanted) in [
        ("0", "expected a number above zero"),
        ("x", "expected a number above zero"),
        (
            "3",
            "layer limit 3 is greater than the number of layers in the image 2",
        ),
    ] {
        let error = limited(limit).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn bad_images_are_refused() {
    let good = layer(&[("a", "1")]);
    let lie = Digest::of(b"lie");
    for (name, image, wanted) in [
        (
            "wrong diff id",
            image_claiming(std::slice::from_ref(&good), &[lie]),
            "but the image config has",
        ),
        (
            "too few diff ids",
            image_claiming(std::slice::from_ref(&good), &[]),
            "it has 0 diff ids for 1 layers",
        ),
        ("no tar", image(&[vec![7; 2000]]), ""),
        (
            "damaged gzip",
            image(&[vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]]),
            "",
        ),
    ] {
        let (engine, _dir) = engine_with(&image);
        let error = engine.get(&request(&image)).expect_err(name).to_string();
        assert!(error.contains(wanted), "{name}: {error}");
        assert!(!error.is_empty());
    }
}

fn damage(dir: &Path, digest: &Digest, change: impl Fn(&Path)) {
    change(&dir.join("blobs/sha256").join(digest.hex()));
}

#[test]
fn damaged_layouts_are_reported() {
    let layers = two_layers();
    let image = image(&layers);
    let top = Digest::of(&layers[1]);
    for (name, digest, wanted) in [
        ("layer", top, format!("{top} is not there")),
        (
            "manifest",
            image.root.digest,
            format!("{} is not there", image.root.digest),
        ),
    ] {
        let (engine, dir) = engine_with(&image);
        damage(dir.path(), &digest, |path| {
            fs::remove_file(path).expect("removed")
        });
        let error = engine.get(&request(&image)).expect_err(name).to_string();
        assert_eq!(error, format!("OCI layout \"base\": {wanted}"), "{name}");
    }
    let (engine, dir) = engine_with(&image);
    damage(dir.path(), &top, |path| {
        fs::write(path, "other").expect("written")
    });
    let error = engine.get(&request(&image)).expect_err("other content");
    let found = Digest::of(b"other");
    assert_eq!(
        error.to_string(),
        format!("{top}: content has digest {found}")
    );
    let (engine, dir) = engine_with(&image);
    damage(dir.path(), &image.root.digest, |path| {
        fs::write(path, "other").expect("written");
    });
    let error = engine.get(&request(&image)).expect_err("other content");
    assert!(
        error.to_string().ends_with(&format!("has digest {found}")),
        "{error}"
    );
}

#[test]
fn tags_are_found_in_layouts() {
    let image = image(&[]);
    let dir = tempfile::tempdir().expect("a folder");
    let find = |tag| find_in_layout(dir.path(), tag);
    let error = find(None).expect_err("no layout");
    assert!(
        error.to_string().ends_with("it has no index.json"),
        "{error}"
    );
    image.write_layout(dir.path());
    for tag in [None, Some("latest")] {
        assert_eq!(find(tag).expect("there").digest, image.root.digest);
    }
    let error = find(Some("v9")).expect_err("not there");
    assert!(
        error.to_string().ends_with("no image is called \"v9\""),
        "{error}"
    );
    fs::write(dir.path().join("index.json"), "{").expect("written");
    let error = find(None).expect_err("malformed");
    assert!(
        error.to_string().contains("malformed index.json"),
        "{error}"
    );
}

#[test]
fn tags_beside_the_digest_and_other_stores_are_accepted() {
    let image = image(&[layer(&[("a", "")])]);
    let (engine, _dir) = engine_with(&image);
    let digest = image.root.digest;
    for request in [
        SourceRequest::new(format!("oci-layout://base:v1@{digest}")),
        SourceRequest::new(format!("oci-layout://other@{digest}")).attr("oci.store", "base"),
    ] {
        let pinned = engine.resolve(&request).expect("resolved");
        assert!(matches!(pinned.kind, PinnedKind::Image(_)));
        assert_eq!(paths(&engine.snapshot(&pinned).expect("unpacked")), ["a"]);
    }
}

#[test]
fn layers_that_mean_the_same_anywhere_are_shared() {
    let free = layer(&[("top", "1"), (".wh.gone", "")]);
    for (name, top, shared) in [
        ("free", free, true),
        (
            "a directory that it does not describe",
            layer(&[("d/x", "1")]),
            false,
        ),
        (
            "an opaque mark",
            layer(&[(".wh..wh..opq", ""), ("x", "1")]),
            false,
        ),
        (
            "replaces what it deletes",
            layer(&[(".wh.x", ""), ("x", "1")]),
            false,
        ),
        (
            "deletes what it makes",
            layer(&[("x", "1"), (".wh.x", "")]),
            false,
        ),
    ] {
        let (engine, first) = engine_with(&image(&[layer(&[("one", "")]), top.clone()]));
        let second = image(&[layer(&[("two", "")]), layer(&[("three", "")]), top.clone()]);
        second.write_layout(first.path());
        let one = image(&[layer(&[("one", "")]), top]);
        let tops = [&one, &second].map(|image| {
            let stack = engine.get(&request(image)).expect(name);
            stack.layers().last().map(lamina_snapshotter::Layer::id)
        });
        assert_eq!(tops[0] == tops[1], shared, "{name}");
    }
}

#[test]
fn what_depends_on_the_layers_below_is_unpacked_on_them() {
    let below = layer(&[("old", "1"), ("other", "2")]);
    for (name, top, wanted) in [
        (
            "opaque",
            layer(&[(".wh..wh..opq", ""), ("new", "3")]),
            vec!["new"],
        ),
        (
            "in order",
            layer(&[("new", "3"), (".wh.old", "")]),
            vec!["new", "other"],
        ),
    ] {
        let image = image(&[below.clone(), top]);
        let (engine, _dir) = engine_with(&image);
        assert_eq!(
            paths(&engine.get(&request(&image)).expect(name)),
            wanted,
            "{name}"
        );
    }
}
