//! Images from a registry (rows SRC-02, SRC-03, SRC-06).

use lamina_registry::ImageReference;
use lamina_registry::ManifestKind;
use lamina_session::DockerConfig;
use lamina_session::LocalSession;
use lamina_sources::SourceRequest;
use lamina_types::Digest;
use lamina_types::Progress;

use crate::docker_registry::DockerRegistry;
use crate::docker_registry::Users;
use crate::image_kit::Blob;
use crate::image_kit::Image;
use crate::image_kit::image;
use crate::image_kit::index;
use crate::image_kit::layer;
use crate::support::Engine;
use crate::support::paths;

/// Pushes all blobs of an image, manifests by digest, and tags its root.
fn push(engine: &Engine, image: &Image, reference: &str) {
    let tagged: ImageReference = reference.parse().expect(reference);
    for blob in &image.blobs {
        engine
            .runtime
            .block_on(push_one(engine, image, &tagged, blob));
    }
    // What comes back has to come from the registry.
    engine.config.content.sweep(&|_| false).expect("swept");
}

async fn push_one(engine: &Engine, image: &Image, tagged: &ImageReference, blob: &Blob) {
    let (registry, store) = (&engine.config.registry, &engine.config.content);
    let (session, cancel) = (&engine.session, &engine.cancel);
    let descriptor = blob.descriptor();
    if ManifestKind::of(blob.media_type).is_some() {
        let mut to = tagged.clone();
        if descriptor.digest != image.root.digest {
            to.tag = None;
            to.digest = Some(descriptor.digest);
        }
        let bytes = blob.bytes.clone();
        let pushed = registry.push_manifest(&to, blob.media_type, bytes, session, cancel);
        pushed.await.expect("pushed");
    } else {
        store.put(&blob.bytes).expect("stored");
        let progress = Progress::default();
        let pushed = registry.push_blob(tagged, &descriptor, store, session, &progress, cancel);
        pushed.await.expect("pushed");
    }
}

fn sample() -> Image {
    let layers = [
        layer(&[("a", "1")]),
        layer(&[("b", "2")]),
        layer(&[("c", "3")]),
    ];
    index(vec![("linux/amd64", image(&layers))])
}

fn amd64(identifier: String) -> SourceRequest {
    let mut request = SourceRequest::new(identifier);
    request.platform = Some("linux/amd64".parse().expect("fits"));
    request
}

#[test]
fn images_are_pulled_once() {
    let Some(registry) = DockerRegistry::start(Users::Everyone) else {
        return;
    };
    let engine = Engine::new(LocalSession::builder());
    let sample = sample();
    let (one, two) = (
        format!("{}/one:v1", registry.host),
        format!("{}/two/other:v2", registry.host),
    );
    push(&engine, &sample, &one);
    push(&engine, &sample, &two);
    engine.statuses.clear();

    let request = amd64(format!("docker-image://{one}"));
    let pinned = engine.resolve(&request).expect("resolved");
    assert_eq!(pinned.identifier, format!("docker-image://{one}"));
    assert_eq!(pinned.pin, Some(sample.root.digest));
    let stack = engine.snapshot(&pinned).expect("unpacked");
    assert_eq!(paths(&stack), ["a", "b", "c"]);
    assert_eq!(engine.statuses.completed("extracting"), 3);
    assert_eq!(engine.statuses.completed("resolve"), 1);
    // Three layers, the manifest and the config.
    assert_eq!(engine.statuses.completed("downloading"), 5);

    engine.statuses.clear();
    let again = engine.resolve(&request).expect("resolved");
    assert_eq!(engine.snapshot(&again).expect("known"), stack);
    let other = engine
        .resolve(&amd64(format!("docker-image://{two}")))
        .expect("resolved");
    assert_eq!(other.cache_key, pinned.cache_key);
    assert_eq!(engine.snapshot(&other).expect("known"), stack);
    assert_eq!(engine.statuses.completed("extracting"), 0);
    assert_eq!(engine.statuses.completed("downloading"), 0);
}

#[test]
fn private_images_need_the_clients_credentials() {
    let Some(registry) = DockerRegistry::start(Users::One("user", "hunter2")) else {
        return;
    };
    let dir = crate::support::directory(&[(
        "config.json",
        &format!(
            r#"{{"auths": {{"{}": {{"username": "user", "password": "hunter2"}}}}}}"#,
            registry.host
        ),
    )]);
    let config = DockerConfig::in_dir(dir.path());
    let engine = Engine::new(LocalSession::builder().docker_config(config));
    let reference = format!("{}/a:v1", registry.host);
    push(&engine, &sample(), &reference);
    let request = amd64(format!("docker-image://{reference}"));
    assert_eq!(paths(&engine.transfer(&request)), ["a", "b", "c"]);
    let stranger = Engine::new(LocalSession::builder());
    let error = stranger.resolve(&request).expect_err("anonymous");
    assert!(
        error.to_string().contains("no credentials are configured"),
        "{error}"
    );
}

#[test]
fn attributes_are_checked() {
    let Some(registry) = DockerRegistry::start(Users::Everyone) else {
        return;
    };
    let engine = Engine::new(LocalSession::builder());
    let (reference, sample) = (format!("{}/a:v1", registry.host), sample());
    push(&engine, &sample, &reference);
    let request = || amd64(format!("docker-image://{reference}"));
    let (right, wrong) = (sample.root.digest, Digest::of(b"wrong"));
    let checked = request().attr("image.checksum", &right.to_string());
    engine.resolve(&checked).expect("the right one");
    for (name, value, wanted) in [
        (
            "image.checksum",
            wrong.to_string(),
            format!(
                "image digest {right} for {reference} does not match expected checksum {wrong}"
            ),
        ),
        (
            "image.checksum",
            "x".to_owned(),
            "invalid digest".to_owned(),
        ),
        (
            "image.resolvemode",
            "sometimes".to_owned(),
            "invalid resolvemode".to_owned(),
        ),
        (
            "image.recordtype",
            "other".to_owned(),
            "invalid record type".to_owned(),
        ),
    ] {
        let error = engine
            .resolve(&request().attr(name, &value))
            .expect_err(name);
        assert!(error.to_string().contains(&wanted), "{error}");
    }
}

#[test]
fn stored_images_stand_in_for_a_dead_registry() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let engine = Engine::new(LocalSession::builder());
    let reference = format!("{host}/a:v1");
    let mode = |mode: &str| {
        let request = amd64(format!("docker-image://{reference}"));
        engine.get(&request.attr("image.resolvemode", mode))
    };
    for each in ["default", "pull", "local"] {
        let error = mode(each).expect_err("nobody listens").to_string();
        assert_eq!(
            error,
            format!(
                "failed to do request: Head \"http://{host}/v2/a/manifests/v1\": dial tcp {host}: \
                 connect: connection refused"
            ),
            "{each}"
        );
    }
    let sample = sample();
    for blob in &sample.blobs {
        engine.config.content.put(&blob.bytes).expect("stored");
    }
    engine
        .config
        .content
        .tag(&reference, sample.root.clone())
        .expect("named");
    for each in ["default", "local"] {
        assert_eq!(paths(&mode(each).expect(each)), ["a", "b", "c"]);
    }
    assert!(mode("pull").is_err());
}
