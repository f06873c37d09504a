//! Push to and pull from a real registry (rows SRC-07, EIM-19).

use lamina_registry::RegistryConfig;
use lamina_types::Digest;

use crate::docker_registry::DockerRegistry;
use crate::docker_registry::Users;
use crate::support::Setup;
use crate::support::blob;
use crate::support::docker_config;
use crate::support::image;
use crate::support::manifest;

/// Pushes an image with one large and one small blob, and reads it back into an empty store.
fn round_trip(pusher: &Setup, puller: &Setup, host: &str) {
    let reference = format!("{host}/some/image:v1");
    let large: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    for data in [&large[..], b"{}"] {
        pusher.store.put(data).expect("stored");
        pusher.push(&reference, &blob(data)).expect("pushed");
        pusher.push(&reference, &blob(data)).expect("pushed again");
    }
    let digest = pusher
        .push_manifest(&reference, manifest())
        .expect("pushed");

    let found = puller.resolve(&reference).expect("resolved");
    assert_eq!(found.descriptor.digest, digest);
    assert_eq!(found.bytes, manifest());
    let described = puller
        .wait(
            puller
                .client
                .resolve_descriptor(&image(&reference), &puller.session, &puller.cancel),
        )
        .expect("described");
    assert_eq!(described, Some(found.descriptor));
    for data in [&large[..], b"{}"] {
        puller.fetch(&reference, &blob(data)).expect("fetched");
        let read = puller.store.read(&Digest::of(data), 1 << 30);
        assert!(read.expect("stored") == data);
    }
}

#[test]
fn an_image_makes_the_round_trip() {
    let Some(registry) = DockerRegistry::start(Users::Everyone) else {
        return;
    };
    round_trip(&Setup::new(), &Setup::new(), &registry.host);
}

#[test]
fn blobs_are_mounted_from_repositories_that_have_them() {
    let Some(registry) = DockerRegistry::start(Users::Everyone) else {
        return;
    };
    let setup = Setup::new();
    setup.store.put(b"shared").expect("stored");
    let first = format!("{}/one/a", registry.host);
    setup.push(&first, &blob(b"shared")).expect("pushed");
    let second = format!("{}/two/b", registry.host);
    setup.push(&second, &blob(b"shared")).expect("mounted");
    let reader = Setup::new();
    reader.fetch(&second, &blob(b"shared")).expect("fetched");
}

#[test]
fn passwords_from_the_docker_configuration_are_used() {
    let Some(registry) = DockerRegistry::start(Users::One("user", "hunter2")) else {
        return;
    };
    let config = docker_config(&registry.host, "user", "hunter2");
    let with = || Setup::with(RegistryConfig::default(), &config);
    round_trip(&with(), &with(), &registry.host);

    let reference = format!("{}/some/image:v1", registry.host);
    let error = Setup::new().resolve(&reference).expect_err("anonymous");
    let text = error.to_string();
    assert!(text.contains("no credentials are configured"), "{text}");
    assert!(text.contains("UNAUTHORIZED"), "{text}");

    let wrong = docker_config(&registry.host, "user", "wrong-password");
    let error = Setup::with(RegistryConfig::default(), &wrong)
        .resolve(&reference)
        .expect_err("wrong password");
    let text = error.to_string();
    assert!(text.contains("denied (with credentials)"), "{text}");
    assert!(!text.contains("wrong-password"), "{text}");
}

#[test]
fn what_is_missing_is_named() {
    let Some(registry) = DockerRegistry::start(Users::Everyone) else {
        return;
    };
    let setup = Setup::new();
    let reference = format!("{}/no/such:tag", registry.host);
    let error = setup.resolve(&reference).expect_err("missing");
    assert!(error.is_not_found());
    assert!(
        error
            .to_string()
            .starts_with(&format!("{reference}: not found")),
        "{error}"
    );
    let error = setup.fetch(&reference, &blob(b"x")).expect_err("missing");
    assert!(error.is_not_found(), "{error}");
}
