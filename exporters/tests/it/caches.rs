//! Caches that leave and come back (rows CEX-03 to CEX-06, CIM-02, CIM-05).

use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use lamina_content::Descriptor;
use lamina_content::Index;
use lamina_content::Manifest;
use lamina_exporters::CacheExporter;
use lamina_exporters::CacheImporter;
use lamina_exporters::ExportError;
use lamina_exporters::INLINE_CACHE_KEY;
use lamina_exporters::ImportedCache;
use lamina_exporters::inline_records;
use lamina_session::LocalSession;
use lamina_session::LocalSessionBuilder;
use lamina_snapshotter::LayerStack;
use lamina_types::CacheGraph;
use lamina_types::Digest;
use lamina_types::GraphLink;
use lamina_types::GraphRecord;
use lamina_types::GraphResult;

use crate::docker_registry::DockerRegistry;
use crate::docker_registry::Users;
use crate::support::Fixture;
use crate::support::attrs_of;

fn session(dir: &Path) -> LocalSessionBuilder {
    LocalSession::builder().cache_dir("c", dir)
}

fn stack(fixture: &Fixture) -> LayerStack {
    fixture.stack(&[&["a=1"], &["b=2", ".wh.a="]])
}

/// source -> step, with `results` of the step.
fn graph(results: Vec<LayerStack>) -> CacheGraph<LayerStack> {
    let result = |value| GraphResult {
        value,
        created: SystemTime::UNIX_EPOCH,
    };
    let source = GraphRecord {
        digest: Digest::of(b"source"),
        inputs: Vec::new(),
        results: Vec::new(),
    };
    let step = GraphRecord {
        digest: Digest::of(b"step"),
        inputs: vec![vec![GraphLink {
            selector: Some(Digest::of(b"selector")),
            record: 0,
        }]],
        results: results.into_iter().map(result).collect(),
    };
    CacheGraph {
        records: vec![source, step],
    }
}

/// Writes the cache of a stack into the folder `dir`; returns the manifest's descriptor.
async fn write(fixture: &Fixture, attrs: &str, dir: &Path) -> Descriptor {
    let attrs = attrs_of(&format!("dest=c;{attrs}"));
    let exporter = CacheExporter::parse("local", &attrs).expect("is well formed");
    let context = fixture.context(session(dir));
    let exported = exporter.export(graph(vec![stack(fixture)]), &context).await;
    let response = exported.expect("exports");
    serde_json::from_str(&response["cache.manifest"]).expect("is a descriptor")
}

async fn read(
    fixture: &Fixture,
    manifest: &Digest,
    dir: &Path,
) -> Result<Vec<ImportedCache>, ExportError> {
    let attrs = attrs_of(&format!("src=c;digest={manifest}"));
    let importer = CacheImporter::parse("local", &attrs)?;
    importer.read(&fixture.context(session(dir))).await
}

