//! `image`: stored by name and pushed (rows EIM-01 to EIM-19).

use base64::Engine as _;
use lamina_content::Descriptor;
use lamina_session::LocalSession;

use crate::docker_registry::DockerRegistry;
use crate::docker_registry::Users;
use crate::support::Fixture;
use crate::support::has_program;
use crate::support::run;

#[tokio::test]
async fn images_are_stored_under_their_names() {
    let fixture = Fixture::new();
    let mut input = fixture.result();
    let name = "image.name".to_owned();
    input.metadata.insert(name, b"from-result".to_vec());
    for (attrs, shown, stored) in [
        ("name=a", "a", &["docker.io/library/a:latest"][..]),
        (
            "name=a,example.org/b:2",
            "a,example.org/b:2",
            &["docker.io/library/a:latest", "example.org/b:2"],
        ),
        (
            "name=*",
            "from-result",
            &["docker.io/library/from-result:latest"],
        ),
    ] {
        let session = LocalSession::builder();
        let response = fixture.export("image", attrs, session, &input).await;
        let response = response.expect("exports");
        assert_eq!(response["image.name"], shown);
        let digest = &response["containerimage.digest"];
        for name in stored {
            let image = fixture.content.image(name).expect(name);
            assert_eq!(image.digest.to_string(), *digest);
        }
        let descriptor = base64::engine::general_purpose::STANDARD
            .decode(&response["containerimage.descriptor"])
            .expect("is base64");
        let descriptor: Descriptor = serde_json::from_slice(&descriptor).expect("is JSON");
        assert_eq!(descriptor.digest.to_string(), *digest);
        assert_eq!(
            descriptor.platform.expect("has one").to_string(),
            "linux/amd64"
        );
    }
}

#[tokio::test]
async fn nameless_images_get_a_dangling_name() {
    let fixture = Fixture::new();
    let input = fixture.result();
    for (attrs, names) in [
        ("dangling-name-prefix=p", "p@"),
        ("dangling-name-prefix=p;name=n", "n,p@"),
        (
            "dangling-name-prefix=p;name=n;danging-name-empty-only=true",
            "n",
        ),
    ] {
        let response = fixture
            .export("image", attrs, LocalSession::builder(), &input)
            .await;
        let response = response.expect("exports");
        let digest = match names.ends_with('@') {
            true => response["containerimage.digest"].as_str(),
            false => "",
        };
        assert_eq!(response["image.name"], format!("{names}{digest}"));
    }
}

#[tokio::test]
async fn images_that_are_not_stored_get_no_name() {
    let fixture = Fixture::new();
    let input = fixture.result();
    let exported = fixture.export(
        "image",
        "name=a;store=false",
        LocalSession::builder(),
        &input,
    );
    exported.await.expect("exports");
    assert!(fixture.content.images().is_empty());
}

#[tokio::test]
async fn a_registry_takes_what_is_pushed() {
    let test = "a_registry_takes_what_is_pushed";
    let Some(registry) = DockerRegistry::start(Users::Everyone) else {
        return;
    };
    let fixture = Fixture::new();
    let input = fixture.result();
    let host = &registry.host;
    for attrs in [
        format!("name={host}/team/a:1;push=true"),
        format!("name={host}/team/b:1;push;registry.insecure=true;compression=zstd"),
        format!("name={host}/team/c;push=true;oci-mediatypes=false"),
        format!("name={host}/team/d;push=true;push-by-digest=true"),
    ] {
        let response = fixture
            .export("image", &attrs, LocalSession::builder(), &input)
            .await;
        let digest = response.expect("pushes")["containerimage.digest"].clone();
        if !has_program(test, "skopeo") {
            continue;
        }
        let end = attrs.find([';']).unwrap_or(attrs.len());
        let repository = attrs[5..end].trim_end_matches(":1");
        let source = format!("docker://{repository}@{digest}");
        let shown = run(
            "skopeo",
            &["inspect", "--no-tags", "--tls-verify=false", &source],
        );
        assert!(shown.contains(&digest), "{shown}");
    }
}

#[tokio::test]
async fn a_dead_registry_is_named() {
    let fixture = Fixture::new();
    let input = fixture.result();
    // Nothing listens on port 1.
    let attrs = "name=127.0.0.1:1/a:b;push=true";
    let pushed = fixture
        .export("image", attrs, LocalSession::builder(), &input)
        .await;
    let error = pushed.expect_err("cannot be reached").to_string();
    assert!(
        error.starts_with("failed to push 127.0.0.1:1/a:b: "),
        "{error}"
    );
}