fn blob(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

/// The result of the only record that has one.
async fn load(
    fixture: &Fixture,
    mut cache: ImportedCache,
    dir: &Path,
) -> Result<LayerStack, ExportError> {
    let keys = cache.take_keys();
    let mut results = keys.records.iter().flat_map(|record| &record.results);
    let result = results.next().expect("has a result");
    cache
        .load(&result.value, &fixture.context(session(dir)))
        .await
}

#[tokio::test]
async fn every_form_comes_back_with_keys_and_layers() {
    for (attrs, layers) in [
        ("", "application/vnd.oci.image.layer.v1.tar+gzip"),
        (
            "image-manifest=false",
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ),
        (
            "oci-mediatypes=false",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ),
        (
            "compression=zstd;force-compression=true",
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
    ] {
        let (writer, reader) = (Fixture::new(), Fixture::new());
        let dir = writer.path("cache");
        let manifest = write(&writer, attrs, &dir).await;
        let text = std::fs::read_to_string(blob(&dir, &manifest.digest)).expect("is there");
        assert!(text.contains(layers), "{attrs}: {text}");
        let mut caches = read(&reader, &manifest.digest, &dir)
            .await
            .expect("is a cache");
        let mut cache = caches.pop().expect("is there");
        assert!(
            reader.layers.all_layers().is_empty(),
            "{attrs}: only keys are read"
        );
        let keys = cache.take_keys();
        let step = &keys.records[1];
        let wanted = graph(vec![]);
        assert_eq!(step.digest, wanted.records[1].digest, "{attrs}");
        assert_eq!(step.inputs, wanted.records[1].inputs, "{attrs}");
        let context = reader.context(session(&dir));
        let loaded = cache
            .load(&step.results[0].value, &context)
            .await
            .expect("loads");
        assert_eq!(loaded.layers().len(), 2, "{attrs}");
        let again = cache
            .load(&step.results[0].value, &context)
            .await
            .expect("loads");
        assert_eq!(
            again.ids(),
            loaded.ids(),
            "{attrs}: what is here is not unpacked again"
        );
        let names = loaded.tree().root().and_then(|root| root.read_dir());
        assert_eq!(names.expect("lists"), [b"b".to_vec()], "{attrs}");
    }
}

#[tokio::test]
async fn damaged_caches_are_errors_of_the_cache_alone() {
    let (writer, reader) = (Fixture::new(), Fixture::new());
    let dir = writer.path("cache");
    let manifest = write(&writer, "", &dir).await;
    let parsed: Manifest = {
        let bytes = std::fs::read(blob(&dir, &manifest.digest)).expect("is there");
        serde_json::from_slice(&bytes).expect("is a manifest")
    };
    let layer = blob(&dir, &parsed.layers[0].digest);
    for damage in [
        "",
        "something else that is longer than what was there before, by far",
    ] {
        std::fs::write(&layer, damage.repeat(20)).expect("writes");
        let cache = read(&reader, &manifest.digest, &dir)
            .await
            .expect("is a cache")
            .pop();
        let loaded = load(&reader, cache.expect("is there"), &dir).await;
        assert!(loaded.is_err(), "{damage:?}");
    }
    std::fs::remove_file(&layer).expect("is there");
    let cache = read(&reader, &manifest.digest, &dir)
        .await
        .expect("is a cache")
        .pop();
    assert!(load(&reader, cache.expect("is there"), &dir).await.is_err());
    std::fs::write(blob(&dir, &parsed.config.digest), "{}").expect("writes");
    assert!(read(&reader, &manifest.digest, &dir).await.is_err());
    assert!(read(&reader, &Digest::of(b"nothing"), &dir).await.is_err());
}

#[tokio::test]
async fn nothing_is_written_for_nothing() {
    let fixture = Fixture::new();
    let dir = fixture.path("cache");
    let exporter = CacheExporter::parse("local", &attrs_of("dest=c")).expect("is well formed");
    for results in [vec![], vec![LayerStack::empty()]] {
        let context = fixture.context(session(&dir));
        let response = exporter.export(graph(results), &context).await;
        assert!(response.expect("exports").is_empty());
    }
    assert!(!dir.exists());
}

#[tokio::test]
async fn an_image_carries_the_cache_of_its_own_layers() {
    let (writer, reader) = (Fixture::new(), Fixture::new());
    let mut input = writer.result();
    let lamina_exporters::ExportRefs::Single(image) = &input.refs else {
        panic!("one platform");
    };
    let foreign = writer.stack(&[&["other=1"]]);
    let lower = LayerStack::new(image.layers()[..1].iter().cloned());
    let upper = LayerStack::new(image.layers()[1..].iter().cloned());
    let records = inline_records(graph(vec![lower, upper, foreign]), image);
    let records = records.expect("has a JSON form").expect("has results");
    input.metadata.insert(INLINE_CACHE_KEY.to_owned(), records);
    let dir = writer.to_oci_layout("layout", &input).await;
    let index: Index = {
        let bytes = std::fs::read(dir.join("index.json")).expect("is there");
        serde_json::from_slice(&bytes).expect("is an index")
    };
    let mut caches = read(&reader, &index.manifests[0].digest, &dir)
        .await
        .expect("is a cache");
    let mut cache = caches.pop().expect("is there");
    let keys = cache.take_keys();
    let results = &keys.records[1].results;
    assert_eq!(results.len(), 2, "the image does not hold the third");
    let context = reader.context(session(&dir));
    for result in results {
        let loaded = cache.load(&result.value, &context).await.expect("loads");
        assert_eq!(loaded.layers().len(), 1);
    }
}

#[tokio::test]
async fn an_image_without_a_cache_is_none() {
    let fixture = Fixture::new();
    let dir = fixture.to_oci_layout("layout", &fixture.result()).await;
    let bytes = std::fs::read(dir.join("index.json")).expect("is there");
    let index: Index = serde_json::from_slice(&bytes).expect("is an index");
    let caches = read(&fixture, &index.manifests[0].digest, &dir).await;
    assert!(caches.expect("is an image").is_empty());
}

/// A crafted index names more manifests than anybody has, or nests without end: nothing of it is
/// fetched beyond the limits.
#[tokio::test]
async fn indexes_are_bounded() {
    let fixture = Fixture::new();
    let dir = fixture.path("layout");
    std::fs::create_dir_all(dir.join("blobs/sha256")).expect("makes folders");
    let kind = "application/vnd.oci.image.index.v1+json";
    let store = |manifests: Vec<Descriptor>| {
        let bytes = serde_json::to_vec(&Index::new(kind, manifests)).expect("has a JSON form");
        let index = Descriptor::of(kind, &bytes);
        std::fs::write(blob(&dir, &index.digest), bytes).expect("writes");
        index
    };
    let missing = Descriptor::of(kind, b"is not there");
    let wide = store(vec![missing; 1_001]);
    let deep = (0..6).fold(store(Vec::new()), |below, _| store(vec![below]));
    for index in [wide, deep] {
        let Err(error) = read(&fixture, &index.digest, &dir).await else {
            panic!("is refused");
        };
        let text = error.to_string();
        assert!(text.contains("too many manifests"), "{text}");
    }
}

/// Caches, and images with caches inside, by reference (rows CEX-05, CIM-01).
#[tokio::test]
async fn a_registry_keeps_caches_and_images_with_caches() {
    let Some(registry) = DockerRegistry::start(Users::Everyone) else {
        return;
    };
    let writer = Fixture::new();
    let context = writer.context(LocalSession::builder());
    let host = &registry.host;
    for (name, attrs) in [
        ("a", ""),
        ("b", "image-manifest=false"),
        ("c", "oci-mediatypes=false"),
    ] {
        let attrs = attrs_of(&format!("ref={host}/cache:{name};{attrs}"));
        let exporter = CacheExporter::parse("registry", &attrs).expect("is well formed");
        let exported = exporter.export(graph(vec![stack(&writer)]), &context).await;
        assert!(
            exported.expect("exports").contains_key("cache.manifest"),
            "{name}"
        );
    }
    let mut input = writer.result();
    let lamina_exporters::ExportRefs::Single(image) = &input.refs else {
        panic!("one platform");
    };
    let records = inline_records(graph(vec![image.clone()]), image).expect("has a JSON form");
    let records = records.expect("has results");
    input.metadata.insert(INLINE_CACHE_KEY.to_owned(), records);
    let attrs = format!("name={host}/cache:image;push=true");
    let pushed = writer
        .export("image", &attrs, LocalSession::builder(), &input)
        .await;
    pushed.expect("is pushed");
    for name in ["a", "b", "c", "image"] {
        let reader = Fixture::new();
        let attrs = attrs_of(&format!("ref={host}/cache:{name}"));
        let importer = CacheImporter::parse("registry", &attrs).expect("is well formed");
        let caches = importer
            .read(&reader.context(LocalSession::builder()))
            .await;
        let cache = caches.expect(name).pop().expect(name);
        assert!(
            reader.layers.all_layers().is_empty(),
            "{name}: only keys are read"
        );
        let loaded = load(&reader, cache, &reader.path("none"))
            .await
            .expect(name);
        assert_eq!(loaded.layers().len(), 2, "{name}");
    }
    let attrs = attrs_of(&format!("ref={host}/cache:none"));
    let importer = CacheImporter::parse("registry", &attrs).expect("is well formed");
    assert!(importer.read(&context).await.is_err());
}

#[test]
fn attributes_are_checked() {
    for (kind, attrs, message) in [
        ("nope", "", "unknown cache exporter: \"nope\""),
        ("local", "", "local cache exporter requires dest"),
        ("registry", "", "missing ref"),
        ("registry", "ref=UPPER", "failed to parse UPPER: "),
        (
            "local",
            "dest=c;compression=x",
            "unsupported compression type x",
        ),
        (
            "local",
            "dest=c;image-manifest=true;oci-mediatypes=false",
            "invalid configuration for remote cache, OCI mediatypes are required",
        ),
    ] {
        let error = CacheExporter::parse(kind, &attrs_of(attrs))
            .expect_err(message)
            .to_string();
        assert!(error.starts_with(message), "{error}");
    }
    for (kind, attrs, message) in [
        ("inline", "", "unknown cache importer: \"inline\""),
        (
            "local",
            "src=c",
            "local cache importer requires explicit digest",
        ),
        ("registry", "", "missing ref"),
    ] {
        let error = CacheImporter::parse(kind, &attrs_of(attrs))
            .expect_err(message)
            .to_string();
        assert_eq!(error, message);
    }
    let digest = Digest::of(b"x");
    let error = CacheImporter::parse("local", &attrs_of(&format!("digest={digest}")));
    assert_eq!(
        error.expect_err("no src").to_string(),
        "local cache importer requires src"
    );
    for (attrs, ignores) in [
        ("", false),
        ("ignore-error=true", true),
        ("ignore-error=x", false),
    ] {
        let exporter = CacheExporter::parse("inline", &attrs_of(attrs)).expect("is allowed");
        assert_eq!(exporter.ignores_error(), ignores, "{attrs}");
    }
}
